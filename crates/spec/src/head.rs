//! The keys of a pipeline file and of `aqueduct.yaml`: their types, their docs and their defaults. What hangs on a name
//! of the catalog stands here as any value and is looked up elsewhere.

// What has to be reported with its place is read from the tree; here it lends its type to the schema.
#![allow(dead_code)]

use aqueduct_api::config::{Duration, Secret, Size};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::pipeline::{Health, State};

/// One document of a pipeline file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// The pipeline's name, unique among all that run together.
    pub(crate) pipeline: String,
    /// What it is for, for people.
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// Where records come from: one connector, and how its bytes are read (`key`, `value`).
    source: Value,
    /// What happens to each record on its way, in this order.
    #[serde(default)]
    transforms: Vec<Value>,
    /// Where records go: one connector, and how its bytes are written (`key`, `value`).
    sink: Value,
    /// The schema registry of both ends, where neither has one of its own; left out, the one of aqueduct.yaml.
    #[serde(default)]
    registry: Option<Value>,
    /// What happens to records that will never pass.
    #[serde(default)]
    pub(crate) errors: ErrorsHead,
    /// What is promised about every record.
    #[serde(default)]
    pub(crate) delivery: DeliveryHead,
    /// How many copies of the pipeline share the source in this process.
    #[serde(default = "one_task")]
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) tasks: u16,
    /// How long a stop may take before what is unfinished is left for the next start.
    #[serde(default = "stop_timeout")]
    pub(crate) stop_timeout: Duration,
    /// Where offsets are kept for a source that has no place of its own; in memory by default.
    #[serde(default)]
    offset_store: Option<Value>,
    /// What `aqueduct dev` adds, and nothing else looks at.
    #[serde(default)]
    pub(crate) dev: Option<DevHead>,
}

/// `errors:`
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorsHead {
    /// What happens to a record that will never pass: stop the pipeline, skip it, or set it aside.
    #[serde(default)]
    pub(crate) on_bad_record: OnBadRecordHead,
    /// How many bad records are accepted in a time before the pipeline stops: `100 in 1m`.
    #[serde(default)]
    #[schemars(extend("format" = "stop_after"))]
    pub(crate) stop_after: Option<String>,
}

/// `errors.on_bad_record:`
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnBadRecordHead {
    /// The pipeline stops and names the record.
    #[default]
    Stop,
    /// The record is logged, counted and left behind.
    Skip,
    /// The record is written elsewhere before anything moves past it.
    DeadLetter(DeadLetterHead),
}

/// `errors.on_bad_record.dead_letter:`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLetterHead {
    /// A topic beside the source's own, or on `connection`.
    #[serde(default)]
    topic: Option<String>,
    /// The cluster of `topic`, if it is not the source's own: the name of a shared connection, or its options.
    #[serde(default)]
    connection: Option<Value>,
    /// A file, one record a line; `-` is standard output.
    #[serde(default)]
    file: Option<String>,
}

/// `delivery:`
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliveryHead {
    /// Nothing is lost; after a crash a record may come again.
    #[default]
    AtLeastOnce,
    /// Nothing comes twice either: the sink keeps the offsets in the transaction of the data, or recognises what a crash
    /// repeats. A pair of ends that cannot do that is refused.
    ExactlyOnce,
}

/// `dev:`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevHead {
    /// What is generated into the topics that the source names: a name such as `orders`, or the options of `generate`.
    generate: Value,
}

/// `aqueduct.yaml`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsHead {
    /// Connections by name; each is a map with one key, its kind: `main: { kafka: { brokers: ... } }`.
    #[serde(default)]
    connections: std::collections::BTreeMap<String, Value>,
    /// The schema registry of pipelines that name none.
    #[serde(default)]
    registry: Option<Value>,
    /// What holds for the whole process.
    #[serde(default)]
    pub(crate) runtime: RuntimeHead,
}

/// `runtime:`
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuntimeHead {
    /// Where health and metrics are served: `127.0.0.1:8080`. Nothing listens when it is left out.
    #[serde(default)]
    pub(crate) listen: Option<String>,
    /// Serves HTTPS there.
    #[serde(default)]
    pub(crate) tls: Option<ListenTlsHead>,
    /// What `/metrics` and `/readyz?verbose` are only shown for, sent as `Authorization: Bearer`: at least 16 characters.
    #[serde(default)]
    pub(crate) token: Option<Secret>,
    /// What all pipelines together may keep in memory; left out, 64MiB, or half of what the container may use if that
    /// is less.
    #[serde(default)]
    pub(crate) memory_max: Option<Size>,
    /// How log lines are written.
    #[serde(default)]
    pub(crate) log: LogHead,
    /// Which states of a pipeline fail `/livez` and `/readyz`.
    #[serde(default)]
    pub(crate) health: HealthHead,
}

/// `runtime.tls:`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenTlsHead {
    /// The certificate with its intermediate ones, a PEM file. Read again when it changes.
    pub(crate) certificate: std::path::PathBuf,
    /// Its private key, a PEM file without a password. Read again when it changes.
    pub(crate) key: std::path::PathBuf,
}

/// `runtime.health:`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthHead {
    /// States in which a pipeline fails `/livez`, so that the process is restarted; `[stalled]` by default.
    #[serde(default = "not_alive")]
    not_alive: Vec<State>,
    /// States in which a pipeline fails `/readyz`; all of them by default.
    #[serde(default = "not_ready")]
    not_ready: Vec<State>,
    /// A pipeline is stalled when for so long records are in flight and nothing is read, written or tried again, though
    /// no end says that it waits.
    #[serde(default = "stalled_after")]
    stalled_after: Duration,
}

impl Default for HealthHead {
    fn default() -> Self {
        Self { not_alive: not_alive(), not_ready: not_ready(), stalled_after: stalled_after() }
    }
}

impl From<HealthHead> for Health {
    fn from(head: HealthHead) -> Self {
        let HealthHead { not_alive, not_ready, stalled_after } = head;
        Self { not_alive, not_ready, stalled_after: stalled_after.0 }
    }
}

fn not_alive() -> Vec<State> {
    Health::default().not_alive
}

fn not_ready() -> Vec<State> {
    Health::default().not_ready
}

fn stalled_after() -> Duration {
    Duration(Health::default().stalled_after)
}

/// `runtime.log:`
#[derive(Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogHead {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

fn one_task() -> u16 {
    1
}

/// Below the 30 s after which Kubernetes kills a pod that is asked to stop.
fn stop_timeout() -> Duration {
    Duration::from_secs(25)
}
