//! The schema that a pipeline declares for its JSON, and the formats that keep to it.

use std::path::Path;
use std::sync::Arc;

use aqueduct_api::config::file;
use aqueduct_api::registry::SchemaKind;
use aqueduct_api::schema::Schema;
use aqueduct_api::{Decoder, Encoded, Encoder, Error, Piece, Result, SchemaText, Typed};
use async_trait::async_trait;
use bytes::Bytes;

use super::config::{BytesAs, Json, Style, UnknownFields};
use super::declared::{DeclaredReader, Rules, TextBytes};
use super::fault::InText;
use super::plan::{PerSchema, Plan};
use super::wanted::Wanted;
use super::write;
use crate::json_schema::{Texts, Validator, parse};
use crate::text::utf8;

/// A schema that all values are of.
pub(crate) struct Declaration {
    wanted: Wanted,
    /// For what a JSON Schema says beyond the types.
    validator: Option<Validator>,
    rules: Rules,
}

impl Declaration {
    /// What the options declare, if they do; an error of kind `Config` where it is no schema.
    pub(crate) fn of(options: &Json) -> Result<Option<Self>> {
        let (schema, validator) = match (&options.schema, &options.json_schema) {
            (Some(_), Some(_)) => return Err(Error::config(BOTH)),
            (Some(avro), None) => (avro_schema(avro)?, None),
            (None, Some(json_schema)) => json_schema_of(json_schema)?,
            (None, None) => return Ok(None),
        };
        let wanted = Wanted::of(&schema).map_err(Error::config)?;
        let rules = Rules {
            drop_unknown: options.unknown_fields == UnknownFields::Drop,
            bytes: match options.bytes {
                BytesAs::Base64 => TextBytes::Base64,
                BytesAs::Hex => TextBytes::Hex,
            },
            ..Rules::default()
        };
        Ok(Some(Self { wanted, validator, rules }))
    }

    /// What a registry declares.
    pub(crate) fn new(schema: &Arc<Schema>, validator: Option<Validator>, rules: Rules) -> Result<Self> {
        let wanted = Wanted::of(schema).map_err(Error::bad_record)?;
        Ok(Self { wanted, validator, rules })
    }

    fn read(&self, reader: &mut DeclaredReader, bytes: &Bytes) -> Result<Typed> {
        let text = utf8(bytes)?;
        let schema = &self.wanted.schema;
        let value = reader
            .whole(&self.wanted, self.rules, text, schema.root())
            .map_err(|fault| fault.into_error(bytes))?;
        if let Some(validator) = &self.validator {
            let json = serde_json::from_str(text).map_err(|error| Error::bad_record(error.to_string()))?;
            validator.check(&json)?;
        }
        Ok(Typed::new(Arc::clone(schema), bytes.clone(), value))
    }
}

/// Why two declarations are refused.
pub(crate) const BOTH: &str = "`schema` and `json_schema` declare two schemas where there can be one";

/// The text itself, or that of a file.
fn text_of(option: &str) -> Result<String> {
    if option.trim_start().starts_with('{') {
        return Ok(option.to_owned());
    }
    file::read_text(Path::new(option), file::FILE_BYTES_MAX)
        .map_err(|error| Error::config("cannot read the schema").with("path", option).caused_by(error))
}

fn avro_schema(option: &str) -> Result<Arc<Schema>> {
    aqueduct_avro::parse(&text_of(option)?, &[])
        .map_err(|error| Error::config("`schema` is no Avro schema").caused_by(error))
}

fn json_schema_of(option: &str) -> Result<(Arc<Schema>, Option<Validator>)> {
    let text = SchemaText::new(SchemaKind::Json, text_of(option)?);
    let read = || Ok((parse(&text, Texts::Typed)?, Validator::new(&text, Texts::Typed)?));
    read().map_err(|error: Error| Error::config("`json_schema` is no JSON Schema").caused_by(error))
}

/// Reads what has to be of the declared schema.
pub(crate) struct Declared {
    pub(crate) declaration: Declaration,
    pub(crate) reader: DeclaredReader,
}

impl Declared {
    /// The value of a whole text.
    pub(crate) fn read(&mut self, bytes: &Bytes) -> Result<Typed> {
        self.declaration.read(&mut self.reader, bytes)
    }
}

#[async_trait]
impl Decoder for Declared {
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        self.read(piece.bytes)
    }
}

/// Writes any row, of the declared schema if there is one.
pub(crate) struct Writer {
    pub(crate) style: Style,
    pub(crate) plans: PerSchema<Plan>,
    pub(crate) declared: Option<Declared>,
}

impl Writer {
    fn append(&mut self, typed: &Typed, out: &mut Vec<u8>) -> Result<()> {
        let plan = self.plans.get(typed.schema(), Plan::of);
        write::write(plan, self.style, typed, out).map_err(Error::from)
    }

    /// Appends a value; what is appended when it fails is cut off again by the caller.
    pub(crate) fn write(&mut self, typed: &Typed, out: &mut Vec<u8>) -> Result<()> {
        let Some(declared) = &mut self.declared else { return self.append(typed, out) };
        // What comes from elsewhere becomes a value of the declared schema the way a text of somebody else does.
        let Declared { declaration, reader } = declared;
        let foreign =
            !Arc::ptr_eq(typed.schema(), &declaration.wanted.schema) || declaration.validator.is_some();
        if !foreign {
            return self.append(typed, out);
        }
        let mut text = Vec::new();
        let plan = self.plans.get(typed.schema(), Plan::of);
        write::write(plan, self.style, typed, &mut text).map_err(Error::from)?;
        let brought_in = declaration.read(reader, &Bytes::from(text))?;
        self.append(&brought_in, out)
    }
}

#[async_trait]
impl Encoder for Writer {
    fn encode(&mut self, _: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        let begin = out.len();
        match self.write(typed, out) {
            Ok(()) => Ok(Encoded::Done),
            Err(error) => {
                out.truncate(begin);
                Err(error)
            }
        }
    }
}
