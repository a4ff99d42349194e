//! `json_schema`: JSON behind the id of its JSON Schema in a registry.

use std::sync::Arc;

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::registry::SchemaKind;
use aqueduct_api::schema::{Kind, Schema};
use aqueduct_api::value::Used;
use aqueduct_api::{
    Decoder, Encoder, Error, Finding, FormatContext, FormatTraits, Problem, Registry, Result, SchemaText,
    Side, Translator, Typed,
};
use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema as Described;
use serde::Deserialize;

use super::{Texts, Validator, parse, write};
use crate::framed::{
    self, Frame, FramedDecoder, FramedEncoder, Framing, Language, Reframed, SchemaChoice, Subject,
    UnknownFields, registry_of,
};
use crate::json::declaration::{Declaration, Declared, Writer};
use crate::json::declared::{DeclaredReader, Rules};
use crate::json::plan::PerSchema;

/// The block `json_schema:` of a file.
#[derive(Debug, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct JsonSchema {
    /// Under which subject schemas are registered and looked up.
    #[serde(default)]
    subject: Subject,
    /// The schema that values are brought into; at a source the reader's, at a sink the one they are written in.
    #[serde(default)]
    schema: SchemaChoice,
    /// Whether a schema that the subject does not have yet is registered there.
    #[serde(default = "yes")]
    register: bool,
    /// Whether the registry brings schemas into a normal form before it compares them.
    #[serde(default)]
    normalize: bool,
    /// What becomes of a field that the schema neither names nor allows.
    #[serde(default)]
    unknown_fields: UnknownFields,
}

fn yes() -> bool {
    true
}

impl JsonSchema {
    fn framing(&self) -> Framing {
        Framing {
            subject: self.subject.clone(),
            target: self.schema.clone(),
            register: self.register,
            normalize: self.normalize,
        }
    }

    fn language(&self) -> Schemas {
        Schemas { drop_unknown: self.unknown_fields == UnknownFields::Drop }
    }
}

impl Block for JsonSchema {
    const NAME: &'static str = "json_schema";
    const ABOUT: &'static str = "JSON with JSON Schemas from a registry.";
}

#[async_trait]
impl FormatKind for JsonSchema {
    fn check(&self, side: Side) -> Vec<Problem> {
        framed::on_this_side(side, &self.framing())
    }

    fn traits(&self) -> FormatTraits {
        let declared = self.schema != SchemaChoice::Own;
        FormatTraits { registry: true, structured: true, declared, unchecked: true }
    }

    fn describe(&self, side: Side) -> String {
        match side {
            Side::Source => "json_schema".to_owned(),
            Side::Sink => format!("json_schema, {}", self.subject.describe()),
        }
    }

    fn decoder(&self, context: &FormatContext) -> Result<Box<dyn Decoder>> {
        let (language, registry) = (self.language(), registry_of(context)?);
        Ok(Box::new(FramedDecoder::new(language, registry, context.part, self.framing())))
    }

    fn encoder(&self, context: &FormatContext) -> Result<Box<dyn Encoder>> {
        let (language, registry) = (self.language(), registry_of(context)?);
        Ok(Box::new(FramedEncoder::new(language, registry, context.part, self.framing())))
    }

    fn translator(&self, from: &Arc<dyn Registry>, context: &FormatContext) -> Result<Box<dyn Translator>> {
        let (language, to) = (self.language(), registry_of(context)?);
        Ok(Box::new(Reframed::new(language, from, to, context.part, self.framing())))
    }

    async fn probe(&self, side: Side, context: FormatContext, topics: Vec<Arc<str>>) -> Vec<Finding> {
        framed::probe(self.language(), self.framing(), side, context, topics).await
    }
}

/// JSON behind a frame.
struct Schemas {
    drop_unknown: bool,
}

impl Schemas {
    /// What keeps to a schema: its types, and what it says beyond them.
    fn declared(&self, schema: &Arc<Schema>, text: Option<&SchemaText>) -> Result<Declared> {
        let validator = text.map(|text| Validator::new(text, Texts::Plain)).transpose()?.flatten();
        let rules = Rules { drop_unknown: self.drop_unknown, ..Rules::default() };
        let declaration = Declaration::new(schema, validator, rules)?;
        Ok(Declared { declaration, reader: DeclaredReader::default() })
    }
}

impl Language for Schemas {
    const KIND: SchemaKind = SchemaKind::Json;
    type Reader = Declared;
    type Writer = Writer;

    fn schema(&self, text: &SchemaText) -> Result<Arc<Schema>> {
        parse(text, Texts::Plain)
    }

    fn text(&self, schema: &Arc<Schema>) -> Result<SchemaText> {
        if matches!(schema.get(schema.root()).kind, Kind::Any) {
            return Err(Error::bad_record("a value without a schema cannot be registered")
                .remedy("say which schema it has: `json_schema: { schema: latest }`, or a file"));
        }
        Ok(SchemaText::new(SchemaKind::Json, write(schema)?))
    }

    fn record_name(&self, text: &SchemaText) -> Result<Arc<str>> {
        let schema = self.schema(text)?;
        Ok(Arc::from(schema.get(schema.root()).kind.name()))
    }

    fn reader(&self, writer: &SchemaText, reader: Option<&Arc<Schema>>) -> Result<Declared> {
        // JSON says its own types: it is read as whatever is wanted.
        match reader {
            Some(reader) => self.declared(reader, reader.written()),
            None => self.declared(&self.schema(writer)?, Some(writer)),
        }
    }

    fn read(
        &self,
        reader: &mut Declared,
        payload: &Bytes,
        frame: Frame<'_>,
        _: Option<Used>,
    ) -> Result<Typed> {
        reader.read(&payload.slice(frame.start.min(payload.len())..))
    }

    fn writer(&self, from: &Arc<Schema>, to: &SchemaText) -> Result<Writer> {
        let schema = if from.written() == Some(to) { Arc::clone(from) } else { self.schema(to)? };
        let declared = Some(self.declared(&schema, Some(to))?);
        Ok(Writer { style: Default::default(), plans: PerSchema::default(), declared })
    }

    fn write(&self, writer: &mut Writer, typed: &Typed, out: &mut Vec<u8>) -> Result<()> {
        writer.write(typed, out)
    }
}
