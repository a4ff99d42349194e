//! What looks like Kafka in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aqueduct_api::catalog::{Block, KeepsOffsets, SourceConnector, SourceContext, SourceTraits};
use aqueduct_api::config::{Duration, Template};
use aqueduct_api::{Error, Problem, Reads, Result, Source};
use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A cluster.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The brokers to ask first: `a:9092,b:9092` or a list.
    pub brokers: Brokers,
    /// Any property of librdkafka, for every client of this cluster.
    #[serde(default)]
    pub client: Properties,
}

impl Cluster {
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for broker in self.brokers.0.split(',') {
            let port = broker.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                let says = format!("`{broker}` is not a broker and its port");
                problems
                    .push(Problem::new("connection.brokers", says).remedy("write it as in localhost:9092"));
            }
        }
        if self.client.0.contains_key("bootstrap.servers") {
            let says = "`bootstrap.servers` is set by `brokers`";
            problems.push(Problem::new("connection.client.bootstrap.servers", says).remedy("write it there"));
        }
        problems
    }

    pub fn addresses(&self) -> BTreeSet<String> {
        self.brokers.0.split(',').map(str::to_owned).collect()
    }

    pub fn transactions(&self) -> Result<String, &'static str> {
        Ok(format!("kafka at {}", self.brokers.0))
    }
}

pub struct Brokers(String);

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            list => {
                let list: Vec<String> = serde_json::from_value(list).map_err(serde::de::Error::custom)?;
                Ok(Self(list.join(",")))
            }
        }
    }
}

impl JsonSchema for Brokers {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "brokers".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

#[derive(Default, Deserialize)]
pub struct Properties(BTreeMap<String, Value>);

impl JsonSchema for Properties {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "properties".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
    }
}

/// Reads topics as a member of a consumer group.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct KafkaSource {
    /// The cluster to read from.
    connection: Cluster,
    /// The topics: a list of names, or `{ pattern: "shop\\..*", except: [shop.scratch] }`.
    topics: Topics,
    /// The consumer group; the pipeline's name if it is not given.
    group: Option<String>,
    /// Where to start in a partition that the group has no offset for.
    #[serde(default)]
    start: Start,
    /// Whether records of transactions that are open or aborted are read.
    #[serde(default)]
    isolation: Isolation,
    /// After how long without a heartbeat the group gives this member's partitions to others.
    #[serde(default = "session_timeout")]
    session_timeout: Duration,
    /// Any property of librdkafka, for this consumer.
    #[serde(default)]
    client: Properties,
}

fn session_timeout() -> Duration {
    Duration::from_secs(45)
}

pub enum Topics {
    Named(Vec<String>),
    Matching(Pattern),
}

/// Topics by regular expression.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct Pattern {
    /// A regular expression that the whole name has to match.
    pattern: String,
    /// Names that are left out all the same.
    #[serde(default)]
    except: Vec<String>,
}

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let read = |error: serde_json::Error| serde::de::Error::custom(error.to_string());
        match value {
            Value::Array(_) => serde_json::from_value(value).map(Self::Named).map_err(read),
            _ => serde_json::from_value(value).map(Self::Matching).map_err(read),
        }
    }
}

impl JsonSchema for Topics {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "topics".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pattern = generator.subschema_for::<Pattern>();
        json_schema!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, pattern] })
    }
}

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
enum Start {
    /// At its oldest record.
    #[default]
    Earliest,
    /// At its end: what is there already is not read.
    Latest,
    /// Nowhere: it is an error.
    None,
    /// At the first record of that time or later.
    Timestamp(String),
}

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Isolation {
    #[default]
    ReadCommitted,
    ReadUncommitted,
}

/// Writes records to topics.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct KafkaSink {
    /// The cluster to write to.
    pub connection: Cluster,
    /// The topic of each record, as a template: `orders`, `{topic}`, `tenant.{header.tenant}`.
    pub topic: Template,
    /// How batches are compressed.
    #[serde(default)]
    compression: Compression,
}

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Compression {
    None,
    Gzip,
    #[default]
    Lz4,
    Zstd,
}

impl Block for KafkaSource {
    const NAME: &'static str = "kafka";
    const ABOUT: &'static str = "topics of a Kafka cluster";
}

#[async_trait]
impl SourceConnector for KafkaSource {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.connection.check();
        if let Topics::Named(names) = &self.topics {
            for (index, name) in names.iter().enumerate() {
                if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
                    let says = format!("`{name}` is not a topic name");
                    let remedy = "a name has 1 to 249 letters, digits, dots, dashes and underscores";
                    problems.push(Problem::new(format!("topics[{index}]"), says).remedy(remedy));
                }
            }
        }
        problems
    }
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            keeps_offsets: KeepsOffsets::Always,
            tasks_max: None,
            finite: false,
            typed: false,
            transactions: self.connection.transactions(),
        }
    }
    fn reads(&self, pipeline: &str) -> Option<Reads> {
        let (named, pattern) = match &self.topics {
            Topics::Named(names) => (names.clone(), None),
            Topics::Matching(pattern) => {
                let expression = regex::Regex::new(&format!("^(?:{})$", pattern.pattern)).ok()?;
                let except = pattern.except.clone();
                let takes =
                    move |name: &str| expression.is_match(name) && !except.iter().any(|it| it == name);
                (Vec::new(), Some(Arc::new(takes) as _))
            }
        };
        let group = Some(self.group.clone().unwrap_or_else(|| pipeline.to_owned()));
        Some(Reads {
            system: self.connection.addresses(),
            named,
            pattern,
            group,
            partitions: BTreeSet::new(),
        })
    }
    fn describe(&self, pipeline: &str) -> String {
        format!("kafka for {pipeline}")
    }
    async fn open(&self, _: SourceContext) -> Result<Box<dyn Source>> {
        Err(Error::config("only looks like a source"))
    }
}
