//! How batches of records are compressed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the producer compresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip: small, slow.
    Gzip,
    /// snappy: fast.
    Snappy,
    /// lz4: fastest.
    #[default]
    Lz4,
    /// zstd: smallest.
    Zstd,
}

impl Compression {
    /// As librdkafka spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}
