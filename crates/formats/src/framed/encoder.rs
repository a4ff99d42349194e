//! Writes framed payloads: the id of each schema is asked for once.

use std::sync::Arc;

use aqueduct_api::registry::Version;
use aqueduct_api::schema::Schema;
use aqueduct_api::{Encoded, Encoder, Error, ErrorKind, Part, Registry, Result, SchemaId, SchemaText, Typed};
use async_trait::async_trait;
use tokio::time::Instant;

use super::{Framing, Language, REFUSED_FOR, SchemaChoice, frame, schema_file};
use crate::compiled::{Compiled, Counted};

/// The encoder of a language.
pub(crate) struct Framed<L: Language> {
    language: L,
    registry: Arc<dyn Registry>,
    part: Part,
    framing: Framing,
    writers: Compiled<Key, Known<L::Writer>>,
    /// That of the record before.
    last: Option<(Known<L::Writer>, Counted)>,
}

/// Where values go, and of which schema they are: the same memory, since a stream shares its schema.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    topic: Arc<str>,
    schema: usize,
}

impl Key {
    fn of(topic: &Arc<str>, schema: &Arc<Schema>) -> Self {
        Self { topic: Arc::clone(topic), schema: Arc::as_ptr(schema) as usize }
    }
}

struct Known<W> {
    topic: Arc<str>,
    /// Keeps the address from being another schema's.
    schema: Arc<Schema>,
    outcome: Result<(u32, W), (String, Instant)>,
}

impl<L: Language> Framed<L> {
    pub(crate) fn new(language: L, registry: Arc<dyn Registry>, part: Part, framing: Framing) -> Self {
        Self { language, registry, part, framing, writers: Compiled::default(), last: None }
    }

    /// The writer that fits, put into `last`.
    fn find(&mut self, topic: &Arc<str>, schema: &Arc<Schema>) -> Option<&mut Known<L::Writer>> {
        let fits = |(known, _): &(Known<L::Writer>, Counted)| {
            Arc::ptr_eq(&known.schema, schema) && (Arc::ptr_eq(&known.topic, topic) || known.topic == *topic)
        };
        if !self.last.as_ref().is_some_and(fits) {
            let found = self.writers.take(&Key::of(topic, schema))?;
            self.put_back();
            self.last = Some(found);
        }
        self.last.as_mut().map(|(known, _)| known)
    }

    fn put_back(&mut self) {
        if let Some((known, counted)) = self.last.take() {
            self.writers.keep(Key::of(&known.topic, &known.schema), known, counted);
        }
    }

    async fn writer(&self, topic: &Arc<str>, schema: &Arc<Schema>) -> Result<(u32, L::Writer, Counted)> {
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
        Ok((id, self.language.writer(schema, &text)?, Counted::compiled(L::KIND, text.bytes())))
    }
}

#[async_trait]
impl<L: Language> Encoder for Framed<L> {
    fn encode(&mut self, topic: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        if self.find(topic, typed.schema()).is_none() {
            return Ok(Encoded::Unprepared);
        }
        let Some((known, _)) = &mut self.last else { return Ok(Encoded::Unprepared) };
        match &mut known.outcome {
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
        let (outcome, counted) = match self.writer(topic, schema).await {
            Ok((id, writer, counted)) => (Ok((id, writer)), counted),
            Err(error) if error.kind() == ErrorKind::BadRecord => {
                let says = error.to_string();
                let counted = Counted::new(says.len());
                (Err((says, Instant::now())), counted)
            }
            Err(error) => return Err(error),
        };
        self.writers.take(&Key::of(topic, schema));
        self.put_back();
        let known = Known { topic: Arc::clone(topic), schema: Arc::clone(schema), outcome };
        self.last = Some((known, counted));
        Ok(())
    }
}
