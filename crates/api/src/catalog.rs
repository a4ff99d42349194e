//! The catalog: names to connectors, formats, transforms and offset stores. A plain value, filled in one place of the
//! binary; the engine and the pipeline file see a name and raw configuration, never a connector's own type.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::condition::Condition;
use crate::error::Result;
use crate::finding::Finding;
use crate::format::Format;
use crate::offsets::{OffsetStore, Offsets};
use crate::placement::Placement;
use crate::problem::Problem;
use crate::sink::Sink;
use crate::source::Source;
use crate::transform::Transform;

/// What a source is told when it is opened.
#[derive(Clone, Debug)]
pub struct SourceContext {
    /// The pipeline's name: consumer groups, slots and client ids default to it.
    pub pipeline: Arc<str>,
    /// Which of the tasks this is, from 0.
    pub task: usize,
    /// How many tasks share this source.
    pub tasks: usize,
    /// An offset store keeps the offsets of this source.
    pub has_store: bool,
    /// What the offset store has; empty for a source that keeps its own.
    pub resume: Offsets,
    /// No batch may have more records than this.
    pub batch_records_max: usize,
    /// No batch may have more bytes than this, unless a single record does.
    pub batch_bytes_max: usize,
    /// How long a revoked partition may be drained before it is given up anyway.
    pub drain_timeout: Duration,
    /// Where to say that it is waiting: for a broker, a table, a file.
    pub condition: Condition,
}

/// What a sink is told when it is opened.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// Which of the tasks this is, from 0.
    pub task: usize,
    /// Which of the lanes of this task, from 0.
    pub lane: usize,
    /// Where to say that it is waiting.
    pub condition: Condition,
}

/// What a probe is told.
#[derive(Clone, Debug)]
pub struct ProbeContext {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// How long a question may go without an answer.
    pub patience: Duration,
}

/// What the planner has to know of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTraits {
    /// Whether it stores released offsets itself.
    pub keeps_offsets: KeepsOffsets,
    /// How many tasks can share it; `None` for any number.
    pub tasks_max: Option<usize>,
    /// It ends by itself.
    pub finite: bool,
}

/// Who keeps the offsets of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepsOffsets {
    /// The source itself, as a consumer group does: no offset store is used.
    Always,
    /// The source itself, unless the pipeline names an offset store.
    UnlessStored,
    /// An offset store: the source has no place of its own.
    Never,
}

impl KeepsOffsets {
    /// Whether an offset store is used, when the pipeline names one or does not.
    pub fn needs_store(self, named: bool) -> bool {
        match self {
            KeepsOffsets::Always => false,
            KeepsOffsets::UnlessStored => named,
            KeepsOffsets::Never => true,
        }
    }
}

/// What the planner has to know of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTraits {
    /// How many writers one task opens; keys are shared out among them.
    pub lanes: usize,
    /// It takes no larger batches than this.
    pub batch_records_max: Option<usize>,
    /// What a record that is written twice looks like there.
    pub repeats: Repeats,
}

/// What happens to a record that a sink is given again after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// It stands there twice.
    Visible,
    /// The sink recognises it and keeps one; the text says how, for `aqueduct plan`.
    Absorbed(&'static str),
}

/// A kind of source. The connector's crate implements it, the binary lists it.
#[async_trait]
pub trait SourceConnector: Send + Sync + 'static {
    /// The name in the file: `kafka`.
    const NAME: &'static str;
    /// One sentence for the list of connectors.
    const ABOUT: &'static str;
    /// Its block in the file. Unknown fields are errors; each field has a one-line doc comment.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What parsing alone cannot see, without network or disk.
    fn check(config: &Self::Config) -> Vec<Problem>;

    /// What the planner has to know.
    fn traits(config: &Self::Config) -> SourceTraits;

    /// A few words for `aqueduct plan`: `kafka shop.orders, group orders-to-lake`.
    fn describe(config: &Self::Config, pipeline: &str) -> String;

    /// Opens it. Waits for a server that is away no longer than a connection takes; then `Transient`.
    async fn open(config: Arc<Self::Config>, context: SourceContext) -> Result<Box<dyn Source>>;

    /// Asks the real system whether this would work, for `aqueduct check --connect`; a line for each thing that was
    /// looked at. Changes nothing that stays.
    async fn probe(config: Arc<Self::Config>, context: ProbeContext) -> Vec<Finding> {
        let _ = (config, context);
        Vec::new()
    }

    /// Shows and moves what it has stored, when it keeps its offsets itself.
    async fn placement(config: Arc<Self::Config>, pipeline: Arc<str>) -> Result<Option<Box<dyn Placement>>> {
        let _ = (config, pipeline);
        Ok(None)
    }
}

/// A kind of sink.
#[async_trait]
pub trait SinkConnector: Send + Sync + 'static {
    /// The name in the file: `s3`.
    const NAME: &'static str;
    /// One sentence for the list of connectors.
    const ABOUT: &'static str;
    /// Its block in the file.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What parsing alone cannot see, without network or disk.
    fn check(config: &Self::Config) -> Vec<Problem>;

    /// What the planner has to know.
    fn traits(config: &Self::Config) -> SinkTraits;

    /// A few words for `aqueduct plan`.
    fn describe(config: &Self::Config) -> String;

    /// Opens it; called once per task and lane.
    async fn open(config: Arc<Self::Config>, context: SinkContext) -> Result<Box<dyn Sink>>;

    /// See [`SourceConnector::probe`].
    async fn probe(config: Arc<Self::Config>, context: ProbeContext) -> Vec<Finding> {
        let _ = (config, context);
        Vec::new()
    }
}

/// A kind of transform.
pub trait TransformKind: Send + Sync + 'static {
    /// The name in the file: `mask`.
    const NAME: &'static str;
    /// One sentence for the reference.
    const ABOUT: &'static str;
    /// Its block in the file.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What parsing alone cannot see.
    fn check(config: &Self::Config) -> Vec<Problem>;

    /// One for each task.
    fn build(config: &Self::Config) -> Result<Box<dyn Transform>>;
}

/// A kind of record format.
pub trait FormatKind: Send + Sync + 'static {
    /// The name in the file: `json`.
    const NAME: &'static str;
    /// One sentence for the reference.
    const ABOUT: &'static str;
    /// Its block in the file.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// The format itself.
    fn build(config: &Self::Config) -> Result<Box<dyn Format>>;
}

/// A kind of offset store.
#[async_trait]
pub trait OffsetStoreKind: Send + Sync + 'static {
    /// The name in the file: `file`.
    const NAME: &'static str;
    /// One sentence for the reference.
    const ABOUT: &'static str;
    /// Its block in the file.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// Opens it.
    async fn open(config: &Self::Config) -> Result<Arc<dyn OffsetStore>>;
}

/// A source whose configuration was read and checked.
#[async_trait]
pub trait ConfiguredSource: Send + Sync {
    /// See [`SourceConnector::traits`].
    fn traits(&self) -> SourceTraits;
    /// See [`SourceConnector::describe`].
    fn describe(&self, pipeline: &str) -> String;
    /// See [`SourceConnector::open`].
    async fn open(&self, context: SourceContext) -> Result<Box<dyn Source>>;
    /// See [`SourceConnector::probe`].
    async fn probe(&self, context: ProbeContext) -> Vec<Finding>;
    /// See [`SourceConnector::placement`].
    async fn placement(&self, pipeline: Arc<str>) -> Result<Option<Box<dyn Placement>>>;
}

/// A sink whose configuration was read and checked.
#[async_trait]
pub trait ConfiguredSink: Send + Sync {
    /// See [`SinkConnector::traits`].
    fn traits(&self) -> SinkTraits;
    /// See [`SinkConnector::describe`].
    fn describe(&self) -> String;
    /// See [`SinkConnector::open`].
    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>>;
    /// See [`SourceConnector::probe`].
    async fn probe(&self, context: ProbeContext) -> Vec<Finding>;
}

/// A transform whose configuration was read and checked.
pub trait ConfiguredTransform: Send + Sync {
    /// See [`TransformKind::build`].
    fn build(&self) -> Result<Box<dyn Transform>>;
}

/// A format whose configuration was read and checked.
pub trait ConfiguredFormat: Send + Sync {
    /// See [`FormatKind::build`].
    fn build(&self) -> Result<Box<dyn Format>>;
}

/// An offset store whose configuration was read and checked.
#[async_trait]
pub trait ConfiguredStore: Send + Sync {
    /// See [`OffsetStoreKind::open`].
    async fn open(&self) -> Result<Arc<dyn OffsetStore>>;
}

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
}

/// The kind, remembered by type, with its configuration.
struct Configured<K, C> {
    config: Arc<C>,
    kind: PhantomData<fn() -> K>,
}

impl<K, C> Configured<K, C> {
    fn new(config: C) -> Self {
        Self { config: Arc::new(config), kind: PhantomData }
    }
}

#[async_trait]
impl<K: SourceConnector> ConfiguredSource for Configured<K, K::Config> {
    fn traits(&self) -> SourceTraits {
        K::traits(&self.config)
    }
    fn describe(&self, pipeline: &str) -> String {
        K::describe(&self.config, pipeline)
    }
    async fn open(&self, context: SourceContext) -> Result<Box<dyn Source>> {
        K::open(Arc::clone(&self.config), context).await
    }
    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        K::probe(Arc::clone(&self.config), context).await
    }
    async fn placement(&self, pipeline: Arc<str>) -> Result<Option<Box<dyn Placement>>> {
        K::placement(Arc::clone(&self.config), pipeline).await
    }
}

#[async_trait]
impl<K: SinkConnector> ConfiguredSink for Configured<K, K::Config> {
    fn traits(&self) -> SinkTraits {
        K::traits(&self.config)
    }
    fn describe(&self) -> String {
        K::describe(&self.config)
    }
    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        K::open(Arc::clone(&self.config), context).await
    }
    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        K::probe(Arc::clone(&self.config), context).await
    }
}

impl<K: TransformKind> ConfiguredTransform for Configured<K, K::Config> {
    fn build(&self) -> Result<Box<dyn Transform>> {
        K::build(&self.config)
    }
}

impl<K: FormatKind> ConfiguredFormat for Configured<K, K::Config> {
    fn build(&self) -> Result<Box<dyn Format>> {
        K::build(&self.config)
    }
}

#[async_trait]
impl<K: OffsetStoreKind> ConfiguredStore for Configured<K, K::Config> {
    async fn open(&self) -> Result<Arc<dyn OffsetStore>> {
        K::open(&self.config).await
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
