//! A digest of an object's lines: what was written, what came again, and what stands in the store are compared by it.

use twox_hash::XxHash3_128;

/// A digest of lines before they are compressed (XXH3, 128 bits), fed in pieces of any length.
pub(crate) struct Digest {
    hasher: XxHash3_128,
    bytes: u64,
}

impl Digest {
    pub(crate) fn new() -> Self {
        Self { hasher: XxHash3_128::new(), bytes: 0 }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// How many bytes it was fed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of all so far, in hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        format!("{:032x}", self.hasher.finish_128())
    }
}
