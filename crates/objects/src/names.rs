//! What an object may be called.

use aqueduct_api::config::{Piece, Template};

/// Bytes of one folder level or file name at most: what file systems take.
const LEVEL_BYTES_MAX: usize = 255;
/// Bytes of a whole name at most, as in S3.
const NAME_BYTES_MAX: usize = 1024;

/// What a path may end in so that nothing is added: it says already what the object is. Any other dot is part of a name.
const SUFFIXES: [&str; 11] =
    [".txt", ".log", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".gz", ".gzip", ".zst", ".zstd"];

/// What is added to a path: the suffix of its format, unless it ends in one of its own.
pub(crate) fn added_suffix(path: &Template, suffix: &'static str) -> &'static str {
    let Some(Piece::Text(text)) = path.pieces().last() else { return suffix };
    let text = text.to_ascii_lowercase();
    if SUFFIXES.iter().any(|known| text.ends_with(known)) { "" } else { suffix }
}

/// Why no object can have this name, if so.
pub(crate) fn unfit(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES_MAX {
        return Some(format!("is longer than {NAME_BYTES_MAX} bytes"));
    }
    if name.starts_with('/') {
        return Some("begins with a slash".into());
    }
    if name.chars().any(char::is_control) {
        return Some("has a control character".into());
    }
    name.split('/').find_map(|level| match level {
        "" => Some("has an empty folder name".into()),
        "." | ".." => Some(format!("has a folder `{level}`")),
        _ if level.len() > LEVEL_BYTES_MAX => {
            Some(format!("has a part of more than {LEVEL_BYTES_MAX} bytes"))
        }
        _ => None,
    })
}

/// Text of a record as part of a name: percent-encoded so that it is never a separator, never `..`, never
/// empty, and two texts never look alike.
pub(crate) fn escape(text: &str, out: &mut String) {
    use std::fmt::Write;
    if text.is_empty() {
        out.push('%');
    }
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'=' | b'@' => out.push(char::from(byte)),
            b'.' if index > 0 => out.push('.'),
            // Writing to a String does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}
