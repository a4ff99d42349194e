//! `json`: one JSON text (RFC 8259), whitespace around it allowed.

mod config;
#[allow(dead_code)]
mod decimal;
mod fault;
mod number;
mod plan;
mod read;
mod scan;
#[allow(dead_code)]
mod time;
mod write;

use std::sync::{Arc, LazyLock};

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::schema::{Kind, Schema, SchemaBuilder};
use aqueduct_api::{Decoder, Encoded, Encoder, FormatContext, Piece, Result, Typed};
use async_trait::async_trait;

use self::config::Style;
use self::plan::{PerSchema, Plan};
use self::read::Reader;
use self::scan::{DEPTH_MAX, Scan};
use crate::text::utf8;

pub use self::config::{BytesAs, DecimalAs, JsonOptions, NotANumber, TimeAs};

/// The format `json`.
pub struct Json;

impl FormatKind for Json {
    const NAME: &'static str = "json";
    const ABOUT: &'static str = "One JSON text.";
    type Config = JsonOptions;

    fn decoder(_: &Arc<JsonOptions>, _: &FormatContext) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Schemaless::default()))
    }

    fn encoder(config: &Arc<JsonOptions>, _: &FormatContext) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(Writer { style: config.style(), plans: PerSchema::default() }))
    }
}

/// The schema of values that have none.
pub fn schemaless() -> &'static Arc<Schema> {
    static ANY: LazyLock<Arc<Schema>> = LazyLock::new(|| {
        let mut schema = SchemaBuilder::default();
        let root = schema.add(Kind::Any);
        schema.finish(root)
    });
    &ANY
}

/// Reads what has no schema.
#[derive(Default)]
struct Schemaless {
    reader: Reader,
}

#[async_trait]
impl Decoder for Schemaless {
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        let value = self.reader.read(utf8(piece.bytes)?).map_err(|fault| fault.into_error(piece.bytes))?;
        Ok(Typed::new(Arc::clone(schemaless()), piece.bytes.clone(), value))
    }

    fn check(&mut self, piece: Piece<'_>) -> Result<()> {
        let mut scan = Scan::new(utf8(piece.bytes)?);
        scan.skip(DEPTH_MAX).and_then(|()| scan.end()).map_err(|fault| fault.into_error(piece.bytes))
    }
}

/// Writes any row.
struct Writer {
    style: Style,
    plans: PerSchema<Plan>,
}

#[async_trait]
impl Encoder for Writer {
    fn encode(&mut self, _: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        let begin = out.len();
        let plan = self.plans.get(typed.schema(), Plan::of);
        match write::write(plan, self.style, typed, out) {
            Ok(()) => Ok(Encoded::Done),
            Err(fault) => {
                out.truncate(begin);
                Err(fault.of_row())
            }
        }
    }
}
