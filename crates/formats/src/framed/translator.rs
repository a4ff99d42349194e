//! Brings payloads under the ids of another registry: the schema is registered there, the payload is not looked into.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::{Encoded, Error, ErrorKind, Part, Piece, Registry, Result, SchemaId, Translator};
use async_trait::async_trait;
use tokio::time::Instant;

use super::frame::{self, Frame};
use super::{COMPILED_MAX, Framing, Language, REFUSED_FOR};

/// An id over there, or why there is none, and since when.
type Id = Result<u32, (String, Instant)>;

/// The translator of a language.
pub(crate) struct Reframed<L> {
    language: L,
    from: Arc<dyn Registry>,
    to: Arc<dyn Registry>,
    part: Part,
    framing: Framing,
    ids: HashMap<(Arc<str>, SchemaId), Id>,
    last: Option<(Arc<str>, SchemaId, u32)>,
}

impl<L: Language> Reframed<L> {
    pub(crate) fn new(
        language: L,
        from: &Arc<dyn Registry>,
        to: Arc<dyn Registry>,
        part: Part,
        framing: Framing,
    ) -> Self {
        Self { language, from: Arc::clone(from), to, part, framing, ids: HashMap::new(), last: None }
    }

    async fn id(&self, topic: &Arc<str>, id: SchemaId) -> Result<u32> {
        let found = self.from.schema(id).await?;
        let subject =
            self.framing.subject.name(topic, self.part, || self.language.record_name(&found.schema))?;
        self.to.id(&subject, &found.schema, self.framing.registering()).await
    }
}

#[async_trait]
impl<L: Language> Translator for Reframed<L> {
    fn translate(&mut self, topic: &Arc<str>, piece: Piece<'_>, out: &mut Vec<u8>) -> Result<Encoded> {
        let Frame { id, start, header } = frame::read(piece, self.part, L::NUMBERED)?;
        let new = match &self.last {
            Some((of, last, new)) if *last == id && of == topic => *new,
            _ => match self.ids.get(&(Arc::clone(topic), id)) {
                Some(Ok(new)) => {
                    self.last = Some((Arc::clone(topic), id, *new));
                    *new
                }
                Some(Err((says, at))) if at.elapsed() < REFUSED_FOR => {
                    return Err(Error::bad_record(says.clone()));
                }
                Some(Err(_)) | None => return Ok(Encoded::Unprepared),
            },
        };
        frame::write(new, out);
        out.extend_from_slice(header.unwrap_or_default());
        out.extend_from_slice(&piece.bytes[start..]);
        Ok(Encoded::Done)
    }

    async fn prepare(&mut self, topic: &Arc<str>, piece: Piece<'_>) -> Result<()> {
        let id = frame::read(piece, self.part, L::NUMBERED)?.id;
        let new = match self.id(topic, id).await {
            Ok(new) => Ok(new),
            Err(error) if error.kind() == ErrorKind::BadRecord => Err((error.to_string(), Instant::now())),
            Err(error) => return Err(error),
        };
        if self.ids.len() >= COMPILED_MAX {
            self.ids.clear();
        }
        self.ids.insert((Arc::clone(topic), id), new);
        Ok(())
    }

    fn frame_header(&self) -> Option<&'static str> {
        frame::header_of(self.part)
    }
}
