//! What a schema registry is to the formats: schemas by id, ids by schema. Everything that was answered once is
//! remembered for ever, since ids never change their meaning.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;

/// A registry with the API of Confluent's: <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>.
///
/// Errors: `Transient` while it does not answer, answers with a 5xx or asks to slow down; `Fatal` where it refuses the
/// credentials; `BadRecord` where what was asked for does not exist or is refused, with the registry's own words.
#[async_trait]
pub trait Registry: fmt::Debug + Send + Sync {
    /// Where it is, without credentials. Two ends with the same address share their ids.
    fn address(&self) -> &str;

    /// The schema of an id. However many ask for an unknown one at the same time, one request is made.
    async fn schema(&self, id: SchemaId) -> Result<Arc<Registered>>;

    /// A version of a subject. What is the latest is asked again now and then, a number is not.
    async fn version(&self, subject: &str, version: Version) -> Result<Arc<Registered>>;

    /// The id of a schema under a subject, which is registered there, those it refers to first, if `how` allows it and
    /// it is not there yet.
    async fn id(&self, subject: &str, schema: &SchemaText, how: Registering) -> Result<u32>;

    /// Why the schema could not be the next version of the subject, in the registry's words; nothing when it could.
    async fn incompatibilities(&self, subject: &str, schema: &SchemaText) -> Result<Vec<String>>;
}

/// What a record says of its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaId {
    /// In front of the payload, in four bytes after a zero.
    Number(u32),
    /// In a header: the same in every registry.
    Guid([u8; 16]),
}

/// A version of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Whatever is the newest.
    Latest,
    /// Just this one, counted from 1.
    Number(u32),
}

/// How a schema gets its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Registering {
    /// Whether it may be registered, or has to be there.
    pub allowed: bool,
    /// Whether the registry brings it into a normal form first.
    pub normalize: bool,
}

/// A schema that a registry knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id there.
    pub id: u32,
    /// What it says.
    pub schema: SchemaText,
}

/// A schema as text, complete with those it refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SchemaText {
    /// The language it is written in.
    pub kind: SchemaKind,
    /// What it says.
    pub text: Arc<str>,
    /// The schemas it refers to.
    pub references: Vec<Reference>,
}

/// The languages of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemaKind {
    /// Avro, the default of the API.
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

/// A schema that another one refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// What the other one calls it: a full name in Avro, a URL in JSON Schema, a file in Protobuf.
    pub name: Arc<str>,
    /// The subject it is registered under.
    pub subject: Arc<str>,
    /// The version there.
    pub version: u32,
    /// What it says.
    pub schema: Arc<SchemaText>,
}

impl SchemaText {
    /// A schema that refers to no other.
    pub fn new(kind: SchemaKind, text: impl Into<Arc<str>>) -> Self {
        Self { kind, text: text.into(), references: Vec::new() }
    }

    /// Bytes of the text and of all that it refers to, each counted once.
    pub fn bytes(&self) -> usize {
        let mut met = HashSet::new();
        let (mut bytes, mut left) = (0, vec![self]);
        while let Some(schema) = left.pop() {
            bytes += schema.text.len();
            let others = schema.references.iter().map(|reference| &*reference.schema);
            left.extend(others.filter(|other| met.insert(std::ptr::from_ref(*other))));
        }
        bytes
    }
}

impl SchemaKind {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            SchemaKind::Avro => "AVRO",
            SchemaKind::Json => "JSON",
            SchemaKind::Protobuf => "PROTOBUF",
        }
    }
}

impl fmt::Display for SchemaId {
    /// `schema id 7`, `schema 6b0e6f6c-...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaId::Number(id) => write!(f, "schema id {id}"),
            SchemaId::Guid(guid) => {
                f.write_str("schema ")?;
                for (index, byte) in guid.iter().enumerate() {
                    let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_reads_as_people_write_it() {
        let guid: [u8; 16] = std::array::from_fn(|index| index as u8);
        assert_eq!(SchemaId::Guid(guid).to_string(), "schema 00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
