//! A catalog whose ends look like the real ones in a file and do nothing.

#![allow(unreachable_pub)]

use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_api::catalog::{
    FormatKind, OffsetStoreKind, Repeats, SinkConnector, SinkContext, SinkTraits, SourceConnector,
    SourceContext, SourceTraits, TransformKind,
};
use aqueduct_api::config::{Duration, Secret, Size, Template};
use aqueduct_api::{Catalog, Error, Format, OffsetStore, Problem, Result, Sink, Source, Transform};
use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub fn catalog() -> Catalog {
    Catalog::default()
        .source::<Kafka>()
        .sink::<Kafka>()
        .source::<File>()
        .sink::<File>()
        .source::<Generate>()
        .sink::<S3>()
        .sink::<Directory>()
        .sink::<Discard>()
        .transform::<Pass>()
        .format::<Bytes>()
        .format::<Text>()
        .format::<Json>()
        .offset_store::<Memory>()
        .offset_store::<Files>()
}

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
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for broker in self.brokers.0.split(',') {
            if !broker
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
            {
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
}

pub struct Brokers(String);

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            list => Ok(Self(
                list.as_array()
                    .unwrap()
                    .iter()
                    .map(|b| b.as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(","),
            )),
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
    Matching(#[allow(dead_code)] Pattern),
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

#[derive(Default, Deserialize, JsonSchema)]
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

#[derive(Default, Deserialize, JsonSchema)]
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
    connection: Cluster,
    /// The topic of each record, as a template: `orders`, `{topic}`, `tenant.{header.tenant}`.
    topic: Template,
    /// How batches are compressed.
    #[serde(default)]
    compression: Compression,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Compression {
    None,
    Gzip,
    #[default]
    Lz4,
    Zstd,
}

pub struct Kafka;

#[async_trait]
impl SourceConnector for Kafka {
    const NAME: &'static str = "kafka";
    const ABOUT: &'static str = "topics of a Kafka cluster";
    type Config = KafkaSource;
    fn check(config: &KafkaSource) -> Vec<Problem> {
        let mut problems = config.connection.check();
        if let Topics::Named(names) = &config.topics {
            for (index, name) in names.iter().enumerate() {
                if name.is_empty()
                    || !name
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                {
                    let says = format!("`{name}` is not a topic name");
                    let remedy = "a name has 1 to 249 letters, digits, dots, dashes and underscores";
                    problems.push(Problem::new(format!("topics[{index}]"), says).remedy(remedy));
                }
            }
        }
        problems
    }
    fn traits(_: &KafkaSource) -> SourceTraits {
        SourceTraits {
            keeps_offsets: true,
            tasks_max: None,
            finite: false,
        }
    }
    fn describe(_: &KafkaSource, pipeline: &str) -> String {
        format!("kafka for {pipeline}")
    }
    async fn open(_: Arc<KafkaSource>, _: SourceContext) -> Result<Box<dyn Source>> {
        Err(Error::config("only looks like a source"))
    }
}

/// A sink that is never opened.
macro_rules! sink {
    ($kind:ident, $name:literal, $about:literal, $config:ty, $check:expr) => {
        #[async_trait]
        impl SinkConnector for $kind {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about;
            type Config = $config;
            fn check(config: &$config) -> Vec<Problem> {
                let check: fn(&$config) -> Vec<Problem> = $check;
                check(config)
            }
            fn traits(_: &$config) -> SinkTraits {
                SinkTraits {
                    lanes: 1,
                    batch_records_max: None,
                    repeats: Repeats::Visible,
                }
            }
            fn describe(_: &$config) -> String {
                $name.into()
            }
            async fn open(_: Arc<$config>, _: SinkContext) -> Result<Box<dyn Sink>> {
                Err(Error::config("only looks like a sink"))
            }
        }
    };
}

sink!(Kafka, "kafka", "topics of a Kafka cluster", KafkaSink, |config| {
    config.connection.check()
});

/// A bucket.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct Bucket {
    /// The bucket's name.
    bucket: String,
    /// The region it is in; by the environment if it is not given.
    region: Option<String>,
    /// Another server that speaks S3: `http://127.0.0.1:9000`.
    endpoint: Option<String>,
    /// The bucket stands in the path and not in the host name.
    #[serde(default)]
    path_style: bool,
    /// Access key; by the SDK's own chain if it is not given.
    access_key: Option<Secret>,
    /// Secret key.
    secret_key: Option<Secret>,
}

/// Objects in a bucket.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct S3Config {
    /// The bucket.
    connection: Bucket,
    /// The name of each object, filled from its first record.
    path: Template,
    /// What stands in an object.
    #[serde(default)]
    format: Lines,
    /// When an object is finished and the next one begins.
    #[serde(default)]
    rotate: Rotate,
    /// Storage class of new objects.
    storage_class: Option<String>,
}

/// Files in a folder.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct DirectoryConfig {
    /// The folder; it is made if it does not exist.
    folder: String,
    /// The name of each file, filled from its first record.
    path: Template,
    /// What stands in a file.
    #[serde(default)]
    format: Lines,
    /// When a file is finished and the next one begins.
    #[serde(default)]
    rotate: Rotate,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
enum Lines {
    /// The bytes of the value, one record a line.
    Lines(LinesOptions),
    /// The value as JSON, one record a line.
    JsonLines(LinesOptions),
}

impl Default for Lines {
    fn default() -> Self {
        Self::Lines(LinesOptions::default())
    }
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct LinesOptions {
    /// How the whole is compressed.
    #[serde(default)]
    compression: FileCompression,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FileCompression {
    #[default]
    None,
    Gzip,
    Zstd,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Rotate {
    /// At most so many records.
    #[schemars(range(min = 1))]
    records_max: Option<u64>,
    /// About so many bytes.
    bytes_max: Option<Size>,
    /// At most so long after its first record.
    age_max: Option<Duration>,
}

fn unique_names(path: &Template) -> Vec<Problem> {
    if path.as_str().contains("{start_offset}") {
        return Vec::new();
    }
    let says = "without {start_offset} two objects would have one name";
    vec![Problem::new("path", says).remedy("end it as in \"{topic}/{partition}-{start_offset}\"")]
}

pub struct S3;
sink!(S3, "s3", "objects in a bucket", S3Config, |config| unique_names(
    &config.path
));

pub struct Directory;
sink!(
    Directory,
    "directory",
    "files in a folder",
    DirectoryConfig,
    |config| unique_names(&config.path)
);

/// Nothing to say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

pub struct Discard;
sink!(Discard, "discard", "nowhere", Nothing, |_| Vec::new());

/// A file of records.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct FileConfig {
    /// The file; `-` is standard input or output.
    path: String,
}

pub struct File;
sink!(File, "file", "a file, one record a line", FileConfig, |_| {
    Vec::new()
});

/// A source that is never opened.
macro_rules! source {
    ($kind:ident, $name:literal, $about:literal, $config:ty) => {
        #[async_trait]
        impl SourceConnector for $kind {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about;
            type Config = $config;
            fn check(_: &$config) -> Vec<Problem> {
                Vec::new()
            }
            fn traits(_: &$config) -> SourceTraits {
                SourceTraits {
                    keeps_offsets: false,
                    tasks_max: Some(1),
                    finite: true,
                }
            }
            fn describe(_: &$config, _: &str) -> String {
                $name.into()
            }
            async fn open(_: Arc<$config>, _: SourceContext) -> Result<Box<dyn Source>> {
                Err(Error::config("only looks like a source"))
            }
        }
    };
}

source!(File, "file", "a file, one record a line", FileConfig);

/// Records that are made up.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct GenerateConfig {
    /// What is made up.
    #[serde(default)]
    kind: GenerateKind,
    /// The topic of the records.
    topic: Option<String>,
    /// The same seed makes the same records.
    #[serde(default)]
    seed: u64,
    /// Records a second.
    rate: Option<u64>,
    /// The source ends after so many records.
    count: Option<u64>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum GenerateKind {
    /// Orders of a web shop.
    #[default]
    Orders,
}

pub struct Generate;
source!(Generate, "generate", "records that are made up", GenerateConfig);

pub struct Pass;

impl TransformKind for Pass {
    const NAME: &'static str = "pass";
    const ABOUT: &'static str = "changes nothing";
    type Config = Nothing;
    fn check(_: &Nothing) -> Vec<Problem> {
        Vec::new()
    }
    fn build(_: &Nothing) -> Result<Box<dyn Transform>> {
        Err(Error::config("only looks like a transform"))
    }
}

/// A format that is never used.
macro_rules! record_format {
    ($kind:ident, $name:literal) => {
        pub struct $kind;
        impl FormatKind for $kind {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = "a format";
            type Config = Nothing;
            fn build(_: &Nothing) -> Result<Box<dyn Format>> {
                Err(Error::config("only looks like a format"))
            }
        }
    };
}

record_format!(Bytes, "bytes");
record_format!(Text, "string");
record_format!(Json, "json");

pub struct Memory;

#[async_trait]
impl OffsetStoreKind for Memory {
    const NAME: &'static str = "memory";
    const ABOUT: &'static str = "in memory";
    type Config = Nothing;
    async fn open(_: &Nothing) -> Result<Arc<dyn OffsetStore>> {
        Err(Error::config("only looks like a store"))
    }
}

pub struct Files;

#[async_trait]
impl OffsetStoreKind for Files {
    const NAME: &'static str = "file";
    const ABOUT: &'static str = "one file a pipeline";
    type Config = FileConfig;
    async fn open(_: &FileConfig) -> Result<Arc<dyn OffsetStore>> {
        Err(Error::config("only looks like a store"))
    }
}
