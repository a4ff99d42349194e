//! Completes a schema with those that it refers to.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::registry::{Reference, SchemaKind, SchemaText, Version};
use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt};
use schema_registry_converter::schema_registry_common::RawRegisteredSchema;

use crate::cache::Weighs;
use crate::failure::{Cause, Failure};

/// A schema refers to others that refer to others, so many deep at most.
pub(crate) const REFERENCE_DEPTH_MAX: usize = 32;
/// All that a schema refers to, directly or not, each as often as it is referred to.
const REFERENCES_MAX: usize = 1_000;

/// A schema as the registry has it: those it refers to are named only.
pub(crate) struct Part {
    /// Where it was asked by something else than its id, and the registry says it.
    pub(crate) id: Option<u32>,
    /// None where the registry does not say it.
    pub(crate) kind: Option<SchemaKind>,
    pub(crate) text: Arc<str>,
    references: Vec<Named>,
}

struct Named {
    name: Arc<str>,
    subject: Arc<str>,
    version: u32,
}

impl Part {
    pub(crate) fn new(raw: RawRegisteredSchema) -> Result<Self, Failure> {
        let kind = match raw.schema_type.as_deref() {
            None => None,
            Some("AVRO") => Some(SchemaKind::Avro),
            Some("JSON") => Some(SchemaKind::Json),
            Some("PROTOBUF") => Some(SchemaKind::Protobuf),
            Some(other) => {
                let says = format!("a schema of type `{other}`, which is none of AVRO, JSON and PROTOBUF");
                return Err(Failure::new(Cause::Refused, says));
            }
        };
        let text = raw.schema.ok_or_else(|| Failure::not_a_registry("an answer without a schema"))?;
        let references = raw.references.unwrap_or_default().into_iter().map(|reference| Named {
            name: reference.name.into(),
            subject: reference.subject.into(),
            version: reference.version,
        });
        Ok(Self { id: raw.id, kind, text: text.into(), references: references.collect() })
    }
}

impl Weighs for Arc<Part> {
    fn text_bytes(&self) -> usize {
        self.text.len()
    }
}

/// Where parts come from.
#[async_trait]
pub(crate) trait Parts: Send + Sync {
    /// A version of a subject, as it is there.
    async fn part(&self, subject: &Arc<str>, version: Version) -> Result<Arc<Part>, Failure>;
}

/// The schema of a part, with all that it refers to; those are of the same kind.
///
/// Errors: `Refused` where they are too many or refer to each other in a circle; and what asking for them gives.
pub(crate) async fn complete(
    parts: &dyn Parts,
    part: &Part,
    kind: SchemaKind,
) -> Result<SchemaText, Failure> {
    let mut walk = Walk { parts, kind, way: Vec::new(), known: HashMap::new() };
    Ok(walk.complete(part).await?.0)
}

struct Walk<'a> {
    parts: &'a dyn Parts,
    kind: SchemaKind,
    /// From the schema that was asked for down to this one.
    way: Vec<(Arc<str>, u32)>,
    /// What was completed, and how many it refers to: several may refer to the same.
    known: HashMap<(Arc<str>, u32), (Arc<SchemaText>, usize)>,
}

impl Walk<'_> {
    fn complete<'w>(&'w mut self, part: &'w Part) -> BoxFuture<'w, Result<(SchemaText, usize), Failure>> {
        async move {
            let mut references = Vec::with_capacity(part.references.len());
            let mut count = part.references.len();
            for named in &part.references {
                let (schema, below) = self.one(named).await?;
                count += below;
                if count > REFERENCES_MAX {
                    let says = format!("the schema refers to more than {REFERENCES_MAX} others");
                    return Err(Failure::new(Cause::Refused, says));
                }
                let Named { name, subject, version } = named;
                let (name, subject) = (name.clone(), subject.clone());
                references.push(Reference { name, subject, version: *version, schema });
            }
            Ok((SchemaText { kind: self.kind, text: part.text.clone(), references }, count))
        }
        .boxed()
    }

    async fn one(&mut self, named: &Named) -> Result<(Arc<SchemaText>, usize), Failure> {
        let place = (named.subject.clone(), named.version);
        if let Some(known) = self.known.get(&place) {
            return Ok(known.clone());
        }
        let says = |what: &str| {
            let says =
                format!("reference `{}` to subject `{}`, version {}: {what}", named.name, place.0, place.1);
            Failure::new(Cause::Refused, says)
        };
        if self.way.contains(&place) {
            return Err(says("the schemas refer to each other in a circle"));
        }
        if self.way.len() == REFERENCE_DEPTH_MAX {
            return Err(says("schemas refer to each other too deep"));
        }
        let part =
            self.parts.part(&place.0, Version::Number(place.1)).await.map_err(|failure| {
                match failure.cause {
                    Cause::Unknown | Cause::Refused => {
                        Failure { remedy: failure.remedy, ..says(&failure.says) }
                    }
                    _ => failure,
                }
            })?;
        self.way.push(place.clone());
        let (schema, count) = self.complete(&part).await?;
        self.way.pop();
        let done = (Arc::new(schema), count);
        self.known.insert(place, done.clone());
        Ok(done)
    }
}

/// The bytes of a schema's text and of the texts that it refers to.
pub(crate) fn weight(schema: &SchemaText) -> usize {
    schema.text.len() + schema.references.iter().map(|reference| weight(&reference.schema)).sum::<usize>()
}
