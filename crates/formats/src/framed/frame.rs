//! The frame itself: a zero and an id in four bytes, or a one and a GUID in sixteen, in front of the payload or in a
//! header of the record.

use aqueduct_api::{Error, Part, Piece, Result, SchemaId};

/// What stands in front of an id of a registry.
const NUMBER: u8 = 0;
/// What stands in front of a GUID.
const GUID: u8 = 1;
/// The bytes of a frame with an id.
pub const FRAME_BYTES: usize = 5;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Of the payload's schema.
    pub id: SchemaId,
    /// Where the payload goes on behind it.
    pub start: usize,
    /// What a header says behind the id, where the frame stands in one: of Protobuf the numbers of the message.
    pub header: Option<&'a [u8]>,
}

/// The header that may carry the frame of a part.
pub fn header_of(part: Part) -> Option<&'static str> {
    match part {
        Part::Key => Some("__key_schema_id"),
        Part::Value => Some("__value_schema_id"),
        Part::Headers => None,
    }
}

/// The frame of a part; `numbered`: something may follow the id in a header.
///
/// # Errors
/// Of kind `BadRecord` when there is no id: the bytes were not written for a registry.
#[inline]
pub fn read(piece: Piece<'_>, part: Part, numbered: bool) -> Result<Frame<'_>> {
    if !piece.headers.is_empty()
        && let Some(header) = header_of(part).and_then(|name| piece.headers.last(name))
        && let Some(value) = &header.value
    {
        return match id(value) {
            Some((id, length)) if length == value.len() || numbered => {
                Ok(Frame { id, start: 0, header: Some(&value[length..]) })
            }
            Some(_) => Err(Error::bad_record(format!(
                "the header `{}` goes on behind the schema id, as only that of Protobuf does",
                header.name
            ))
            .remedy("name the format the data really has")),
            None => Err(Error::bad_record(format!("the header `{}` holds no schema id", header.name))),
        };
    }
    let (id, start) = id(piece.bytes).ok_or_else(|| none(piece.bytes, part))?;
    Ok(Frame { id, start, header: None })
}

/// Appends the frame of an id.
pub fn write(id: u32, out: &mut Vec<u8>) {
    out.push(NUMBER);
    out.extend_from_slice(&id.to_be_bytes());
}

fn id(bytes: &[u8]) -> Option<(SchemaId, usize)> {
    match bytes {
        [NUMBER, a, b, c, d, ..] => {
            Some((SchemaId::Number(u32::from_be_bytes([*a, *b, *c, *d])), FRAME_BYTES))
        }
        [GUID, rest @ ..] => Some((SchemaId::Guid(*rest.first_chunk()?), 17)),
        _ => None,
    }
}

#[cold]
fn none(bytes: &[u8], part: Part) -> Error {
    let found = match bytes {
        [] => "it is empty".to_owned(),
        [NUMBER | GUID, ..] => format!("it has {} bytes", bytes.len()),
        [first, ..] => format!("it begins with 0x{first:02x}"),
    };
    Error::bad_record(format!("the {part} does not begin with a schema id: {found}"))
        .remedy("name the format the data really has")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aqueduct_api::Headers;
    use bytes::Bytes;

    use super::*;

    fn read_of(bytes: &'static [u8], headers: &Headers) -> Result<(SchemaId, usize)> {
        let (topic, bytes) = (Arc::from("t"), Bytes::from_static(bytes));
        let frame = read(Piece { topic: &topic, headers, bytes: &bytes }, Part::Value, false)?;
        Ok((frame.id, frame.start))
    }

    #[test]
    fn the_id_stands_in_front_or_in_a_header() {
        let none = Headers::default();
        assert_eq!(read_of(b"\0\0\0\x01\x02rest", &none).ok(), Some((SchemaId::Number(258), 5)));
        let guid: Vec<u8> = std::iter::once(1).chain(0..16).collect();
        let mut headers = Headers::default();
        headers.push("__key_schema_id", Some(Bytes::from_static(b"no")));
        headers.push("__value_schema_id", Some(Bytes::from(guid)));
        let expected = SchemaId::Guid(std::array::from_fn(|index| index as u8));
        assert_eq!(read_of(b"rest", &headers).ok(), Some((expected, 0)));
        assert_eq!(read_of(b"\x010123456789abcdefrest", &none).ok().map(|(_, start)| start), Some(17));
    }

    #[test]
    fn what_has_no_id_is_refused() {
        let none = Headers::default();
        for (bytes, says) in [
            (&b""[..], "the value does not begin with a schema id: it is empty"),
            (b"\0\0\0\x01", "the value does not begin with a schema id: it has 4 bytes"),
            (b"{\"id\":1}", "the value does not begin with a schema id: it begins with 0x7b"),
        ] {
            assert_eq!(read_of(bytes, &none).unwrap_err().says(), says);
        }
        for (value, says) in [
            (
                &b"\0\0\0\0\x01more"[..],
                "the header `__value_schema_id` goes on behind the schema id, as only that of Protobuf does",
            ),
            (b"\x01guid", "the header `__value_schema_id` holds no schema id"),
        ] {
            let mut headers = Headers::default();
            headers.push("__value_schema_id", Some(Bytes::from_static(value)));
            assert_eq!(read_of(b"", &headers).unwrap_err().says(), says);
        }
    }
}
