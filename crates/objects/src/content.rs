//! What an object holds, known by a digest of its lines: what was written, what came again, and what stands in the store are
//! compared by it.

use std::io::{self, Write};

use aqueduct_api::{Error, Result};
use flate2::write::MultiGzDecoder;

use crate::config::Compression;
use crate::digest::Digest;
use crate::store::Store;

/// The lines of an object, or of its beginning, as they were read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
    /// Whether the last line is whole.
    pub(crate) ends_a_line: bool,
}

/// Reads an object back, in pieces, as far as its first `bytes_max` bytes of lines; `None` for what cannot be
/// decompressed, so nobody here wrote it.
pub(crate) async fn read_back(
    store: &dyn Store,
    name: &str,
    compression: Compression,
    bytes_max: u64,
) -> Result<Option<Content>> {
    let counter = Counter { digest: Digest::new(), records: 0, last: b'\n', bytes_max };
    let mut decoder = Decoder::new(compression, counter)
        .map_err(|error| Error::fatal("the decompressor failed").caused_by(error))?;
    let mut from = 0;
    while !decoder.counter().is_full() {
        let piece = store.read(name, from).await?;
        if piece.is_empty() {
            break;
        }
        from += piece.len() as u64;
        if decoder.write_all(&piece).and_then(|()| decoder.flush()).is_err() {
            return Ok(None);
        }
    }
    let counter = decoder.counter();
    Ok(Some(Content {
        records: counter.records,
        bytes: counter.digest.bytes(),
        digest: counter.digest.hex(),
        ends_a_line: counter.last == b'\n',
    }))
}

/// Takes lines up to a bound, and forgets what is behind it.
struct Counter {
    digest: Digest,
    records: u64,
    last: u8,
    bytes_max: u64,
}

impl Counter {
    fn is_full(&self) -> bool {
        self.digest.bytes() >= self.bytes_max
    }
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.bytes_max - self.digest.bytes()).unwrap_or(usize::MAX);
        let taken = &bytes[..bytes.len().min(room)];
        self.digest.update(taken);
        self.records += memchr::memchr_iter(b'\n', taken).count() as u64;
        self.last = taken.last().copied().unwrap_or(self.last);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Decoder {
    None(Box<Counter>),
    Gzip(Box<MultiGzDecoder<Counter>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Counter>>),
}

impl Decoder {
    fn new(compression: Compression, counter: Counter) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Decoder::None(Box::new(counter)),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(counter))),
            Compression::Zstd => Decoder::Zstd(Box::new(zstd::stream::write::Decoder::new(counter)?)),
        })
    }

    fn counter(&self) -> &Counter {
        match self {
            Decoder::None(counter) => counter,
            Decoder::Gzip(decoder) => decoder.get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref(),
        }
    }
}

impl Write for Decoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Decoder::None(counter) => counter.write(bytes),
            Decoder::Gzip(decoder) => decoder.write(bytes),
            Decoder::Zstd(decoder) => decoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Decoder::None(_) => Ok(()),
            Decoder::Gzip(decoder) => decoder.flush(),
            Decoder::Zstd(decoder) => decoder.flush(),
        }
    }
}
