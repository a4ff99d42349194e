//! Reads framed payloads: the schema of each id is asked for once and compiled once.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::registry::Version;
use aqueduct_api::schema::Schema;
use aqueduct_api::value::Used;
use aqueduct_api::{Decoder, Error, ErrorKind, Part, Piece, Registry, Result, SchemaId, SchemaText, Typed};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;

use super::frame::{self, Frame};
use super::{COMPILED_MAX, Framing, Language, REFUSED_FOR, SchemaChoice, schema_file};

/// Ids that are asked for at the same time.
const ASKED_AT_ONCE_MAX: usize = 16;

/// The decoder of a language.
pub(crate) struct Framed<L: Language> {
    language: L,
    registry: Arc<dyn Registry>,
    part: Part,
    framing: Framing,
    readers: HashMap<Key, Known<L::Reader>>,
    /// The reader of the record before: a stream seldom changes its schema.
    last: Option<(Key, L::Reader)>,
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
    /// It is the one in use.
    Lent,
    Refused {
        says: String,
        at: Instant,
    },
}

impl<L: Language> Framed<L> {
    pub(crate) fn new(language: L, registry: Arc<dyn Registry>, part: Part, framing: Framing) -> Self {
        Self { language, registry, part, framing, readers: HashMap::new(), last: None, used: None }
    }

    fn key(&self, id: SchemaId, topic: &Arc<str>) -> Key {
        Key { id, topic: self.framing.by_topic().then(|| Arc::clone(topic)) }
    }

    /// The reader that fits, put into `last`.
    fn lend(&mut self, id: SchemaId, topic: &Arc<str>) -> Result<()> {
        let key = self.key(id, topic);
        match self.readers.get_mut(&key) {
            Some(known @ Known::Reader(_)) => {
                let Known::Reader(reader) = std::mem::replace(known, Known::Lent) else { return Ok(()) };
                if let Some((before, reader)) = self.last.replace((key, reader)) {
                    self.readers.insert(before, Known::Reader(reader));
                }
                Ok(())
            }
            Some(Known::Refused { says, .. }) => Err(Error::bad_record(says.clone())),
            Some(Known::Lent) | None => Err(Error::bad_record(format!("{id} is not known"))),
        }
    }

    /// Whether the reader of the record before fits.
    fn fits(&self, id: SchemaId, topic: &Arc<str>) -> bool {
        let of = |key: &Key| key.id == id && key.topic.as_ref().is_none_or(|of| of == topic);
        self.last.as_ref().is_some_and(|(key, _)| of(key))
    }

    /// Whether somebody has asked for it, and lately where it was refused.
    fn knows(&self, key: &Key) -> bool {
        match self.readers.get(key) {
            Some(Known::Refused { at, .. }) => at.elapsed() < REFUSED_FOR,
            Some(_) => true,
            None => false,
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

    async fn fetch(&self, key: &Key) -> Result<L::Reader> {
        let writer = self.registry.schema(key.id).await?;
        if writer.schema.kind != L::KIND {
            let says = format!("{} is of the language {}", key.id, writer.schema.kind.name());
            return Err(Error::bad_record(says).remedy("name the format the data really has"));
        }
        let reader = self.target(key, &writer.schema).await?;
        self.language.reader(&writer.schema, reader.as_ref()).map_err(|error| error.with("schema", key.id))
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
        if self.readers.len() + unknown.len() > COMPILED_MAX {
            self.readers.clear();
            self.last = None;
        }
        let this = &*self;
        let asked = stream::iter(unknown).map(|key| async move {
            let fetched = this.fetch(&key).await;
            (key, fetched)
        });
        let fetched: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE_MAX).collect().await;
        let mut failed = None;
        for (key, fetched) in fetched {
            let known = match fetched {
                Ok(reader) => Known::Reader(reader),
                Err(error) if error.kind() == ErrorKind::BadRecord => {
                    Known::Refused { says: error.to_string(), at: Instant::now() }
                }
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            self.readers.insert(key, known);
        }
        failed.map_or(Ok(()), Err)
    }

    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        let frame = frame::read(piece, self.part, L::NUMBERED)?;
        let id = frame.id;
        if !self.fits(id, piece.topic) {
            self.lend(id, piece.topic)?;
        }
        let Some((_, reader)) = &mut self.last else {
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
