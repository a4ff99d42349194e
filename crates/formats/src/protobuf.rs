//! `protobuf`: through a schema registry, or bare with a schema file.

use std::path::PathBuf;
use std::sync::Arc;

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::registry::SchemaKind;
use aqueduct_api::schema::{Kind, Schema};
use aqueduct_api::value::Used;
use aqueduct_api::{
    Decoder, Encoded, Encoder, Error, Finding, FormatContext, FormatTraits, Piece, Problem, Registry, Result,
    SchemaText, Side, Translator, Typed,
};
use aqueduct_protobuf as proto;
use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::framed::{
    self, FramedDecoder, FramedEncoder, Framing, Language, Reframed, SchemaChoice, Subject, UnknownFields,
    registry_of, schema_file,
};

/// The block `protobuf:` of a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protobuf {
    /// Under which subject schemas are registered and looked up.
    #[serde(default)]
    subject: Subject,
    /// The schema that values are brought into; at a source the reader's, at a sink the one they are written in.
    #[serde(default)]
    schema: SchemaChoice,
    /// The message of `schema` that values are brought into, `Order` or `Order.Item`; the first where it is left out.
    message: Option<String>,
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
    /// What `google.protobuf.Timestamp` is read as.
    #[serde(default)]
    timestamps: Timestamps,
    /// What `uint64` and `fixed64` are read as.
    #[serde(default)]
    uint64: Unsigned,
}

/// What stands in front of each payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Frame {
    /// The id of its schema in a registry, and which of its messages it is.
    #[default]
    Registry,
    /// Nothing: `schema` names the file that says how all of them are written.
    None,
}

/// What `google.protobuf.Timestamp` is read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Timestamps {
    /// Microseconds; a time that is finer makes its record a bad one.
    #[default]
    Micros,
    /// Microseconds; what is finer is cut off.
    MicrosCut,
    /// Nanoseconds; a time before 1677 or after 2262 makes its record a bad one.
    Nanos,
}

/// What `uint64` and `fixed64` are read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Unsigned {
    /// A long; a number above 2^63 - 1 makes its record a bad one.
    #[default]
    Long,
    /// A decimal of 20 digits.
    Decimal,
}

fn yes() -> bool {
    true
}

impl Protobuf {
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
            UnknownFields::Error => proto::UnknownFields::Error,
            UnknownFields::Drop => proto::UnknownFields::Drop,
        };
        let timestamps = match self.timestamps {
            Timestamps::Micros => proto::Timestamps::Micros,
            Timestamps::MicrosCut => proto::Timestamps::MicrosCut,
            Timestamps::Nanos => proto::Timestamps::Nanos,
        };
        let unsigned = match self.uint64 {
            Unsigned::Long => proto::Unsigned::Long,
            Unsigned::Decimal => proto::Unsigned::Decimal,
        };
        let options = proto::Options { timestamps, unsigned, ..proto::Options::default() };
        Schemas { options, unknown, message: self.message.clone() }
    }

    /// The file that says how bare payloads are written.
    fn bare(&self) -> Option<&PathBuf> {
        match (&self.frame, &self.schema) {
            (Frame::None, SchemaChoice::File(path)) => Some(path),
            _ => None,
        }
    }
}

impl Block for Protobuf {
    const NAME: &'static str = "protobuf";
    const ABOUT: &'static str = "Protobuf, with schemas from a registry or from a file.";
}

#[async_trait]
impl FormatKind for Protobuf {
    fn check(&self, side: Side) -> Vec<Problem> {
        let mut problems = framed::on_this_side(side, &self.framing());
        if self.frame == Frame::None && self.bare().is_none() {
            let says = "without a frame, nothing but a schema file says how the payloads are written";
            problems.push(Problem::new("frame", says).remedy("add `schema: { file: PATH }`"));
        }
        if self.message.is_some() && self.schema == SchemaChoice::Own {
            let says = "`message` names one of the messages of `schema`, and none is named";
            problems.push(Problem::new("message", says).remedy("add `schema: latest`, or a file"));
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
        let message = self.message.as_ref().map_or(String::new(), |message| format!("{message} of "));
        let target = match &self.schema {
            SchemaChoice::Own => String::new(),
            SchemaChoice::Latest => format!(", in {message}the latest schema"),
            SchemaChoice::Version(number) => format!(", in {message}version {number} of the schema"),
            SchemaChoice::Id(id) => format!(", in {message}schema id {id}"),
            SchemaChoice::File(path) => format!(", in {message}the schema of {}", path.display()),
        };
        match (self.frame, side) {
            (Frame::None, _) => format!("protobuf without a frame{target}"),
            (Frame::Registry, Side::Source) => format!("protobuf{target}"),
            (Frame::Registry, Side::Sink) => format!("protobuf{target}, {}", self.subject.describe()),
        }
    }

    fn decoder(&self, context: &FormatContext) -> Result<Box<dyn Decoder>> {
        let language = self.language();
        if let Some(path) = self.bare() {
            let text = schema_file(path, SchemaKind::Protobuf)?;
            return Ok(Box::new(BareDecoder(proto::Decoder::new(language.target(&text)?.0))));
        }
        Ok(Box::new(FramedDecoder::new(language, registry_of(context)?, context.part, self.framing())))
    }

    fn encoder(&self, context: &FormatContext) -> Result<Box<dyn Encoder>> {
        let language = self.language();
        if let Some(path) = self.bare() {
            let (shape, _) = language.target(&schema_file(path, SchemaKind::Protobuf)?)?;
            return Ok(Box::new(BareEncoder(proto::Encoder::new(shape, language.unknown))));
        }
        Ok(Box::new(FramedEncoder::new(language, registry_of(context)?, context.part, self.framing())))
    }

    fn translator(&self, from: &Arc<dyn Registry>, context: &FormatContext) -> Result<Box<dyn Translator>> {
        let (language, to) = (self.language(), registry_of(context)?);
        Ok(Box::new(Reframed::new(language, from, to, context.part, self.framing())))
    }

    async fn probe(&self, side: Side, context: FormatContext, topics: Vec<Arc<str>>) -> Vec<Finding> {
        if let Some(path) = self.bare() {
            let text = schema_file(path, SchemaKind::Protobuf);
            return vec![match text.and_then(|text| self.language().target(&text)) {
                Ok(_) => Finding::good(format!("{} is a Protobuf schema", path.display())),
                Err(error) => error.into(),
            }];
        }
        framed::probe(self.language(), self.framing(), side, context, topics).await
    }
}

/// Protobuf behind a frame.
struct Schemas {
    options: proto::Options,
    unknown: proto::UnknownFields,
    /// The message that values are brought into.
    message: Option<String>,
}

impl Schemas {
    /// The message that values are brought into, and its indexes.
    fn target(&self, text: &SchemaText) -> Result<(Arc<proto::Shape>, Vec<u32>)> {
        let file = compiled(text)?;
        let indexes = file.indexes(self.message.as_deref()).map_err(unreadable)?;
        let shape = file.at(&indexes, self.options).map_err(unreadable)?;
        Ok((Arc::new(shape.written_as(text.clone())), indexes))
    }
}

/// How many messages of one schema are kept compiled.
const MESSAGES_MAX: usize = 1024;

/// Reads payloads of one schema, whichever of its messages they are.
struct Reader {
    file: proto::Proto,
    text: SchemaText,
    options: proto::Options,
    known: Vec<Message>,
    /// The place of the one that came last.
    last: usize,
    into: Option<Into>,
}

struct Message {
    /// The indexes, as they stand in front of the payload.
    indexes: Vec<u8>,
    decoder: proto::Decoder,
}

/// Protobuf has no rules for reading one schema as another but its bytes: they are written once more as the reader's.
struct Into {
    encoder: proto::Encoder,
    decoder: proto::Decoder,
}

impl Reader {
    fn message(&mut self, payload: &[u8], start: usize) -> Result<(&Message, usize)> {
        let rest = payload.get(start..).unwrap_or_default();
        let fits = |message: &Message| rest.starts_with(&message.indexes);
        if !self.known.get(self.last).is_some_and(fits) {
            self.last = match self.known.iter().position(fits) {
                Some(known) => known,
                None => {
                    let (indexes, end) = proto::read_indexes(payload, start).map_err(bad)?;
                    let shape = self.file.at(&indexes, self.options).map_err(unreadable)?;
                    let decoder = proto::Decoder::new(Arc::new(shape.written_as(self.text.clone())));
                    // The same numbers can be written in many ways, which is nobody's business to remember.
                    if self.known.len() >= MESSAGES_MAX {
                        self.known.clear();
                    }
                    self.known.push(Message { indexes: payload[start..end].to_vec(), decoder });
                    self.known.len() - 1
                }
            };
        }
        let message = &self.known[self.last];
        Ok((message, start + message.indexes.len()))
    }
}

/// Writes messages of one shape behind their indexes.
struct Writer {
    indexes: Vec<u8>,
    encoder: proto::Encoder,
}

impl Language for Schemas {
    const KIND: SchemaKind = SchemaKind::Protobuf;
    const NUMBERED: bool = true;
    type Reader = Reader;
    type Writer = Writer;

    fn schema(&self, text: &SchemaText) -> Result<Arc<Schema>> {
        self.target(text).map(|(shape, _)| Arc::clone(shape.schema()))
    }

    fn text(&self, schema: &Arc<Schema>) -> Result<SchemaText> {
        if matches!(schema.get(schema.root()).kind, Kind::Any) {
            return Err(Error::bad_record("a value without a schema cannot be registered")
                .remedy("say which schema it has: `protobuf: { schema: latest }`, or a file"));
        }
        match proto::write(schema) {
            Ok(text) => Ok(SchemaText::new(SchemaKind::Protobuf, text)),
            Err(error) => {
                Err(Error::bad_record(format!("the value's schema has no form in Protobuf: {error}")))
            }
        }
    }

    fn record_name(&self, text: &SchemaText) -> Result<Arc<str>> {
        let file = compiled(text)?;
        file.indexes(self.message.as_deref()).and_then(|indexes| file.name(&indexes)).map_err(unreadable)
    }

    fn reader(&self, writer: &SchemaText, reader: Option<&Arc<Schema>>) -> Result<Reader> {
        let into = match reader.and_then(|reader| reader.written()) {
            None => None,
            Some(text) => {
                let (shape, _) = self.target(text)?;
                // What only the writer has is left behind, as by every reader of Protobuf.
                let encoder = proto::Encoder::new(Arc::clone(&shape), proto::UnknownFields::Drop);
                Some(Into { encoder, decoder: proto::Decoder::new(shape) })
            }
        };
        let (file, text) = (compiled(writer)?, writer.clone());
        Ok(Reader { file, text, options: self.options, known: Vec::new(), last: 0, into })
    }

    fn read(
        &self,
        reader: &mut Reader,
        payload: &Bytes,
        framed::Frame { start, header, .. }: framed::Frame<'_>,
        _: Option<Used>,
    ) -> Result<Typed> {
        let (message, start) = match header {
            None => reader.message(payload, start)?,
            Some(header) => match reader
                .message(header, 0)
                .map_err(|error| error.with("header", "of the schema"))?
            {
                (message, end) if end == header.len() => (message, start),
                _ => return Err(Error::bad_record("the header goes on behind the numbers of the message")),
            },
        };
        let typed = message.decoder.decode(payload, start).map_err(bad)?;
        let Some(into) = &reader.into else { return Ok(typed) };
        let mut bytes = Vec::with_capacity(payload.len());
        into.encoder.encode(&typed, &mut bytes).map_err(bad)?;
        into.decoder.decode(&bytes.into(), 0).map_err(bad)
    }

    fn writer(&self, from: &Arc<Schema>, to: &SchemaText) -> Result<Writer> {
        // A schema that goes out in its own words goes out as the same of its messages.
        let own = match &from.get(from.root()).kind {
            Kind::Record(record) if from.written() == Some(to) => Some(&*record.name.full),
            _ => None,
        };
        let file = compiled(to)?;
        let indexes = file.indexes(self.message.as_deref().or(own)).map_err(unreadable)?;
        let shape = file.at(&indexes, self.options).map_err(unreadable)?;
        let mut front = Vec::new();
        proto::write_indexes(&indexes, &mut front);
        Ok(Writer { indexes: front, encoder: proto::Encoder::new(Arc::new(shape), self.unknown) })
    }

    fn write(&self, writer: &mut Writer, typed: &Typed, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&writer.indexes);
        writer.encoder.encode(typed, out).map_err(bad)
    }
}

fn compiled(text: &SchemaText) -> Result<proto::Proto> {
    let mut imports = Vec::new();
    collect(text, &mut imports);
    proto::Proto::compile(&text.text, &imports).map_err(unreadable)
}

/// All files that one imports, by the names they are imported under.
fn collect<'a>(text: &'a SchemaText, into: &mut Vec<(&'a str, &'a str)>) {
    for reference in &text.references {
        if !into.iter().any(|(name, _)| **name == *reference.name) {
            into.push((&reference.name, &reference.schema.text));
            collect(&reference.schema, into);
        }
    }
}

struct BareDecoder(proto::Decoder);

impl Decoder for BareDecoder {
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        self.0.decode(piece.bytes, 0).map_err(bad)
    }
}

struct BareEncoder(proto::Encoder);

#[async_trait]
impl Encoder for BareEncoder {
    fn encode(&mut self, _: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        self.0.encode(typed, out).map(|()| Encoded::Done).map_err(bad)
    }
}

#[cold]
fn bad(fault: proto::Fault) -> Error {
    Error::bad_record(fault.to_string())
}

#[cold]
fn unreadable(error: proto::ProtoError) -> Error {
    Error::bad_record(format!("the schema cannot be read: {error}"))
}
