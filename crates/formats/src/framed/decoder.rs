//! Reads framed payloads: the schema of each id is asked for once and compiled once.

use std::sync::Arc;

use aqueduct_api::registry::Version;
use aqueduct_api::schema::Schema;
use aqueduct_api::value::Used;
use aqueduct_api::{
    Decoder, Error, ErrorKind, Part, Piece, Registered, Registry, Result, SchemaId, SchemaText, Typed,
};
use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::frame::{self, Frame};
use super::{Framing, Language, REFUSED_FOR, SchemaChoice, schema_file};
use crate::compiled::{Compiled, Counted, KEPT_BYTES_MAX};

/// Ids that are asked for at the same time.
const ASKED_AT_ONCE_MAX: usize = 16;

/// The decoder of a language.
pub(crate) struct Framed<L: Language> {
    language: L,
    registry: Arc<dyn Registry>,
    part: Part,
    framing: Framing,
    readers: Compiled<Key, Known<L::Reader>>,
    /// The reader of the record before: a stream seldom changes its schema.
    last: Option<(Key, L::Reader, Counted)>,
    /// The memory of a value that was read before.
    used: Option<Used>,
}

/// A writer's schema, and the topic where what is read into hangs on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    id: SchemaId,
    topic: Option<Arc<str>>,
}

enum Known<R> {
    Reader(R),
    Refused { says: String, at: Instant },
}

impl<L: Language> Framed<L> {
    pub(crate) fn new(language: L, registry: Arc<dyn Registry>, part: Part, framing: Framing) -> Self {
        Self { language, registry, part, framing, readers: Compiled::default(), last: None, used: None }
    }

    fn key(&self, id: SchemaId, topic: &Arc<str>) -> Key {
        Key { id, topic: self.framing.by_topic().then(|| Arc::clone(topic)) }
    }

    /// The reader that fits, put into `last`.
    fn lend(&mut self, id: SchemaId, topic: &Arc<str>) -> Result<()> {
        let key = self.key(id, topic);
        match self.readers.take(&key) {
            Some((Known::Reader(reader), counted)) => {
                if let Some((before, reader, counted)) = self.last.replace((key, reader, counted)) {
                    self.readers.keep(before, Known::Reader(reader), counted);
                }
                Ok(())
            }
            Some((refused @ Known::Refused { .. }, counted)) => {
                let Known::Refused { says, .. } = &refused else { return Ok(()) };
                let error = Error::bad_record(says.clone());
                self.readers.keep(key, refused, counted);
                Err(error)
            }
            None => Err(Error::bug(format!("the schema of {id} was not prepared"))),
        }
    }

    /// Whether the reader of the record before fits.
    fn fits(&self, id: SchemaId, topic: &Arc<str>) -> bool {
        let of = |key: &Key| key.id == id && key.topic.as_ref().is_none_or(|of| of == topic);
        self.last.as_ref().is_some_and(|(key, ..)| of(key))
    }

    /// Whether somebody has asked for it, and lately where it was refused.
    fn knows(&self, key: &Key) -> bool {
        match self.readers.peek(key) {
            Some(Known::Refused { at, .. }) => at.elapsed() < REFUSED_FOR,
            Some(Known::Reader(_)) => true,
            None => self.last.as_ref().is_some_and(|(last, ..)| last == key),
        }
    }

    /// Those that nobody has asked for, or not lately.
    fn unknown(&self, pieces: &[Piece<'_>]) -> Vec<Key> {
        let mut unknown: Vec<Key> = Vec::new();
        let mut before = None;
        for piece in pieces {
            let Ok(Frame { id, .. }) = frame::read(*piece, self.part, L::NUMBERED) else { continue };
            if before == Some(id) && !self.framing.by_topic() {
                continue;
            }
            before = Some(id);
            let key = self.key(id, piece.topic);
            if !self.knows(&key) && !unknown.contains(&key) {
                unknown.push(key);
            }
        }
        unknown
    }

    async fn reader(&self, key: &Key, written: Result<Arc<Registered>>) -> Result<(L::Reader, Counted)> {
        let writer = written?;
        if writer.schema.kind != L::KIND {
            let says = format!("{} is of the language {}", key.id, writer.schema.kind.name());
            return Err(Error::bad_record(says).remedy("name the format the data really has"));
        }
        let reader = self.target(key, &writer.schema).await?;
        let made = self.language.reader(&writer.schema, reader.as_ref());
        let made = made.map_err(|error| error.with("schema", key.id))?;
        Ok((made, Counted::compiled(L::KIND, writer.schema.bytes())))
    }

    async fn target(&self, key: &Key, writer: &SchemaText) -> Result<Option<Arc<Schema>>> {
        let version = match &self.framing.target {
            SchemaChoice::Own => return Ok(None),
            SchemaChoice::File(path) => return self.language.schema(&schema_file(path, L::KIND)?).map(Some),
            SchemaChoice::Id(id) => {
                let found = self.registry.schema(SchemaId::Number(*id)).await?;
                return self.language.schema(&found.schema).map(Some);
            }
            SchemaChoice::Latest => Version::Latest,
            SchemaChoice::Version(number) => Version::Number(*number),
        };
        let record = || self.language.record_name(writer);
        let topic = key.topic.as_deref().unwrap_or_default();
        let subject = self.framing.subject.name(topic, self.part, record)?;
        let found = self.registry.version(&subject, version).await?;
        self.language.schema(&found.schema).map(Some)
    }
}

#[async_trait]
impl<L: Language> Decoder for Framed<L> {
    fn project(&mut self, fields: &[Arc<str>]) {
        self.language.project(fields);
    }

    fn is_ready(&self, piece: Piece<'_>) -> bool {
        let Ok(Frame { id, .. }) = frame::read(piece, self.part, L::NUMBERED) else { return true };
        self.fits(id, piece.topic) || self.knows(&self.key(id, piece.topic))
    }

    async fn prepare(&mut self, pieces: &[Piece<'_>]) -> Result<()> {
        let unknown = self.unknown(pieces);
        if unknown.is_empty() {
            return Ok(());
        }
        let (mut failed, mut bytes) = (None, 0);
        for keys in unknown.chunks(ASKED_AT_ONCE_MAX) {
            let asked = keys.iter().map(|key| self.registry.schema(key.id)).collect::<Vec<_>>();
            for (key, written) in keys.iter().zip(join_all(asked).await) {
                // Those behind are compiled when they are needed, lest they push out the ones before them.
                if bytes > KEPT_BYTES_MAX / 2 {
                    break;
                }
                let (known, counted) = match self.reader(key, written).await {
                    Ok((reader, counted)) => (Known::Reader(reader), counted),
                    Err(error) if error.kind() == ErrorKind::BadRecord => {
                        let says = error.to_string();
                        let counted = Counted::new(says.len());
                        (Known::Refused { says, at: Instant::now() }, counted)
                    }
                    Err(error) => {
                        failed = Some(error);
                        continue;
                    }
                };
                bytes += counted.bytes();
                self.readers.keep(key.clone(), known, counted);
            }
            if failed.is_some() || bytes > KEPT_BYTES_MAX / 2 {
                break;
            }
        }
        // The one that is needed first stays, whatever came behind it.
        self.readers.get(&unknown[0]);
        failed.map_or(Ok(()), Err)
    }

    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        let frame = frame::read(piece, self.part, L::NUMBERED)?;
        let id = frame.id;
        if !self.fits(id, piece.topic) {
            self.lend(id, piece.topic)?;
        }
        let Some((_, reader, _)) = &mut self.last else {
            return Err(Error::fatal("no reader was prepared"));
        };
        let used = self.used.take();
        self.language.read(reader, piece.bytes, frame, used).map_err(|error| error.with("schema", id))
    }

    fn take_back(&mut self, typed: Typed) {
        self.used = typed.used();
    }

    fn frame_header(&self) -> Option<&'static str> {
        frame::header_of(self.part)
    }
}
