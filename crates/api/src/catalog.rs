//! The catalog: names to connectors, formats, transforms and offset stores. A plain value, filled in one place of the
//! binary; the engine and the pipeline file see a name and raw configuration, never a connector's own type.

mod configured;
mod kinds;
mod traits;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::configured::{Configured, OneRegistry};
use crate::problem::Problem;

pub use self::configured::{
    ConfiguredFormat, ConfiguredRegistry, ConfiguredSink, ConfiguredSource, ConfiguredStore,
    ConfiguredTransform,
};
pub use self::kinds::{
    FormatKind, OffsetStoreKind, RegistryKind, SinkConnector, SourceConnector, TopicResolver, TransformKind,
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
    pub sources: BTreeMap<&'static str, Entry<dyn ConfiguredSource>>,
    /// Sinks by name.
    pub sinks: BTreeMap<&'static str, Entry<dyn ConfiguredSink>>,
    /// Transforms by name.
    pub transforms: BTreeMap<&'static str, Entry<dyn ConfiguredTransform>>,
    /// Record formats by name.
    pub formats: BTreeMap<&'static str, Entry<dyn ConfiguredFormat>>,
    /// Offset stores by name.
    pub offset_stores: BTreeMap<&'static str, Entry<dyn ConfiguredStore>>,
    /// What `registry:` takes.
    pub registry: Option<Entry<dyn ConfiguredRegistry>>,
}

impl Catalog {
    /// Adds a source.
    #[must_use]
    pub fn source<C: SourceConnector>(mut self) -> Self {
        let configure = |raw| {
            let config: C::Config = read(raw)?;
            refuse(C::check(&config))?;
            Ok(Arc::new(Configured::<C, C::Config>::new(config)) as Arc<dyn ConfiguredSource>)
        };
        let entry = Entry { name: C::NAME, about: C::ABOUT, schema: schema_of::<C::Config>, configure };
        self.sources.insert(C::NAME, entry);
        self
    }

    /// Adds a sink.
    #[must_use]
    pub fn sink<C: SinkConnector>(mut self) -> Self {
        let configure = |raw| {
            let config: C::Config = read(raw)?;
            refuse(C::check(&config))?;
            Ok(Arc::new(Configured::<C, C::Config>::new(config)) as Arc<dyn ConfiguredSink>)
        };
        let entry = Entry { name: C::NAME, about: C::ABOUT, schema: schema_of::<C::Config>, configure };
        self.sinks.insert(C::NAME, entry);
        self
    }

    /// Adds a transform.
    #[must_use]
    pub fn transform<K: TransformKind>(mut self) -> Self {
        let configure = |raw| {
            let config: K::Config = read(raw)?;
            refuse(K::check(&config))?;
            Ok(Arc::new(Configured::<K, K::Config>::new(config)) as Arc<dyn ConfiguredTransform>)
        };
        let entry = Entry { name: K::NAME, about: K::ABOUT, schema: schema_of::<K::Config>, configure };
        self.transforms.insert(K::NAME, entry);
        self
    }

    /// Adds a record format.
    #[must_use]
    pub fn format<K: FormatKind>(mut self) -> Self {
        let configure = |raw| {
            let config: K::Config = read(raw)?;
            Ok(Arc::new(Configured::<K, K::Config>::new(config)) as Arc<dyn ConfiguredFormat>)
        };
        let entry = Entry { name: K::NAME, about: K::ABOUT, schema: schema_of::<K::Config>, configure };
        self.formats.insert(K::NAME, entry);
        self
    }

    /// Adds an offset store.
    #[must_use]
    pub fn offset_store<K: OffsetStoreKind>(mut self) -> Self {
        let configure = |raw| {
            let config: K::Config = read(raw)?;
            Ok(Arc::new(Configured::<K, K::Config>::new(config)) as Arc<dyn ConfiguredStore>)
        };
        let entry = Entry { name: K::NAME, about: K::ABOUT, schema: schema_of::<K::Config>, configure };
        self.offset_stores.insert(K::NAME, entry);
        self
    }

    /// Says what `registry:` takes.
    #[must_use]
    pub fn registry<K: RegistryKind>(mut self) -> Self {
        let configure = |raw| {
            let config: K::Config = read(raw)?;
            refuse(K::check(&config))?;
            Ok(Arc::new(OneRegistry::<K>::new(config)) as Arc<dyn ConfiguredRegistry>)
        };
        let (name, about) = ("registry", "A schema registry with the API of Confluent's.");
        self.registry = Some(Entry { name, about, schema: schema_of::<K::Config>, configure });
        self
    }
}

fn schema_of<C: JsonSchema>() -> Schema {
    schemars::schema_for!(C)
}

fn read<C: DeserializeOwned>(raw: Value) -> Result<C, Vec<Problem>> {
    serde_path_to_error::deserialize(raw).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        vec![Problem::new(path, error.into_inner().to_string())]
    })
}

fn refuse(problems: Vec<Problem>) -> Result<(), Vec<Problem>> {
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
