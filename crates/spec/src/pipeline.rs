//! What a pipeline file says, once it is read and found sound: nothing is opened yet.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use aqueduct_api::catalog::{
    FormatKind, OffsetStoreKind, RegistryKind, SinkConnector, SourceConnector, TransformKind,
};
use aqueduct_api::config::Secret;

/// One pipeline of one file.
#[derive(Clone)]
pub struct Pipeline {
    /// Unique among all that run in a process.
    pub name: Arc<str>,
    /// For people.
    pub description: Option<String>,
    /// The file it stands in.
    pub file: PathBuf,
    /// The source and how its bytes are to be read.
    pub source: SourceBlock,
    /// In file order.
    pub transforms: Vec<Named<dyn TransformKind>>,
    /// The sink and how its bytes are to be written.
    pub sink: SinkBlock,
    /// What happens to records that will never pass.
    pub errors: Errors,
    /// What is promised.
    pub delivery: Delivery,
    /// How many copies of the engine share the source.
    pub tasks: usize,
    /// How long a stop may take.
    pub stop_timeout: Duration,
    /// Where offsets are kept when the source has no place of its own; memory when it is not named.
    pub offset_store: Option<Named<dyn OffsetStoreKind>>,
    /// `dev:` as it was written; only `aqueduct dev` looks at it.
    pub dev: Option<serde_json::Value>,
    /// The source's block as its connector was given it. May hold secrets: never print it.
    pub source_raw: serde_json::Value,
    /// The sink's block as its connector was given it. May hold secrets: never print it.
    pub sink_raw: serde_json::Value,
}

/// A block with its name and its checked configuration.
pub struct Named<T: ?Sized> {
    /// The name in the file: `kafka`.
    pub kind: &'static str,
    /// What the catalog made of it.
    pub configured: Arc<T>,
}

impl<T: ?Sized> Clone for Named<T> {
    fn clone(&self) -> Self {
        Self { kind: self.kind, configured: Arc::clone(&self.configured) }
    }
}

/// The source and its formats.
#[derive(Clone)]
pub struct SourceBlock {
    /// The connector.
    pub connector: Named<dyn SourceConnector>,
    /// How its bytes are to be read.
    pub formats: Formats,
}

/// The sink and its formats.
#[derive(Clone)]
pub struct SinkBlock {
    /// The connector.
    pub connector: Named<dyn SinkConnector>,
    /// How its bytes are to be written.
    pub formats: Formats,
}

/// The formats of one end. What is not named passes as bytes.
#[derive(Clone, Default)]
pub struct Formats {
    /// Of keys.
    pub key: Option<Named<dyn FormatKind>>,
    /// Of values.
    pub value: Option<Named<dyn FormatKind>>,
    /// Of the value of each header.
    pub headers: Option<Named<dyn FormatKind>>,
    /// Where their schemas are.
    pub registry: Option<Arc<dyn RegistryKind>>,
}

/// `errors:`
#[derive(Clone)]
pub struct Errors {
    /// What happens to one.
    pub on_bad_record: OnBadRecord,
    /// How many are accepted in a window before the pipeline stops.
    pub stop_after: Option<StopAfter>,
}

/// `errors.on_bad_record`
#[derive(Clone)]
pub enum OnBadRecord {
    /// The pipeline stops with the record's coordinates.
    Stop,
    /// It is logged, counted and left behind.
    Skip,
    /// It is written elsewhere, durably, before its batch is acknowledged.
    DeadLetter(DeadLetter),
}

/// Where dead letters go: a sink like any other.
#[derive(Clone)]
pub struct DeadLetter {
    /// The sink that takes them.
    pub sink: Named<dyn SinkConnector>,
}

/// `errors.stop_after: "100 in 1m"`: at most `records` within `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopAfter {
    /// This many are accepted; one more stops the pipeline.
    pub records: u64,
    /// Within this time.
    pub window: Duration,
}

impl FromStr for StopAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (records, window) = text.split_once(" in ").unwrap_or_default();
        let records = records.trim().replace('_', "").parse();
        match (records, window.trim().parse::<aqueduct_api::config::Duration>()) {
            (Ok(records), Ok(window)) if !window.0.is_zero() => Ok(Self { records, window: window.0 }),
            _ => Err(format!(
                "`{text}` is not a number of records in a time; write it as in \"100 in 1m\": more than 100 bad \
                 records within a minute stop the pipeline"
            )),
        }
    }
}

/// `delivery:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing is lost; after a crash a record may come again.
    #[default]
    AtLeastOnce,
    /// Nothing is lost and nothing comes twice.
    ExactlyOnce {
        /// The sink commits data and offsets together; else it recognises what a crash repeats.
        transactional: bool,
    },
    /// Under `dev` alone: at least once, where the file asks for exactly once and gets it from real brokers.
    Rehearsed,
}

impl Delivery {
    /// Whether the sink keeps the offsets.
    pub fn is_transactional(self) -> bool {
        self == Delivery::ExactlyOnce { transactional: true }
    }
}

/// `runtime:` of `aqueduct.yaml`.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    /// Address of the HTTP listener for health and metrics; none when it is off.
    pub listen: Option<String>,
    /// Certificate and key of the listener, PEM files; plain HTTP without.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The bearer token for what says more than yes or no.
    pub token: Option<Secret>,
    /// What all pipelines together may keep in memory, in bytes, where the file says it.
    pub memory_max_bytes: Option<u64>,
    /// Logs as JSON, one object a line, instead of text.
    pub log_json: bool,
    /// What fails the questions after health.
    pub health: Health,
}

/// `runtime.health:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// A pipeline in one of these states fails `/livez`.
    pub not_alive: Vec<State>,
    /// A pipeline in one of these states fails `/readyz`.
    pub not_ready: Vec<State>,
    /// From when on it counts as stalled.
    pub stalled_after: Duration,
}

/// The states of a pipeline that somebody may worry about, under the names that `/readyz` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its ends are being opened.
    Starting,
    /// An end waits for something: a broker, a topic, free space.
    Waiting,
    /// It failed and will be started again.
    Restarting,
    /// It failed and stays down.
    Failed,
    /// Records are in flight and nothing moves, though nothing is waited for.
    Stalled,
}

impl Default for Health {
    /// A restart helps against a stall and against nothing else; traffic helps against none of them.
    fn default() -> Self {
        use State::{Failed, Restarting, Stalled, Starting, Waiting};
        Self {
            not_alive: vec![Stalled],
            not_ready: vec![Starting, Waiting, Restarting, Failed, Stalled],
            stalled_after: Duration::from_secs(300),
        }
    }
}
