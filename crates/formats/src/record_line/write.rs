//! Writes record lines.

use aqueduct_api::Record;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::RFC_3339_FIRST_US;

/// Adds the record as one line, newline included, to `out`.
pub fn write(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"topic":"#);
    string(&record.topic, out);
    out.extend_from_slice(br#","partition":"#);
    integer(record.origin.partition.into(), out);
    out.extend_from_slice(br#","offset":"#);
    integer(record.origin.offset, out);
    if let Some(at_us) = record.timestamp_us {
        out.extend_from_slice(br#","timestamp":"#);
        timestamp(at_us, out);
    }
    if let Some(key) = record.key.bytes() {
        out.extend_from_slice(br#","key":"#);
        payload(Some(key), out);
    }
    out.extend_from_slice(br#","value":"#);
    payload(record.value.bytes().map(AsRef::as_ref), out);
    for (index, header) in record.headers.iter().enumerate() {
        out.extend_from_slice(if index == 0 { br#","headers":[{"name":"# } else { br#",{"name":"# });
        string(&header.name, out);
        out.extend_from_slice(br#","value":"#);
        payload(header.value.as_deref(), out);
        out.push(b'}');
    }
    out.extend_from_slice(if record.headers.is_empty() { b"}\n" } else { b"]}\n" });
}

fn payload(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => string(text, out),
        Some((bytes, Err(_))) => {
            out.extend_from_slice(br#"{"base64":""#);
            out.extend_from_slice(BASE64.encode(bytes).as_bytes());
            out.extend_from_slice(br#""}"#);
        }
    }
}

fn timestamp(at_us: i64, out: &mut Vec<u8>) {
    match Timestamp::from_microsecond(at_us) {
        Ok(at) if at_us >= RFC_3339_FIRST_US => {
            out.push(b'"');
            out.extend_from_slice(at.to_string().as_bytes());
            out.push(b'"');
        }
        _ => {
            out.extend_from_slice(br#"{"us":"#);
            integer(at_us, out);
            out.push(b'}');
        }
    }
}

fn integer(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A JSON string. Stretches without anything to escape are copied as a whole.
fn string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..index]);
        copied = index + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}
