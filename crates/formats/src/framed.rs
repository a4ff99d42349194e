//! Payloads that begin with the id of a schema which a registry knows, whatever language the schema is written in:
//! <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>.

mod decoder;
mod encoder;
pub mod frame;
mod options;
mod probe;
mod translator;

use std::path::Path;
use std::sync::Arc;

use aqueduct_api::config::file;
use aqueduct_api::registry::SchemaKind;
use aqueduct_api::schema::Schema;
use aqueduct_api::value::Used;
use aqueduct_api::{Error, FormatContext, Registry, Result, SchemaText, Typed};
use bytes::Bytes;

pub(crate) use self::decoder::Framed as FramedDecoder;
pub(crate) use self::encoder::Framed as FramedEncoder;
pub(crate) use self::frame::Frame;
pub(crate) use self::options::{Framing, on_this_side};
pub use self::options::{SchemaChoice, Subject, UnknownFields};
pub(crate) use self::probe::probe;
pub(crate) use self::translator::Reframed;

/// How many compiled schemas one part of one task keeps. Beyond it all are forgotten and compiled again as they come.
pub(crate) const COMPILED_MAX: usize = 16_384;
/// How long a refusal is remembered: a schema may be registered, or a rule loosened, while the pipeline runs.
pub(crate) const REFUSED_FOR: std::time::Duration = std::time::Duration::from_secs(10);

/// A language of schemas: what its payloads are, behind the frame.
pub(crate) trait Language: Send + Sync + 'static {
    /// Which one.
    const KIND: SchemaKind;
    /// Whether a payload says which of the schema's types it is of, by numbers behind the id.
    const NUMBERED: bool = false;
    /// Reads the payloads of one schema.
    type Reader: Send + Sync;
    /// Writes values of one schema as another one says.
    type Writer: Send + Sync;

    /// See [`aqueduct_api::Decoder::project`].
    fn project(&mut self, fields: &[Arc<str>]) {
        let _ = fields;
    }

    /// The schema that a text says.
    fn schema(&self, text: &SchemaText) -> Result<Arc<Schema>>;

    /// The text of a schema that was not read from one of this language.
    fn text(&self, schema: &Arc<Schema>) -> Result<SchemaText>;

    /// What a subject that is named after records calls the values of this schema.
    fn record_name(&self, text: &SchemaText) -> Result<Arc<str>>;

    /// Values come out as `writer` says, or as `reader`.
    fn reader(&self, writer: &SchemaText, reader: Option<&Arc<Schema>>) -> Result<Self::Reader>;

    /// The value in `payload` behind its frame, in the memory of another one where there is one.
    fn read(
        &self,
        reader: &mut Self::Reader,
        payload: &Bytes,
        frame: Frame<'_>,
        used: Option<Used>,
    ) -> Result<Typed>;

    /// Values of `from` go out as `to` says.
    fn writer(&self, from: &Arc<Schema>, to: &SchemaText) -> Result<Self::Writer>;

    /// Appends a value; what is appended when it fails is cut off again by the caller.
    fn write(&self, writer: &mut Self::Writer, typed: &Typed, out: &mut Vec<u8>) -> Result<()>;
}

/// The registry of this end; the file has been checked for one.
pub(crate) fn registry_of(context: &FormatContext) -> Result<Arc<dyn Registry>> {
    context.registry.clone().ok_or_else(|| {
        Error::config(format!("the format of the {} needs a registry", context.part))
            .remedy("add `registry: { url: ... }` to the pipeline or to aqueduct.yaml")
    })
}

/// The schema of a file, with the file named where it cannot be had.
pub(crate) fn schema_file(path: &Path, kind: SchemaKind) -> Result<SchemaText> {
    match file::read_text(path, file::FILE_BYTES_MAX) {
        Ok(text) => Ok(SchemaText::new(kind, text)),
        Err(error) => {
            Err(Error::config("cannot read the schema").with("path", path.display()).caused_by(error))
        }
    }
}
