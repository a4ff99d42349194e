//! Damage to texts at random.

use proptest::collection::vec;
use proptest::prelude::*;

/// Changes to a text: where, as a share of its length, and what.
pub(crate) fn edits() -> impl Strategy<Value = Vec<(f64, Option<u8>, bool)>> {
    let byte = prop_oneof![
        4 => proptest::sample::select(&b"{}[]\",:\\/ute0123456789+-.E \n\x00\x1f\xff\xc3"[..]),
        1 => any::<u8>(),
    ];
    vec((0.0..1.0, proptest::option::of(byte), any::<bool>()), 1..4)
}

/// The text after these changes: a byte is taken out, put in, or put in the place of another.
pub(crate) fn damaged(text: &str, edits: &[(f64, Option<u8>, bool)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (share, byte, instead) in edits {
        let at = (share * bytes.len() as f64) as usize;
        match byte {
            Some(byte) if *instead && at < bytes.len() => bytes[at] = *byte,
            Some(byte) => bytes.insert(at, *byte),
            None if at < bytes.len() => drop(bytes.remove(at)),
            None => {}
        }
    }
    bytes
}
