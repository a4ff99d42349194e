//! `bytes`: anything, passed on as it is.

use std::sync::{Arc, LazyLock};

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::schema::{Kind, Schema, SchemaBuilder};
use aqueduct_api::value::{Blob, Span};
use aqueduct_api::{
    Decoder, Encoded, Encoder, Error, FormatContext, FormatTraits, Piece, Result, Side, Typed, Value,
};

use schemars::JsonSchema;
use serde::Deserialize;

static BYTES: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let mut schema = SchemaBuilder::default();
    let root = schema.add(Kind::Bytes);
    schema.finish(root)
});

/// The format `bytes`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bytes {}

impl Block for Bytes {
    const NAME: &'static str = "bytes";
    const ABOUT: &'static str = "Any bytes, passed on as they are and never looked into.";
}

impl FormatKind for Bytes {
    fn traits(&self) -> FormatTraits {
        FormatTraits { unchecked: true, ..FormatTraits::default() }
    }

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

impl Decoder for Bytes {
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        let span = Span::new(0, piece.bytes.len()).ok_or_else(|| Error::bad_record("more than 4 GiB"))?;
        Ok(Typed::new(Arc::clone(&BYTES), piece.bytes.clone(), Value::Bytes(Blob::Span(span))))
    }
}

impl Encoder for Bytes {
    fn encode(&mut self, _: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        match typed.view().inner().value {
            Value::Bytes(bytes) => out.extend_from_slice(bytes.get(typed.payload())),
            Value::Text(text) => out.extend_from_slice(text.bytes(typed.payload())),
            _ => {
                let says =
                    format!("{} cannot be written as bytes", typed.schema().get(typed.schema().root()).kind);
                return Err(Error::bad_record(says)
                    .remedy("name a format that holds structure, such as json or avro"));
            }
        }
        Ok(Encoded::Done)
    }
}
