//! The catalog: names to connectors, formats, transforms and offset stores. A plain value, filled in one place of the
//! binary; the engine and the pipeline file see a name and raw configuration, never a connector's own type.

mod kinds;
mod traits;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use schemars::Schema;
use serde_json::Value;

use crate::error::Result;
use crate::finding::Finding;
use crate::problem::Problem;
use crate::registry::Registry;

pub use self::kinds::{
    Block, FormatKind, OffsetStoreKind, RegistryKind, SinkConnector, SourceConnector, TopicResolver,
    TransformKind,
};
pub use self::traits::{
    Duplicates, KeepsOffsets, ProbeContext, SinkContext, SinkTraits, SourceContext, SourceTraits,
};

/// What the catalog knows of one name: how to describe its block, and how to read it.
pub struct Entry<T: ?Sized> {
    /// The name in the file.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    schema: fn() -> Schema,
    configure: fn(Value) -> Result<Arc<T>, Vec<Problem>>,
}

impl<T: ?Sized> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { name: self.name, about: self.about, schema: self.schema, configure: self.configure }
    }
}

impl<T: ?Sized> Entry<T> {
    fn of<C: Block>(configure: fn(Value) -> Result<Arc<T>, Vec<Problem>>) -> Self {
        Self { name: C::NAME, about: C::ABOUT, schema: || schemars::schema_for!(C), configure }
    }

    /// The JSON Schema of its block, with the doc comments of its fields.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// Reads and checks its block; an omitted block is an empty map.
    pub fn configure(&self, raw: Value) -> Result<Arc<T>, Vec<Problem>> {
        (self.configure)(if raw.is_null() { Value::Object(Default::default()) } else { raw })
    }
}

/// Every name that a pipeline file may use. Tests make their own.
#[derive(Clone, Default)]
pub struct Catalog {
    /// Sources by name.
    pub sources: BTreeMap<&'static str, Entry<dyn SourceConnector>>,
    /// Sinks by name.
    pub sinks: BTreeMap<&'static str, Entry<dyn SinkConnector>>,
    /// Transforms by name.
    pub transforms: BTreeMap<&'static str, Entry<dyn TransformKind>>,
    /// Record formats by name.
    pub formats: BTreeMap<&'static str, Entry<dyn FormatKind>>,
    /// Offset stores by name.
    pub offset_stores: BTreeMap<&'static str, Entry<dyn OffsetStoreKind>>,
    /// What `registry:` takes.
    pub registry: Option<Entry<dyn RegistryKind>>,
}

impl Catalog {
    /// Adds a source.
    #[must_use]
    pub fn source<C: Block + SourceConnector>(mut self) -> Self {
        self.sources.insert(C::NAME, Entry::of::<C>(|raw| Ok(read(raw, C::check)?)));
        self
    }

    /// Adds a sink.
    #[must_use]
    pub fn sink<C: Block + SinkConnector>(mut self) -> Self {
        self.sinks.insert(C::NAME, Entry::of::<C>(|raw| Ok(read(raw, C::check)?)));
        self
    }

    /// Adds a transform.
    #[must_use]
    pub fn transform<C: Block + TransformKind>(mut self) -> Self {
        self.transforms.insert(C::NAME, Entry::of::<C>(|raw| Ok(read(raw, C::check)?)));
        self
    }

    /// Adds a record format, which is checked later: when it is known on which side it stands.
    #[must_use]
    pub fn format<C: Block + FormatKind>(mut self) -> Self {
        self.formats.insert(C::NAME, Entry::of::<C>(|raw| Ok(read(raw, |_: &C| Vec::new())?)));
        self
    }

    /// Adds an offset store.
    #[must_use]
    pub fn offset_store<C: Block + OffsetStoreKind>(mut self) -> Self {
        self.offset_stores.insert(C::NAME, Entry::of::<C>(|raw| Ok(read(raw, |_: &C| Vec::new())?)));
        self
    }

    /// Says what `registry:` takes.
    #[must_use]
    pub fn registry<C: Block + RegistryKind>(mut self) -> Self {
        self.registry = Some(Entry::of::<C>(|raw| {
            let config = read(raw, C::check)?;
            Ok(Arc::new(OpenedOnce { config, opened: OnceLock::new() }))
        }));
        self
    }
}

/// Keeps the registry that was opened, for all that ask for it.
struct OpenedOnce<C> {
    config: Arc<C>,
    opened: OnceLock<Arc<dyn Registry>>,
}

#[async_trait]
impl<C: RegistryKind> RegistryKind for OpenedOnce<C> {
    fn check(&self) -> Vec<Problem> {
        self.config.check()
    }

    fn open(&self) -> Result<Arc<dyn Registry>> {
        if let Some(opened) = self.opened.get() {
            return Ok(Arc::clone(opened));
        }
        let opened = self.config.open()?;
        Ok(Arc::clone(self.opened.get_or_init(|| opened)))
    }

    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        self.config.probe(context).await
    }
}

/// Reads a block, and refuses it where it has a problem.
fn read<C: Block>(raw: Value, check: fn(&C) -> Vec<Problem>) -> Result<Arc<C>, Vec<Problem>> {
    let config: C = serde_path_to_error::deserialize(raw).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        vec![Problem::new(path, error.into_inner().to_string())]
    })?;
    let problems = check(&config);
    if problems.is_empty() { Ok(Arc::new(config)) } else { Err(problems) }
}
