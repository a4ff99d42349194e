//! `string`: UTF-8 text.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::schema::{Kind, Schema, SchemaBuilder};
use aqueduct_api::value::{Span, Text as TextValue, View};
use aqueduct_api::{Decoder, Encoded, Encoder, Error, FormatContext, Piece, Result, Side, Typed, Value};

use schemars::JsonSchema;
use serde::Deserialize;

static TEXT: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let mut schema = SchemaBuilder::default();
    let root = schema.add(Kind::Text);
    schema.finish(root)
});

/// The format `string`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {}

impl Block for Text {
    const NAME: &'static str = "string";
    const ABOUT: &'static str = "UTF-8 text.";
}

impl FormatKind for Text {
    fn describe(&self, _: Side) -> String {
        Self::NAME.to_owned()
    }

    fn decoder(&self, _: &FormatContext) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(*self))
    }

    fn encoder(&self, _: &FormatContext) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(*self))
    }
}

impl Decoder for Text {
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        self.check(piece)?;
        let span = Span::new(0, piece.bytes.len()).ok_or_else(|| Error::bad_record("more than 4 GiB"))?;
        Ok(Typed::new(Arc::clone(&TEXT), piece.bytes.clone(), Value::Text(TextValue::Span(span))))
    }

    fn check(&mut self, piece: Piece<'_>) -> Result<()> {
        utf8(piece.bytes).map(drop)
    }
}

impl Encoder for Text {
    /// Text as it is, and what has one plain way to be written as text: numbers, booleans, symbols.
    fn encode(&mut self, _: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        let View { schema, of, payload, value } = typed.view().inner();
        let of = schema.get(of);
        match (value, &of.kind) {
            (Value::Text(text) | Value::Number(text), _) => out.extend_from_slice(text.bytes(payload)),
            (Value::Enum(symbol), Kind::Enum(of)) if (*symbol as usize) < of.symbols.len() => {
                out.extend_from_slice(of.symbols[*symbol as usize].as_bytes());
            }
            (Value::Boolean(flag), _) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            (Value::Int(number), _) if of.logical.is_none() => write(out, number),
            (Value::Long(number), _) if of.logical.is_none() => write(out, number),
            (Value::Float(number), _) => write(out, number),
            (Value::Double(number), _) => write(out, number),
            (Value::Bytes(bytes), Kind::Bytes) if of.logical.is_none() => {
                out.extend_from_slice(utf8(bytes.get(payload))?.as_bytes());
            }
            _ => {
                let says = format!("{} cannot be written as a string", of.kind);
                return Err(
                    Error::bad_record(says).remedy("name a format that holds structure, such as json")
                );
            }
        }
        Ok(Encoded::Done)
    }
}

fn write(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    // Writing into memory does not fail.
    let _ = write!(out, "{number}");
}

/// The bytes as text, or an error of kind `BadRecord` that names the first byte that is none.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str> {
    // Several times as fast as the standard library, which alone says where the fault is.
    let fast = simdutf8::basic::from_utf8(bytes).or_else(|_| std::str::from_utf8(bytes));
    fast.map_err(|error| {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        Error::bad_record(format!("byte {} of {}, 0x{byte:02x}, is not UTF-8 text", at + 1, bytes.len()))
            .remedy("name the format the data really has, or `bytes`")
    })
}

#[cfg(test)]
mod tests {
    use aqueduct_api::Headers;

    use super::*;

    #[test]
    fn text_passes_and_other_bytes_are_named() {
        let check = |bytes: &'static [u8]| {
            let (topic, headers, bytes) =
                (Arc::from("t"), Headers::default(), bytes::Bytes::from_static(bytes));
            Decoder::check(&mut Text {}, Piece { topic: &topic, headers: &headers, bytes: &bytes })
        };
        assert!(check("Grüße".as_bytes()).is_ok());
        assert_eq!(check(b"ab\xffd").unwrap_err().says(), "byte 3 of 4, 0xff, is not UTF-8 text");
        assert_eq!(check(b"ab\xc3").unwrap_err().says(), "byte 3 of 3, 0xc3, is not UTF-8 text");
    }

    #[test]
    fn what_has_one_way_to_be_text_becomes_it() {
        let written = |kind: Kind, value: Value| {
            let mut schema = SchemaBuilder::default();
            let root = schema.add(kind);
            let typed = Typed::new(schema.finish(root), bytes::Bytes::new(), value);
            let mut out = Vec::new();
            Text {}
                .encode(&Arc::from("t"), &typed, &mut out)
                .map(|_| String::from_utf8(out).unwrap_or_default())
        };
        assert_eq!(written(Kind::Text, "a".into()).ok().as_deref(), Some("a"));
        assert_eq!(written(Kind::Long, Value::Long(-7)).ok().as_deref(), Some("-7"));
        assert_eq!(written(Kind::Boolean, Value::Boolean(true)).ok().as_deref(), Some("true"));
        assert_eq!(
            written(Kind::Null, Value::Null).unwrap_err().says(),
            "null cannot be written as a string"
        );
    }
}
