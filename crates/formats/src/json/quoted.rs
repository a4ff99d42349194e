//! JSON strings, written.

use super::scan::plain_end;

/// A JSON string. Stretches without anything to escape are copied as a whole.
#[inline]
pub(crate) fn quoted(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let end = plain_end(bytes, 0);
    out.extend_from_slice(&bytes[..end]);
    if end < bytes.len() {
        escaped(&bytes[end..], out);
    }
    out.push(b'"');
}

#[cold]
fn escaped(mut bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    while let Some((byte, rest)) = bytes.split_first() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        let end = plain_end(rest, 0);
        out.extend_from_slice(&rest[..end]);
        bytes = &rest[end..];
    }
}
