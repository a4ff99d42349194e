//! Writes framed payloads: the id of each schema is asked for once.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::registry::Version;
use aqueduct_api::schema::Schema;
use aqueduct_api::{Encoded, Encoder, Error, ErrorKind, Part, Registry, Result, SchemaId, SchemaText, Typed};
use async_trait::async_trait;
use tokio::time::Instant;

use super::{COMPILED_MAX, Framing, Language, REFUSED_FOR, SchemaChoice, frame, schema_file};

/// The encoder of a language.
pub(crate) struct Framed<L: Language> {
    language: L,
    registry: Arc<dyn Registry>,
    part: Part,
    framing: Framing,
    known: HashMap<Key, usize>,
    writers: Vec<Known<L::Writer>>,
    /// The place of the writer of the record before.
    last: usize,
}

/// Where values go, and of which schema they are: the same memory, since a stream shares its schema.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    topic: Arc<str>,
    schema: usize,
}

struct Known<W> {
    topic: Arc<str>,
    /// Keeps the address from being another schema's.
    schema: Arc<Schema>,
    outcome: Result<(u32, W), (String, Instant)>,
}

impl<L: Language> Framed<L> {
    pub(crate) fn new(language: L, registry: Arc<dyn Registry>, part: Part, framing: Framing) -> Self {
        Self { language, registry, part, framing, known: HashMap::new(), writers: Vec::new(), last: 0 }
    }

    fn find(&mut self, topic: &Arc<str>, schema: &Arc<Schema>) -> Option<usize> {
        let fits = |known: &Known<L::Writer>| {
            Arc::ptr_eq(&known.schema, schema) && (Arc::ptr_eq(&known.topic, topic) || known.topic == *topic)
        };
        if self.writers.get(self.last).is_some_and(fits) {
            return Some(self.last);
        }
        let key = Key { topic: Arc::clone(topic), schema: Arc::as_ptr(schema) as usize };
        let found = self.known.get(&key).copied()?;
        self.last = found;
        Some(found)
    }

    async fn writer(&self, topic: &Arc<str>, schema: &Arc<Schema>) -> Result<(u32, L::Writer)> {
        let subject = |text: &SchemaText| {
            self.framing.subject.name(topic, self.part, || self.language.record_name(text))
        };
        let own = || match schema.written() {
            Some(written) if written.kind == L::KIND => Ok(written.clone()),
            _ => self.language.text(schema),
        };
        let (id, text) = match &self.framing.target {
            target @ (SchemaChoice::Own | SchemaChoice::File(_)) => {
                let text = match target {
                    SchemaChoice::File(path) => schema_file(path, L::KIND)?,
                    _ => own()?,
                };
                let id = self.registry.id(&subject(&text)?, &text, self.framing.registering()).await?;
                (id, text)
            }
            SchemaChoice::Id(id) => {
                let found = self.registry.schema(SchemaId::Number(*id)).await?;
                (*id, found.schema.clone())
            }
            target @ (SchemaChoice::Latest | SchemaChoice::Version(_)) => {
                let version = match target {
                    SchemaChoice::Version(number) => Version::Number(*number),
                    _ => Version::Latest,
                };
                // A value without a schema has no name, and needs none where the topic says the subject.
                let record = || self.language.record_name(&own()?);
                let subject = self.framing.subject.name(topic, self.part, record)?;
                let found = self.registry.version(&subject, version).await?;
                (found.id, found.schema.clone())
            }
        };
        if text.kind != L::KIND {
            let says = format!("schema id {id} is of the language {}", text.kind.name());
            return Err(Error::bad_record(says).remedy("name that format at the sink"));
        }
        Ok((id, self.language.writer(schema, &text)?))
    }
}

#[async_trait]
impl<L: Language> Encoder for Framed<L> {
    fn encode(&mut self, topic: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        let Some(at) = self.find(topic, typed.schema()) else { return Ok(Encoded::Unprepared) };
        match &mut self.writers[at].outcome {
            Ok((id, writer)) => {
                let start = out.len();
                frame::write(*id, out);
                if let Err(error) = self.language.write(writer, typed, out) {
                    out.truncate(start);
                    return Err(error);
                }
                Ok(Encoded::Done)
            }
            Err((_, at)) if at.elapsed() >= REFUSED_FOR => Ok(Encoded::Unprepared),
            Err((says, _)) => Err(Error::bad_record(says.clone())),
        }
    }

    async fn prepare(&mut self, topic: &Arc<str>, schema: &Arc<Schema>) -> Result<()> {
        let outcome = match self.writer(topic, schema).await {
            Ok(writer) => Ok(writer),
            Err(error) if error.kind() == ErrorKind::BadRecord => Err((error.to_string(), Instant::now())),
            Err(error) => return Err(error),
        };
        if self.writers.len() >= COMPILED_MAX {
            self.writers.clear();
            self.known.clear();
        }
        let known = Known { topic: Arc::clone(topic), schema: Arc::clone(schema), outcome };
        match self.find(topic, schema) {
            Some(at) => self.writers[at] = known,
            None => {
                self.last = self.writers.len();
                let key = Key { topic: Arc::clone(topic), schema: Arc::as_ptr(schema) as usize };
                self.known.insert(key, self.last);
                self.writers.push(known);
            }
        }
        Ok(())
    }
}
