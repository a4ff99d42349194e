//! A registry in memory, with switches for what a real one does seldom.

#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use aqueduct_api::registry::{Registering, SchemaKind, Version};
use aqueduct_api::{
    Error, FormatContext, Headers, Part, Piece, Registered, Registry, Result, SchemaId, SchemaText,
};
use async_trait::async_trait;
use bytes::Bytes;

#[derive(Debug, Default)]
pub struct Memory {
    pub name: String,
    pub away: AtomicBool,
    pub asked: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    schemas: Vec<SchemaText>,
    subjects: BTreeMap<String, Vec<u32>>,
    refuses: HashMap<String, String>,
}

impl Memory {
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), ..Self::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Puts a schema under a subject and gives its id.
    pub fn put(&self, subject: &str, kind: SchemaKind, text: &str) -> u32 {
        self.state().put(subject, &SchemaText::new(kind, text))
    }

    /// From now on nothing new is taken under this subject, for these reasons.
    pub fn refuse(&self, subject: &str, words: &str) {
        self.state().refuses.insert(subject.into(), words.into());
    }

    pub fn subjects(&self) -> Vec<String> {
        self.state().subjects.keys().cloned().collect()
    }

    fn ask(&self) -> Result<()> {
        self.asked.fetch_add(1, Relaxed);
        match self.away.load(Relaxed) {
            true => Err(Error::transient("the registry is away")),
            false => Ok(()),
        }
    }
}

impl State {
    fn put(&mut self, subject: &str, schema: &SchemaText) -> u32 {
        let id = match self.schemas.iter().position(|known| known == schema) {
            Some(at) => at as u32 + 1,
            None => {
                self.schemas.push(schema.clone());
                self.schemas.len() as u32
            }
        };
        let versions = self.subjects.entry(subject.into()).or_default();
        if !versions.contains(&id) {
            versions.push(id);
        }
        id
    }

    fn registered(&self, id: u32) -> Result<Arc<Registered>> {
        let schema = (id as usize).checked_sub(1).and_then(|at| self.schemas.get(at));
        let schema = schema.ok_or_else(|| Error::bad_record(format!("schema id {id} is not there")))?;
        Ok(Arc::new(Registered { id, schema: schema.clone() }))
    }
}

#[async_trait]
impl Registry for Memory {
    fn address(&self) -> &str {
        &self.name
    }

    async fn schema(&self, id: SchemaId) -> Result<Arc<Registered>> {
        self.ask()?;
        match id {
            SchemaId::Number(id) => self.state().registered(id),
            // The first byte of a GUID is its number here.
            SchemaId::Guid(guid) => self.state().registered(guid[0].into()),
        }
    }

    async fn version(&self, subject: &str, version: Version) -> Result<Arc<Registered>> {
        self.ask()?;
        let state = self.state();
        let versions = state.subjects.get(subject);
        let id = match version {
            Version::Latest => versions.and_then(|ids| ids.last()),
            Version::Number(number) => versions.and_then(|ids| ids.get(number as usize - 1)),
        };
        let id = *id.ok_or_else(|| Error::bad_record(format!("subject {subject} is not there")))?;
        state.registered(id)
    }

    async fn id(&self, subject: &str, schema: &SchemaText, how: Registering) -> Result<u32> {
        self.ask()?;
        let mut state = self.state();
        let at = state.schemas.iter().position(|known| known == schema).map(|at| at as u32 + 1);
        let there = at.filter(|id| state.subjects.get(subject).is_some_and(|ids| ids.contains(id)));
        if let Some(id) = there {
            return Ok(id);
        }
        if let Some(words) = state.refuses.get(subject) {
            return Err(Error::bad_record(format!("the registry refuses the schema: {words}")));
        }
        match how.allowed {
            true => Ok(state.put(subject, schema)),
            false => Err(Error::bad_record(format!("subject {subject} does not have this schema"))),
        }
    }

    async fn incompatibilities(&self, subject: &str, _: &SchemaText) -> Result<Vec<String>> {
        self.ask()?;
        Ok(self.state().refuses.get(subject).cloned().into_iter().collect())
    }
}

/// What a format of values is told.
pub fn context(registry: &Arc<Memory>) -> FormatContext {
    let registry: Arc<dyn Registry> = Arc::clone(registry) as _;
    FormatContext { pipeline: "p".into(), part: Part::Value, registry: Some(registry) }
}

/// A value of a record, with what stands beside it.
pub struct Held {
    pub topic: Arc<str>,
    pub headers: Headers,
    pub bytes: Bytes,
}

impl Held {
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { topic: "in".into(), headers: Headers::default(), bytes: bytes.into() }
    }

    pub fn piece(&self) -> Piece<'_> {
        Piece { topic: &self.topic, headers: &self.headers, bytes: &self.bytes }
    }
}

/// A payload behind the id of its schema.
pub fn framed(id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
