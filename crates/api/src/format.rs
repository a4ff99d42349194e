//! What a record format is to the engine: how bytes become values with structure, and back. What has to be asked of
//! somebody is asked once per batch or once per schema; a record is never waited for.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::record::Headers;
use crate::registry::Registry;
use crate::schema::Schema;
use crate::value::Typed;

/// What a format is told when it is opened.
#[derive(Clone, Debug)]
pub struct FormatContext {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The part of the record it is for.
    pub part: Part,
    /// The registry of this end, where the file names one.
    pub registry: Option<Arc<dyn Registry>>,
}

/// The parts of a record that have a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
    /// The value of each header.
    Headers,
}

/// The ends of a pipeline, as a format sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// It decodes.
    Source,
    /// It encodes.
    Sink,
}

/// What the planner has to know of a format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatTraits {
    /// Its bytes begin with an id that only their registry can explain.
    pub registry: bool,
    /// Its values are more than one text or one lump of bytes.
    pub structured: bool,
    /// It has a schema of its own that values are brought into, so that they never pass as they are.
    pub declared: bool,
    /// Bytes in which nobody looks for anything are passed on without a look, rather than checked.
    pub unchecked: bool,
}

/// How the values of a format stand in a text file, where it takes more than a newline to find the end of one.
#[derive(Clone, Debug)]
pub struct Rows {
    /// What stands between two cells. A newline inside of quotes, which begin and end at one, does not end the row.
    pub separator: char,
    /// How many cells a row has, where that is known before the file is.
    pub cells: Option<usize>,
    /// Where the first row of the file is put, which names the cells and is no value.
    pub first: Option<FirstRow>,
}

/// The row that names the cells of all others: the source finds it, the format reads it. Shared by the two.
#[derive(Clone, Debug, Default)]
pub struct FirstRow(Arc<RwLock<Option<Bytes>>>);

impl FirstRow {
    /// All rows that are given from now on have these names.
    pub fn set(&self, row: Bytes) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(row);
    }

    /// The row, once it was found.
    pub fn get(&self) -> Option<Bytes> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Bytes, and what beside them may say how they are to be read.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The topic of the record, at its source.
    pub topic: &'a Arc<str>,
    /// The headers of the record.
    pub headers: &'a Headers,
    /// The bytes of the part.
    pub bytes: &'a Bytes,
}

/// Reads one part of records. One task owns it.
#[async_trait]
pub trait Decoder: Send {
    /// From now on only these fields of the outermost record are looked at, and the encoder of this format writes the value
    /// in its own schema: all other fields may come out as [`crate::Value::Opaque`].
    fn project(&mut self, fields: &[Arc<str>]) {
        let _ = fields;
    }

    /// Whether `decode` has all it needs for this piece; if not, [`Decoder::prepare`] gets it.
    fn is_ready(&self, piece: Piece<'_>) -> bool {
        let _ = piece;
        true
    }

    /// Called with a piece that is not ready and those behind it in its batch: fetches the schemas that are not known yet.
    /// An error of kind `Transient` is tried again; what is wrong with a single record is left to `decode`.
    async fn prepare(&mut self, pieces: &[Piece<'_>]) -> Result<()> {
        let _ = pieces;
        Ok(())
    }

    /// The value; an error of kind `BadRecord` that says where the bytes are not of the format.
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed>;

    /// Takes a value back that nobody needs any more: the next one may be read into its memory.
    fn take_back(&mut self, typed: Typed) {
        drop(typed);
    }

    /// Whether the bytes are of the format, where nobody needs the value.
    fn check(&mut self, piece: Piece<'_>) -> Result<()> {
        self.decode(piece).map(drop)
    }

    /// A header that belongs to the bytes it read, and must not stay when they are written anew.
    fn frame_header(&self) -> Option<&'static str> {
        None
    }
}

/// Writes one part of records. One task owns it.
#[async_trait]
pub trait Encoder: Send {
    /// Appends the bytes of a value to `out`, for a record that goes to this topic. An error of kind `BadRecord` leaves
    /// `out` as it was.
    fn encode(&mut self, topic: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded>;

    /// Gets what `encode` was missing. An error of kind `Transient` is tried again, one of kind `BadRecord` is the
    /// record's.
    async fn prepare(&mut self, topic: &Arc<str>, schema: &Arc<Schema>) -> Result<()> {
        let _ = (topic, schema);
        Ok(())
    }
}

/// The answer of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// It stands in the buffer.
    Done,
    /// Nothing was written: [`Encoder::prepare`] has to be called first.
    Unprepared,
}

/// Brings the bytes of one registry under the ids of another one, without looking into them.
#[async_trait]
pub trait Translator: Send {
    /// Appends the bytes with their new id to `out`, for a record that goes to this topic.
    fn translate(&mut self, topic: &Arc<str>, piece: Piece<'_>, out: &mut Vec<u8>) -> Result<Encoded>;

    /// Gets what `translate` was missing. Errors as those of [`Encoder::prepare`].
    async fn prepare(&mut self, topic: &Arc<str>, piece: Piece<'_>) -> Result<()>;

    /// See [`Decoder::frame_header`].
    fn frame_header(&self) -> Option<&'static str> {
        None
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Key => "key",
            Part::Value => "value",
            Part::Headers => "headers",
        })
    }
}
