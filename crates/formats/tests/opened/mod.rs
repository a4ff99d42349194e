//! A format opened with the options of a pipeline file, for one value.

use std::sync::Arc;

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::{FormatContext, Headers, Part, Piece, Result, Typed};

fn context() -> FormatContext {
    FormatContext { pipeline: "test".into(), part: Part::Value, registry: None }
}

fn configured<K: Block + FormatKind>(options: &str) -> Arc<K> {
    Arc::new(serde_json::from_str(options).expect("as the test says"))
}

/// Reads a value with a decoder of its own.
pub(crate) fn decode<K: Block + FormatKind>(options: &str, bytes: impl AsRef<[u8]>) -> Result<Typed> {
    let bytes = bytes.as_ref().to_vec().into();
    let piece = Piece { topic: &"t".into(), headers: &Headers::default(), bytes: &bytes };
    K::decoder(&configured::<K>(options), &context())?.decode(piece)
}

/// Writes a value with an encoder of its own.
pub(crate) fn encode<K: Block + FormatKind>(options: &str, typed: &Typed) -> Result<String> {
    let mut out = Vec::new();
    K::encoder(&configured::<K>(options), &context())?.encode(&"t".into(), typed, &mut out)?;
    Ok(String::from_utf8(out).expect("as the test says"))
}

/// The words of an error.
pub(crate) fn says<T: std::fmt::Debug>(read: Result<T>) -> String {
    read.expect_err("as the test says").says().to_owned()
}
