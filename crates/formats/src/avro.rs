//! `avro`: through a schema registry, or bare with a schema file.

use std::path::PathBuf;
use std::sync::Arc;

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::registry::SchemaKind;
use aqueduct_api::schema::{Kind, Schema};
use aqueduct_api::value::{Blob, Span, Used};
use aqueduct_api::{
    Decoder, Encoded, Encoder, Error, Finding, FormatContext, FormatTraits, Piece, Problem, Registry, Result,
    SchemaText, Side, Translator, Typed, Value,
};
use aqueduct_avro as avro;
use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::framed::{
    self, FramedDecoder, FramedEncoder, Framing, Language, Reframed, SchemaChoice, Subject, UnknownFields,
    registry_of, schema_file,
};

/// The block `avro:` of a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Avro {
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
    /// What becomes of a field that the sink's schema does not know.
    #[serde(default)]
    unknown_fields: UnknownFields,
    /// What stands in front of each payload.
    #[serde(default)]
    frame: Frame,
}

/// What stands in front of each payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Frame {
    /// The id of its schema in a registry.
    #[default]
    Registry,
    /// Nothing: `schema` names the file that says how all of them are written.
    None,
}

fn yes() -> bool {
    true
}

impl Avro {
    fn framing(&self) -> Framing {
        Framing {
            subject: self.subject.clone(),
            target: self.schema.clone(),
            register: self.register,
            normalize: self.normalize,
        }
    }

    fn language(&self) -> Schemas {
        let unknown = match self.unknown_fields {
            UnknownFields::Error => avro::UnknownFields::Error,
            UnknownFields::Drop => avro::UnknownFields::Drop,
        };
        Schemas { unknown, looked_at: None }
    }

    /// The file that says how bare payloads are written.
    fn bare(&self) -> Option<&PathBuf> {
        match (&self.frame, &self.schema) {
            (Frame::None, SchemaChoice::File(path)) => Some(path),
            _ => None,
        }
    }
}

impl Block for Avro {
    const NAME: &'static str = "avro";
    const ABOUT: &'static str = "Avro, with schemas from a registry or from a file.";
}

#[async_trait]
impl FormatKind for Avro {
    fn check(&self, side: Side) -> Vec<Problem> {
        let mut problems = framed::on_this_side(side, &self.framing());
        if self.frame == Frame::None && self.bare().is_none() {
            let says = "without a frame, nothing but a schema file says how the payloads are written";
            problems.push(Problem::new("frame", says).remedy("add `schema: { file: PATH }`"));
        }
        problems
    }

    fn traits(&self) -> FormatTraits {
        FormatTraits {
            registry: self.frame == Frame::Registry,
            structured: true,
            declared: self.schema != SchemaChoice::Own,
            unchecked: self.frame == Frame::Registry,
        }
    }

    fn describe(&self, side: Side) -> String {
        let target = match &self.schema {
            SchemaChoice::Own => String::new(),
            SchemaChoice::Latest => ", in the latest schema".into(),
            SchemaChoice::Version(number) => format!(", in version {number} of the schema"),
            SchemaChoice::Id(id) => format!(", in schema id {id}"),
            SchemaChoice::File(path) => format!(", in the schema of {}", path.display()),
        };
        match (self.frame, side) {
            (Frame::None, _) => format!("avro without a frame{target}"),
            (Frame::Registry, Side::Source) => format!("avro{target}"),
            (Frame::Registry, Side::Sink) => format!("avro{target}, {}", self.subject.describe()),
        }
    }

    fn decoder(&self, context: &FormatContext) -> Result<Box<dyn Decoder>> {
        if let Some(path) = self.bare() {
            let schema = self.language().schema(&schema_file(path, SchemaKind::Avro)?)?;
            return Ok(Box::new(BareDecoder(avro::Decoder::new(&schema), None)));
        }
        let (language, registry) = (self.language(), registry_of(context)?);
        Ok(Box::new(FramedDecoder::new(language, registry, context.part, self.framing())))
    }

    fn encoder(&self, context: &FormatContext) -> Result<Box<dyn Encoder>> {
        let language = self.language();
        if let Some(path) = self.bare() {
            let schema = language.schema(&schema_file(path, SchemaKind::Avro)?)?;
            return Ok(Box::new(BareEncoder(avro::Encoder::new(&schema, language.unknown))));
        }
        Ok(Box::new(FramedEncoder::new(language, registry_of(context)?, context.part, self.framing())))
    }

    fn translator(&self, from: &Arc<dyn Registry>, context: &FormatContext) -> Result<Box<dyn Translator>> {
        let (language, to) = (self.language(), registry_of(context)?);
        Ok(Box::new(Reframed::new(language, from, to, context.part, self.framing())))
    }

    async fn probe(&self, side: Side, context: FormatContext, topics: Vec<Arc<str>>) -> Vec<Finding> {
        if let Some(path) = self.bare() {
            let schema = schema_file(path, SchemaKind::Avro).and_then(|text| self.language().schema(&text));
            return vec![match schema {
                Ok(_) => Finding::good(format!("{} is an Avro schema", path.display())),
                Err(error) => error.into(),
            }];
        }
        framed::probe(self.language(), self.framing(), side, context, topics).await
    }
}

/// Avro behind a frame.
struct Schemas {
    unknown: avro::UnknownFields,
    /// The fields that somebody looks at, where the others may pass as they are.
    looked_at: Option<Box<[Arc<str>]>>,
}

impl Language for Schemas {
    const KIND: SchemaKind = SchemaKind::Avro;
    type Reader = Reader;
    type Writer = Writer;

    fn project(&mut self, fields: &[Arc<str>]) {
        self.looked_at = Some(fields.into());
    }

    fn schema(&self, text: &SchemaText) -> Result<Arc<Schema>> {
        let mut references = Vec::new();
        collect(text, &mut references);
        match avro::parse(&text.text, &references) {
            Ok(schema) => Ok(schema.written_as(text.clone())),
            Err(error) => Err(Error::bad_record(format!("the schema cannot be read: {error}"))),
        }
    }

    fn text(&self, schema: &Arc<Schema>) -> Result<SchemaText> {
        if matches!(schema.get(schema.root()).kind, Kind::Any) {
            return Err(Error::bad_record("a value without a schema cannot be registered")
                .remedy("say which schema it has: `avro: { schema: latest }`, or a file"));
        }
        Ok(SchemaText::new(SchemaKind::Avro, avro::write(schema).to_string()))
    }

    fn record_name(&self, text: &SchemaText) -> Result<Arc<str>> {
        let schema = self.schema(text)?;
        Ok(Arc::from(schema.get(schema.root()).kind.name()))
    }

    fn reader(&self, writer: &SchemaText, reader: Option<&Arc<Schema>>) -> Result<Reader> {
        let writer = self.schema(writer)?;
        match reader {
            None if is_bytes(&writer) => Ok(Reader::Bytes(writer)),
            None => Ok(Reader::Rows(match &self.looked_at {
                Some(fields) => avro::Decoder::looking_at(&writer, fields),
                None => avro::Decoder::new(&writer),
            })),
            Some(reader) => avro::Decoder::resolving(&writer, reader).map(Reader::Rows).map_err(bad),
        }
    }

    #[inline]
    fn read(
        &self,
        reader: &mut Reader,
        payload: &Bytes,
        framed::Frame { start, .. }: framed::Frame<'_>,
        used: Option<Used>,
    ) -> Result<Typed> {
        match reader {
            Reader::Rows(decoder) => decoder.decode_over(payload, start, used).map_err(bad),
            Reader::Bytes(schema) => {
                let span = Span::new(start, payload.len() - start.min(payload.len()));
                let span = span.ok_or_else(|| Error::bad_record("more than 4 GiB"))?;
                Ok(Typed::new(Arc::clone(schema), payload.clone(), Value::Bytes(Blob::Span(span))))
            }
        }
    }

    fn writer(&self, from: &Arc<Schema>, to: &SchemaText) -> Result<Writer> {
        // A schema that goes out in its own words is written without a look at what it could be brought into.
        let to = if from.written() == Some(to) { Arc::clone(from) } else { self.schema(to)? };
        Ok(match is_bytes(&to) && is_bytes(from) {
            true => Writer::Bytes,
            false => Writer::Rows(avro::Encoder::new(&to, self.unknown)),
        })
    }

    #[inline]
    fn write(&self, writer: &mut Writer, typed: &Typed, out: &mut Vec<u8>) -> Result<()> {
        match (writer, typed.value()) {
            (Writer::Rows(encoder), _) => encoder.encode(typed, out).map_err(bad),
            (Writer::Bytes, Value::Bytes(bytes)) => {
                out.extend_from_slice(bytes.get(typed.payload()));
                Ok(())
            }
            (Writer::Bytes, _) => {
                Err(Error::bad_record("bytes belong here, and the value is something else"))
            }
        }
    }
}

/// Reads the payloads of one schema.
enum Reader {
    Rows(avro::Decoder),
    /// The schema is `"bytes"` and nothing more: the serializers of registries write those as they are, without a length.
    Bytes(Arc<Schema>),
}

/// Writes values as one schema says.
enum Writer {
    Rows(avro::Encoder),
    /// See [`Reader::Bytes`].
    Bytes,
}

fn is_bytes(schema: &Schema) -> bool {
    let root = schema.get(schema.root());
    root.kind == Kind::Bytes && root.logical.is_none()
}

/// The texts of all schemas that one refers to, each behind those that it refers to itself.
fn collect<'a>(text: &'a SchemaText, into: &mut Vec<&'a str>) {
    for reference in &text.references {
        collect(&reference.schema, into);
        let text = &*reference.schema.text;
        if !into.contains(&text) {
            into.push(text);
        }
    }
}

struct BareDecoder(avro::Decoder, Option<Used>);

impl Decoder for BareDecoder {
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        self.0.decode_over(piece.bytes, 0, self.1.take()).map_err(bad)
    }

    fn take_back(&mut self, typed: Typed) {
        self.1 = typed.used();
    }
}

struct BareEncoder(avro::Encoder);

impl Encoder for BareEncoder {
    fn encode(&mut self, _: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        self.0.encode(typed, out).map(|()| Encoded::Done).map_err(bad)
    }
}

#[cold]
fn bad(fault: avro::Fault) -> Error {
    Error::bad_record(fault.to_string())
}
