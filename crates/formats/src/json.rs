//! `json`: one JSON text (RFC 8259), whitespace around it allowed.

mod compile;
pub(crate) mod config;
pub(crate) mod decimal;
pub(crate) mod declaration;
pub(crate) mod declared;
pub(crate) mod fault;
pub(crate) mod number;
pub(crate) mod plan;
mod quoted;
pub(crate) mod read;
pub(crate) mod scan;
pub(crate) mod time;
pub(crate) mod wanted;
pub(crate) mod write;

use std::sync::{Arc, LazyLock};

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::schema::{Kind, Schema, SchemaBuilder};
use aqueduct_api::{Decoder, Encoder, FormatContext, FormatTraits, Piece, Problem, Result, Side, Typed};
use async_trait::async_trait;

use self::declaration::{BOTH, Declaration, Declared, Writer};
use self::declared::DeclaredReader;
use self::fault::InText;
use self::plan::PerSchema;
use self::read::Reader;
use self::scan::{DEPTH_MAX, Scan};
use crate::text::utf8;

pub use self::config::{BytesAs, DecimalAs, Json, NotANumber, TimeAs, UnknownFields};

impl Block for Json {
    const NAME: &'static str = "json";
    const ABOUT: &'static str = "One JSON text.";
}

impl FormatKind for Json {
    fn check(&self, side: Side) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.schema.is_some() && self.json_schema.is_some() {
            problems.push(Problem::new("json_schema", BOTH));
        }
        let declared = self.schema.is_some() || self.json_schema.is_some();
        if !declared && self.unknown_fields != UnknownFields::default() {
            let says = "without `schema` or `json_schema` every field is known";
            problems.push(Problem::new("unknown_fields", says));
        }
        let written = [
            ("decimal", self.decimal != DecimalAs::default()),
            ("time", self.time != TimeAs::default()),
            ("on_not_a_number", self.on_not_a_number != NotANumber::default()),
        ];
        for (option, _) in written.iter().filter(|(_, is_set)| *is_set && side == Side::Source) {
            problems.push(Problem::new(*option, "says how JSON is written, which a source does not"));
        }
        problems
    }

    fn traits(&self) -> FormatTraits {
        let declared = self.schema.is_some() || self.json_schema.is_some();
        FormatTraits { declared, ..FormatTraits::default() }
    }

    fn describe(&self, _: Side) -> String {
        match (&self.schema, &self.json_schema) {
            (None, None) => "json".to_owned(),
            (Some(_), _) => "json of an Avro schema".to_owned(),
            (None, Some(_)) => "json of a JSON Schema".to_owned(),
        }
    }

    fn decoder(&self, _: &FormatContext) -> Result<Box<dyn Decoder>> {
        Ok(match Declaration::of(self)? {
            Some(declaration) => Box::new(Declared { declaration, reader: DeclaredReader::default() }),
            None => Box::new(Schemaless::default()),
        })
    }

    fn encoder(&self, _: &FormatContext) -> Result<Box<dyn Encoder>> {
        let declared = Declaration::of(self)?
            .map(|declaration| Declared { declaration, reader: DeclaredReader::default() });
        Ok(Box::new(Writer { style: self.style(), plans: PerSchema::default(), declared }))
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
