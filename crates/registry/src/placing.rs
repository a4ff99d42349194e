//! Ids by schema: looked up, or registered after its compatibility was asked, so that a refusal has the registry's words.

use std::sync::Arc;

use aqueduct_api::registry::{Registering, SchemaKind, SchemaText};
use futures_util::future::{BoxFuture, FutureExt};
use schema_registry_converter::schema_registry_common::RawRegisteredSchema;
use serde::{Deserialize, Serialize};
use tracing::{debug, info};

use crate::cache::Weighs;
use crate::client::Client;
use crate::client::escaped;
use crate::failure::{Cause, Failure, bounded};
use crate::references::{REFERENCE_DEPTH_MAX, weight};

const REGISTER: &str = "register";
/// A registry has a message for each field of each version that does not fit: so many are passed on.
const MESSAGES_MAX: usize = 10;

/// A schema that wants an id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) subject: Arc<str>,
    pub(crate) schema: SchemaText,
    pub(crate) how: Registering,
}

/// Its id.
#[derive(Clone, Copy)]
pub(crate) struct Id(pub(crate) u32);

/// A schema as it is posted. What the registry would take for granted is left out: some refuse fields they do not know.
#[derive(Serialize)]
struct Body<'a> {
    schema: &'a str,
    #[serde(rename = "schemaType", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    references: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    subject: &'a str,
    version: u32,
}

/// The id of a schema, which is registered if that is allowed, those it refers to first.
pub(crate) async fn id(client: &Client, place: &Place) -> Result<Id, Failure> {
    let Place { subject, schema, how } = place;
    let placed = Placing { client, how: *how }.place(subject, schema, 0).await?;
    placed.id.map(Id).ok_or_else(|| Failure::not_a_registry("a schema without an id"))
}

/// Why the schema could not be the next version of the subject; nothing when it could.
pub(crate) async fn incompatibilities(
    client: &Client,
    subject: &str,
    schema: &SchemaText,
) -> Result<Vec<String>, Failure> {
    // The versions are those at hand: whoever only asks registers nothing.
    let body = body(schema, schema.references.iter().map(|reference| reference.version));
    match compatible(client, subject, &body, "").await? {
        Compatible::Yes => Ok(Vec::new()),
        Compatible::No(messages) if messages.is_empty() => {
            Ok(vec!["the registry calls it incompatible, and does not say why".to_owned()])
        }
        Compatible::No(messages) => Ok(messages),
    }
}

struct Placing<'a> {
    client: &'a Client,
    how: Registering,
}

impl Placing<'_> {
    fn place<'w>(
        &'w self,
        subject: &'w str,
        schema: &'w SchemaText,
        depth: usize,
    ) -> BoxFuture<'w, Result<RawRegisteredSchema, Failure>> {
        async move {
            if depth > REFERENCE_DEPTH_MAX {
                return Err(Failure::new(Cause::Refused, "schemas refer to each other too deep"));
            }
            // Their versions in this registry need not be those of the one that they were read from.
            let mut versions = Vec::with_capacity(schema.references.len());
            for reference in &schema.references {
                versions.push(self.version(&reference.subject, &reference.schema, depth + 1).await?);
            }
            let body = body(schema, versions);
            match self.look_up(subject, &body).await {
                Err(failure) if failure.cause == Cause::Unknown && self.how.allowed => {
                    self.register(subject, &body).await
                }
                Err(failure) if failure.cause == Cause::Unknown => {
                    let says = format!("the schema is not registered under subject `{subject}`: {failure}");
                    Err(Failure::new(Cause::Unknown, says)
                        .remedy("register it there, or allow that it is registered"))
                }
                found => found,
            }
        }
        .boxed()
    }

    async fn version(&self, subject: &str, schema: &SchemaText, depth: usize) -> Result<u32, Failure> {
        let placed = self.place(subject, schema, depth).await?;
        // Most answer a registration with the id alone: now that it is there, it can be looked up.
        let placed =
            if placed.version.is_some() { placed } else { self.place(subject, schema, depth).await? };
        placed.version.ok_or_else(|| {
            // One that had it registered by another hears of it a moment later.
            let says =
                format!("the schema registry does not show yet what it registered under subject `{subject}`");
            Failure::new(Cause::Away, says)
        })
    }

    async fn look_up(&self, subject: &str, body: &str) -> Result<RawRegisteredSchema, Failure> {
        let path = format!("/subjects/{}{}", escaped(subject), self.query());
        self.client.post(&path, body).await.map_err(|failure| refused(failure, subject, "look up"))
    }

    async fn register(&self, subject: &str, body: &str) -> Result<RawRegisteredSchema, Failure> {
        match compatible(self.client, subject, body, self.query().trim_start_matches('?')).await {
            Ok(Compatible::No(messages)) if !messages.is_empty() => {
                let says = format!(
                    "the schema is not compatible with subject `{subject}`: {}",
                    bounded(&messages.join("; "))
                );
                return Err(Failure::new(Cause::Refused, says)
                    .remedy("change the schema so that it fits, or the compatibility of the subject"));
            }
            Err(failure) if failure.cause == Cause::Away => return Err(failure),
            // Whoever may not ask, or asks one that cannot tell, hears it from the registration.
            Err(failure) => debug!(%failure, "the registry does not say whether the schema is compatible"),
            Ok(_) => {}
        }
        let path = format!("/subjects/{}/versions{}", escaped(subject), self.query());
        let placed: RawRegisteredSchema =
            self.client.post(&path, body).await.map_err(|failure| refused(failure, subject, REGISTER))?;
        info!(subject, id = placed.id, "registered a schema");
        Ok(placed)
    }

    fn query(&self) -> &'static str {
        if self.how.normalize { "?normalize=true" } else { "" }
    }
}

enum Compatible {
    Yes,
    /// With the registry's words, where it has some.
    No(Vec<String>),
}

/// Asks for all versions that the subject's compatibility looks at; Karapace knows the question for one version only.
async fn compatible(client: &Client, subject: &str, body: &str, query: &str) -> Result<Compatible, Failure> {
    #[derive(Deserialize)]
    struct Verdict {
        is_compatible: bool,
        #[serde(default)]
        messages: Vec<String>,
    }
    let base = format!("/compatibility/subjects/{}/versions", escaped(subject));
    let query = if query.is_empty() { "verbose=true".to_owned() } else { format!("verbose=true&{query}") };
    let asked = match client.post::<Verdict>(&format!("{base}?{query}"), body).await {
        Err(failure) if failure.cause == Cause::Absent => {
            client.post(&format!("{base}/latest?{query}"), body).await
        }
        other => other,
    };
    match asked {
        Ok(Verdict { is_compatible: true, .. }) => Ok(Compatible::Yes),
        Ok(Verdict { messages, .. }) => {
            let more = messages.len().saturating_sub(MESSAGES_MAX);
            let mut some: Vec<String> =
                messages.iter().take(MESSAGES_MAX).map(|words| bounded(words)).collect();
            some.extend((more > 0).then(|| format!("and {more} more")));
            Ok(Compatible::No(some))
        }
        // Where there is nothing yet, everything fits.
        Err(failure) if failure.cause == Cause::Unknown => Ok(Compatible::Yes),
        Err(failure) => Err(failure),
    }
}

fn body(schema: &SchemaText, versions: impl IntoIterator<Item = u32>) -> String {
    let references = schema.references.iter().zip(versions).map(|(reference, version)| Named {
        name: &reference.name,
        subject: &reference.subject,
        version,
    });
    let body = Body {
        schema: &schema.text,
        kind: (schema.kind != SchemaKind::Avro).then(|| schema.kind.name()),
        references: references.collect(),
    };
    serde_json::json!(body).to_string()
}

fn refused(failure: Failure, subject: &str, deed: &str) -> Failure {
    match failure.cause {
        // A subject need not be there to be registered under: so Karapace hides that we may not.
        Cause::Unknown if deed == REGISTER => {
            let says =
                format!("the schema registry does not let us register under subject `{subject}`: {failure}");
            Failure::new(Cause::Denied, says)
                .remedy("give the user of `registry` the right to write this subject")
        }
        Cause::Refused => {
            let says = format!(
                "the schema registry refuses to {deed} the schema under subject `{subject}`: {failure}"
            );
            Failure { says, ..failure }
        }
        _ => failure,
    }
}

impl Weighs for Place {
    fn text_bytes(&self) -> usize {
        weight(&self.schema)
    }
}

impl Weighs for Id {}
