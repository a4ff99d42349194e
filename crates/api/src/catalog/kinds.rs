//! The kinds of things that a connector's or a format's crate brings, each with the type of its block in the file.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{ProbeContext, SinkContext, SinkTraits, SourceContext, SourceTraits};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::flow::{Reads, System, Writes};
use crate::format::{Decoder, Encoder, FormatContext, FormatTraits, Rows, Side, Translator};
use crate::offset_admin::OffsetAdmin;
use crate::offsets::OffsetStore;
use crate::problem::Problem;
use crate::record::Record;
use crate::registry::Registry;
use crate::sink::Sink;
use crate::source::Source;
use crate::transform::Transform;

/// Finds the topic that a record will be written to; an error of kind `BadRecord` where it has none.
pub type TopicResolver = Box<dyn Fn(&Record) -> Result<Arc<str>> + Send + Sync>;

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

    /// What does not go together with values that stand in rows, or do not. Whoever is given its values one by one finds no
    /// first row that names their cells.
    fn check_rows(config: &Self::Config, rows: Option<&Rows>) -> Vec<Problem> {
        let _ = config;
        let says = format!("`{}` has no first line that names the fields", Self::NAME);
        let problem = Problem::new("", says).remedy("write `fields: [id: long, name, placed_at: timestamp]`");
        rows.filter(|rows| rows.first.is_some()).map(|_| problem).into_iter().collect()
    }

    /// What stands against a sink that names what it writes by offsets, where the offsets of a partition may go back.
    fn check_offsets(config: &Self::Config, rows: Option<&Rows>) -> Vec<Problem> {
        let _ = (config, rows);
        Vec::new()
    }

    /// What the planner has to know.
    fn traits(config: &Self::Config) -> SourceTraits;

    /// A few words for `aqueduct plan`: `kafka shop.orders, group orders-to-lake`.
    fn describe(config: &Self::Config, pipeline: &str) -> String;

    /// What it reads by name, where somebody else may write the same.
    fn reads(config: &Self::Config, pipeline: &str) -> Option<Reads> {
        let _ = (config, pipeline);
        None
    }

    /// What the system that it reads from calls itself, and its topics: an identity that does not hang on addresses. `None`
    /// where there is none.
    async fn system(config: Arc<Self::Config>, context: ProbeContext) -> Result<Option<System>> {
        let _ = (config, context);
        Ok(None)
    }

    /// Opens it. Waits for a server that is away no longer than a connection takes; then `Transient`.
    async fn open(config: Arc<Self::Config>, context: SourceContext) -> Result<Box<dyn Source>>;

    /// Asks the real system whether this would work, for `aqueduct check --connect`; a line for each thing that was
    /// looked at. Changes nothing that stays.
    async fn probe(config: Arc<Self::Config>, context: ProbeContext) -> Vec<Finding> {
        let _ = (config, context);
        Vec::new()
    }

    /// Shows and moves what it has stored, when it keeps its offsets itself.
    async fn offset_admin(
        config: Arc<Self::Config>,
        pipeline: Arc<str>,
    ) -> Result<Option<Box<dyn OffsetAdmin>>> {
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

    /// Whether it names what it writes by offsets, so that those of a partition have to grow.
    fn names_by_offsets() -> bool {
        false
    }

    /// How the topic of a record is found that this sink will write, where it is not that of the source: schemas are
    /// registered under its name.
    fn topic(config: &Self::Config) -> Option<TopicResolver> {
        let _ = config;
        None
    }

    /// What it writes by name, where somebody else may read the same.
    fn writes(config: &Self::Config) -> Option<Writes> {
        let _ = config;
        None
    }

    /// See [`SourceConnector::system`].
    async fn system(config: Arc<Self::Config>, context: ProbeContext) -> Result<Option<System>> {
        let _ = (config, context);
        Ok(None)
    }

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
#[async_trait]
pub trait FormatKind: Send + Sync + 'static {
    /// The name in the file: `json`.
    const NAME: &'static str;
    /// One sentence for the reference.
    const ABOUT: &'static str;
    /// Its block in the file.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What parsing alone cannot see, and options that have no meaning on this side.
    fn check(config: &Self::Config, side: Side) -> Vec<Problem> {
        let _ = (config, side);
        Vec::new()
    }

    /// What the planner has to know.
    fn traits(config: &Self::Config) -> FormatTraits {
        let _ = config;
        FormatTraits::default()
    }

    /// How its values stand in a text file, where each is not simply a line.
    fn rows(config: &Self::Config) -> Option<Rows> {
        let _ = config;
        None
    }

    /// A few words for `aqueduct plan`: `avro, subjects by record`.
    fn describe(config: &Self::Config, side: Side) -> String {
        let _ = (config, side);
        Self::NAME.to_owned()
    }

    /// Reads; one for each task and part.
    fn decoder(config: &Arc<Self::Config>, context: &FormatContext) -> Result<Box<dyn Decoder>>;

    /// Writes; one for each task and part.
    fn encoder(config: &Arc<Self::Config>, context: &FormatContext) -> Result<Box<dyn Encoder>>;

    /// Brings bytes of this format from another registry into the registry of `context`; for formats with a registry.
    fn translator(
        config: &Arc<Self::Config>,
        from: &Arc<dyn Registry>,
        context: &FormatContext,
    ) -> Result<Box<dyn Translator>> {
        let _ = (config, from, context);
        Err(Error::config(format!("`{}` has no registry", Self::NAME)))
    }

    /// Asks the registry whether this would work for records of these topics, for `aqueduct check --connect`.
    async fn probe(
        config: Arc<Self::Config>,
        side: Side,
        context: FormatContext,
        topics: Vec<Arc<str>>,
    ) -> Vec<Finding> {
        let _ = (config, side, context, topics);
        Vec::new()
    }
}

/// The kind of registry: there is one.
#[async_trait]
pub trait RegistryKind: Send + Sync + 'static {
    /// The block `registry:` of a file.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What parsing alone cannot see.
    fn check(config: &Self::Config) -> Vec<Problem>;

    /// Opens it, which asks it nothing yet.
    fn open(config: &Self::Config) -> Result<Arc<dyn Registry>>;

    /// See [`SourceConnector::probe`].
    async fn probe(config: Arc<Self::Config>, context: ProbeContext) -> Vec<Finding>;
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
