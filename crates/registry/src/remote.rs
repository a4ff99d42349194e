//! The registry of a pipeline: what it was asked, and what is asked of it.

use std::fmt;
use std::sync::Arc;

use aqueduct_api::registry::{Registered, Registering, Registry, SchemaId, SchemaKind, SchemaText, Version};
use aqueduct_api::{Error, Result};
use async_trait::async_trait;
use schema_registry_converter::schema_registry_common::SrCall;
use serde::Deserialize;

use crate::cache::{Cache, Weighs};
use crate::client::{Client, escaped};
use crate::config::Config;
use crate::failure::{Cause, Failure};
use crate::placing::{self, Id, Place};
use crate::references::{self, Part, Parts, weight};
use crate::{LATEST_AGE_MAX, SCHEMA_TEXTS_BYTES_MAX, SCHEMAS_MAX};

/// A registry that is asked over HTTP.
pub(crate) struct Remote {
    address: String,
    asked: Arc<Asked>,
}

/// What it was asked, and who asks.
pub(crate) struct Asked {
    pub(crate) client: Client,
    ids: Cache<SchemaId, Arc<Registered>>,
    parts: Cache<(Arc<str>, Version), Arc<Part>>,
    places: Cache<Place, Id>,
}

impl Remote {
    /// Errors: `Config` where a file that the configuration names cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let client = Client::new(config, config.timeout.0)?;
        let address = client.address();
        let asked = Asked {
            client,
            ids: Cache::new(SCHEMAS_MAX, SCHEMA_TEXTS_BYTES_MAX),
            parts: Cache::new(SCHEMAS_MAX, SCHEMA_TEXTS_BYTES_MAX),
            places: Cache::new(SCHEMAS_MAX, SCHEMA_TEXTS_BYTES_MAX),
        };
        Ok(Self { address, asked: Arc::new(asked) })
    }

    fn error(&self, failure: Failure) -> Error {
        failure.into_error().with("registry", &self.address)
    }
}

#[async_trait]
impl Registry for Remote {
    fn address(&self) -> &str {
        &self.address
    }

    async fn schema(&self, id: SchemaId) -> Result<Arc<Registered>> {
        self.asked.registered(id).await.map_err(|failure| self.error(failure))
    }

    async fn version(&self, subject: &str, version: Version) -> Result<Arc<Registered>> {
        let registered = async {
            let part = self.asked.part(&subject.into(), version).await?;
            let id = part.id.ok_or_else(|| Failure::not_a_registry("a version without an id"))?;
            let kind = self.asked.kind(&part, id).await?;
            let schema = references::complete(&self.asked, &part, kind).await?;
            Ok(Arc::new(Registered { id, schema }))
        };
        registered.await.map_err(|failure| self.error(failure))
    }

    async fn id(&self, subject: &str, schema: &SchemaText, how: Registering) -> Result<u32> {
        let place = Place { subject: subject.into(), schema: schema.clone(), how };
        let asked = || {
            let (asked, place) = (self.asked.clone(), place.clone());
            async move { placing::id(&asked.client, &place).await }
        };
        let id = self.asked.places.get(&place, None, asked).await;
        id.map(|Id(id)| id).map_err(|failure| self.error(failure))
    }

    async fn incompatibilities(&self, subject: &str, schema: &SchemaText) -> Result<Vec<String>> {
        let found = placing::incompatibilities(&self.asked.client, subject, schema).await;
        found.map_err(|failure| self.error(failure))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "registry {}", self.address)
    }
}

#[async_trait]
impl Parts for Arc<Asked> {
    async fn part(&self, subject: &Arc<str>, version: Version) -> Result<Arc<Part>, Failure> {
        let key = (subject.clone(), version);
        let age = matches!(version, Version::Latest).then_some(LATEST_AGE_MAX);
        let ask = || {
            let (asked, subject) = (self.clone(), subject.clone());
            async move {
                let name = escaped(&subject);
                let (call, what) = match version {
                    Version::Latest => (SrCall::GetLatest(&name), "the latest version".to_owned()),
                    Version::Number(number) => {
                        (SrCall::GetBySubjectAndVersion(&name, number), format!("version {number}"))
                    }
                };
                let raw = asked.client.read(call).await;
                let raw = raw.map_err(|failure| about(failure, &format!("subject `{subject}`, {what}")))?;
                Part::new(raw).map(Arc::new)
            }
        };
        self.parts.get(&key, age, ask).await
    }
}

impl Asked {
    /// The schema of an id, with all that it refers to.
    async fn registered(self: &Arc<Self>, id: SchemaId) -> Result<Arc<Registered>, Failure> {
        let ask = || {
            let asked = self.clone();
            async move { asked.by_id(id).await.map_err(|failure| about(failure, &id.to_string())) }
        };
        self.ids.get(&id, None, ask).await
    }

    /// The kind of a part: Avro's may be left out, and Apicurio leaves out all of them unless it is asked by the id.
    async fn kind(self: &Arc<Self>, part: &Part, id: u32) -> Result<SchemaKind, Failure> {
        if let Some(kind) = part.kind {
            return Ok(kind);
        }
        match self.registered(SchemaId::Number(id)).await {
            // In another context of the registry the same id may be another schema's.
            Ok(registered) if registered.schema.text == part.text => Ok(registered.schema.kind),
            Err(failure) if failure.cause == Cause::Away => Err(failure),
            _ => Ok(SchemaKind::Avro),
        }
    }

    async fn by_id(self: &Arc<Self>, id: SchemaId) -> Result<Arc<Registered>, Failure> {
        let (part, id) = match id {
            SchemaId::Number(id) => (Part::new(self.client.read(SrCall::GetById(id)).await?)?, id),
            SchemaId::Guid(_) => self.by_guid(&guid(id)).await?,
        };
        let kind = part.kind.unwrap_or(SchemaKind::Avro);
        let schema = references::complete(self, &part, kind).await?;
        Ok(Arc::new(Registered { id, schema }))
    }

    /// Confluent's answer has the schema and no id; that is asked apart, and zero where the registry does not say it.
    async fn by_guid(&self, guid: &str) -> Result<(Part, u32), Failure> {
        #[derive(Deserialize)]
        struct InContext {
            context: String,
            id: u32,
        }
        let raw = self.client.read(SrCall::GetByGuid(guid)).await.map_err(|failure| match failure.cause {
            // Apicurio and Karapace have ids alone. One record with such a header does not stop the others.
            Cause::Absent => Failure::new(Cause::Unknown, "the registry knows schemas by their ids only")
                .remedy("have the producer put the schema's id in front of the payload"),
            _ => failure,
        })?;
        let part = Part::new(raw)?;
        if let Some(id) = part.id {
            return Ok((part, id));
        }
        let ids: Result<Vec<InContext>, _> = self.client.get(&format!("/schemas/guids/{guid}/ids")).await;
        let ids = match ids {
            Err(failure) if failure.cause == Cause::Away => return Err(failure),
            other => other.unwrap_or_default(),
        };
        let usual = ids.iter().find(|one| one.context == ".").or(ids.first());
        Ok((part, usual.map_or(0, |one| one.id)))
    }
}

impl Weighs for SchemaId {}

impl Weighs for (Arc<str>, Version) {}

impl Weighs for Arc<Registered> {
    fn text_bytes(&self) -> usize {
        weight(&self.schema)
    }
}

/// A refusal, with what it is about.
fn about(failure: Failure, what: &str) -> Failure {
    match failure.cause {
        Cause::Unknown => {
            Failure { says: format!("the schema registry does not know {what}: {failure}"), ..failure }
        }
        Cause::Refused => {
            Failure { says: format!("the schema registry refuses {what}: {failure}"), ..failure }
        }
        _ => failure,
    }
}

fn guid(id: SchemaId) -> String {
    id.to_string().trim_start_matches("schema ").to_owned()
}
