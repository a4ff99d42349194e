//! What a connector's or a format's crate brings: types that are read from their block in the file, and do what it says.
//! The engine and the planner hold them as `dyn SourceConnector` and so on.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::traits::{ProbeContext, SinkContext, SinkTraits, SourceContext, SourceTraits};
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

/// A block of the file: its configuration, under a name. Unknown fields are errors; each field has a one-line doc comment.
pub trait Block: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The name in the file: `kafka`.
    const NAME: &'static str;
    /// One sentence for the list of connectors and the reference.
    const ABOUT: &'static str;
}

/// A source, as its block configures it. The connector's crate implements it, the binary lists it.
#[async_trait]
pub trait SourceConnector: Send + Sync + 'static {
    /// What parsing alone cannot see, without network or disk.
    fn check(&self) -> Vec<Problem>;

    /// What does not go together with values that stand in rows, or do not. Whoever is given its values one by one finds no
    /// first row that names their cells.
    fn check_rows(&self, name: &str, rows: Option<&Rows>) -> Vec<Problem> {
        let says = format!("`{name}` has no first line that names the fields");
        let problem = Problem::new("", says).remedy("write `fields: [id: long, name, placed_at: timestamp]`");
        rows.filter(|rows| rows.first.is_some()).map(|_| problem).into_iter().collect()
    }

    /// What stands against a sink that names what it writes by offsets, where the offsets of a partition may go back.
    fn check_offsets(&self, rows: Option<&Rows>) -> Vec<Problem> {
        let _ = rows;
        Vec::new()
    }

    /// What the planner has to know.
    fn traits(&self) -> SourceTraits;

    /// A few words for `aqueduct plan`: `kafka shop.orders, group orders-to-lake`.
    fn describe(&self, pipeline: &str) -> String;

    /// What it reads by name, where somebody else may write the same.
    fn reads(&self, pipeline: &str) -> Option<Reads> {
        let _ = pipeline;
        None
    }

    /// What the system that it reads from calls itself, and its topics: an identity that does not hang on addresses. `None`
    /// where there is none.
    async fn system(&self, context: ProbeContext) -> Result<Option<System>> {
        let _ = context;
        Ok(None)
    }

    /// Opens it. Waits for a server that is away no longer than a connection takes; then `Transient`.
    async fn open(&self, context: SourceContext) -> Result<Box<dyn Source>>;

    /// Asks the real system whether this would work, for `aqueduct check --connect`; a line for each thing that was
    /// looked at. Changes nothing that stays.
    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        let _ = context;
        Vec::new()
    }

    /// Shows and moves what it has stored, when it keeps its offsets itself.
    async fn offset_admin(&self, pipeline: Arc<str>) -> Result<Option<Box<dyn OffsetAdmin>>> {
        let _ = pipeline;
        Ok(None)
    }
}

/// A sink, as its block configures it.
#[async_trait]
pub trait SinkConnector: Send + Sync + 'static {
    /// What parsing alone cannot see, without network or disk.
    fn check(&self) -> Vec<Problem>;

    /// What the planner has to know.
    fn traits(&self) -> SinkTraits;

    /// A few words for `aqueduct plan`.
    fn describe(&self) -> String;

    /// Whether it names what it writes by offsets, so that those of a partition have to grow.
    fn names_by_offsets(&self) -> bool {
        false
    }

    /// How the topic of a record is found that this sink will write, where it is not that of the source: schemas are
    /// registered under its name.
    fn topic(&self) -> Option<TopicResolver> {
        None
    }

    /// What it writes by name, where somebody else may read the same.
    fn writes(&self) -> Option<Writes> {
        None
    }

    /// See [`SourceConnector::system`].
    async fn system(&self, context: ProbeContext) -> Result<Option<System>> {
        let _ = context;
        Ok(None)
    }

    /// Opens it; called once per task and lane.
    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>>;

    /// See [`SourceConnector::probe`].
    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        let _ = context;
        Vec::new()
    }
}

/// A transform, as its block configures it.
pub trait TransformKind: Send + Sync + 'static {
    /// What parsing alone cannot see.
    fn check(&self) -> Vec<Problem>;

    /// One for each task.
    fn build(&self) -> Result<Box<dyn Transform>>;
}

/// A record format, as its block configures it.
#[async_trait]
pub trait FormatKind: Send + Sync + 'static {
    /// What parsing alone cannot see, and options that have no meaning on this side.
    fn check(&self, side: Side) -> Vec<Problem> {
        let _ = side;
        Vec::new()
    }

    /// What the planner has to know.
    fn traits(&self) -> FormatTraits {
        FormatTraits::default()
    }

    /// How its values stand in a text file, where each is not simply a line.
    fn rows(&self) -> Option<Rows> {
        None
    }

    /// A few words for `aqueduct plan`: `avro, subjects by record`.
    fn describe(&self, side: Side) -> String;

    /// Reads; one for each task and part.
    fn decoder(&self, context: &FormatContext) -> Result<Box<dyn Decoder>>;

    /// Writes; one for each task and part.
    fn encoder(&self, context: &FormatContext) -> Result<Box<dyn Encoder>>;

    /// Brings bytes of this format from another registry into the registry of `context`; for formats with a registry.
    fn translator(&self, from: &Arc<dyn Registry>, context: &FormatContext) -> Result<Box<dyn Translator>> {
        let _ = (from, context);
        Err(Error::config("this format has no registry"))
    }

    /// Asks the registry whether this would work for records of these topics, for `aqueduct check --connect`.
    async fn probe(&self, side: Side, context: FormatContext, topics: Vec<Arc<str>>) -> Vec<Finding> {
        let _ = (side, context, topics);
        Vec::new()
    }
}

/// A schema registry, as the block `registry:` configures it.
#[async_trait]
pub trait RegistryKind: Send + Sync + 'static {
    /// What parsing alone cannot see.
    fn check(&self) -> Vec<Problem>;

    /// Opens it, which asks it nothing yet. A pipeline gets the same one at each call: what it has cached outlives a restart.
    fn open(&self) -> Result<Arc<dyn Registry>>;

    /// See [`SourceConnector::probe`].
    async fn probe(&self, context: ProbeContext) -> Vec<Finding>;
}

/// An offset store, as its block configures it.
#[async_trait]
pub trait OffsetStoreKind: Send + Sync + 'static {
    /// Opens it.
    async fn open(&self) -> Result<Arc<dyn OffsetStore>>;
}
