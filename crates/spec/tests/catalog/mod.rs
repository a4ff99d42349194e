//! A catalog whose ends look like the real ones in a file and do nothing.

#![allow(unreachable_pub)]

mod kafka;
mod registry;

use std::sync::Arc;

use aqueduct_api::catalog::{
    Block, Duplicates, FormatKind, KeepsOffsets, OffsetStoreKind, SinkConnector, SinkContext, SinkTraits,
    SourceConnector, SourceContext, SourceTraits, TransformKind,
};
use aqueduct_api::config::{Duration, Secret, Size, Template};
use aqueduct_api::{
    Catalog, Decoder, Encoder, Error, FormatContext, OffsetStore, Problem, Result, Side, Sink, Source,
    Transform, Writes,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use kafka::{KafkaSink, KafkaSource};

pub fn catalog() -> Catalog {
    Catalog::default()
        .source::<KafkaSource>()
        .sink::<KafkaSink>()
        .source::<FileConfig>()
        .sink::<FileConfig>()
        .source::<GenerateConfig>()
        .sink::<S3Config>()
        .sink::<DirectoryConfig>()
        .sink::<Discard>()
        .transform::<Pass>()
        .format::<Bytes>()
        .format::<Text>()
        .format::<Json>()
        .format::<registry::AvroConfig>()
        .registry::<registry::RegistryConfig>()
        .offset_store::<Memory>()
        .offset_store::<Files>()
}

/// What a sink does about records that come again, and the system of its transactions.
type Once = (Duplicates, Result<String, &'static str>);

/// A crash shows.
fn duplicates<C>(_: &C) -> Once {
    (Duplicates::Visible, Err("what is written stands there"))
}

/// A crash does not show.
fn absorbs<C>(_: &C) -> Once {
    (Duplicates::Absorbed("a replay changes nothing"), Err("it needs none"))
}

/// How a type is called in the file.
macro_rules! block {
    ($config:ty, $name:literal, $about:literal) => {
        impl Block for $config {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about;
        }
    };
}

/// A block without options.
macro_rules! nothing {
    ($config:ident, $name:literal, $about:literal) => {
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $config {}
        block!($config, $name, $about);
    };
}

/// A sink that is never opened.
macro_rules! sink {
    ($name:literal, $config:ty, $check:expr, $once:expr) => {
        sink!($name, $config, $check, $once, |_| None);
    };
    ($name:literal, $config:ty, $check:expr, $once:expr, $writes:expr) => {
        #[async_trait]
        impl SinkConnector for $config {
            fn check(&self) -> Vec<Problem> {
                let check: fn(&$config) -> Vec<Problem> = $check;
                check(self)
            }
            fn traits(&self) -> SinkTraits {
                let once: fn(&$config) -> Once = $once;
                let (duplicates, transactions) = once(self);
                SinkTraits { lanes: 1, batch_records_max: None, duplicates, transactions, value_format: None }
            }
            fn writes(&self) -> Option<Writes> {
                let writes: fn(&$config) -> Option<Writes> = $writes;
                writes(self)
            }
            fn describe(&self) -> String {
                $name.into()
            }
            async fn open(&self, _: SinkContext) -> Result<Box<dyn Sink>> {
                Err(Error::config("only looks like a sink"))
            }
        }
    };
}

block!(KafkaSink, "kafka", "topics of a Kafka cluster");
sink!(
    "kafka",
    KafkaSink,
    |config| config.connection.check(),
    |config| (Duplicates::Visible, config.connection.transactions()),
    |config| {
        let (system, topic) = (config.connection.addresses(), config.topic.clone());
        Some(Writes { system, topic, option: "topic" })
    }
);

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

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct LinesOptions {
    /// How the whole is compressed.
    #[serde(default)]
    compression: FileCompression,
}

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FileCompression {
    #[default]
    None,
    Gzip,
    Zstd,
}

#[derive(Default, Deserialize, Serialize, JsonSchema)]
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

block!(S3Config, "s3", "objects in a bucket");
sink!("s3", S3Config, |config| unique_names(&config.path), absorbs);

block!(DirectoryConfig, "directory", "files in a folder");
sink!("directory", DirectoryConfig, |config| unique_names(&config.path), absorbs);

nothing!(Discard, "discard", "nowhere");
sink!("discard", Discard, |_| Vec::new(), absorbs);

/// A file of records.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct FileConfig {
    /// The file; `-` is standard input or output.
    path: String,
}

block!(FileConfig, "file", "a file, one record a line");
sink!("file", FileConfig, |_| Vec::new(), duplicates);

/// A source that is never opened.
macro_rules! source {
    ($name:literal, $config:ty) => {
        #[async_trait]
        impl SourceConnector for $config {
            fn check(&self) -> Vec<Problem> {
                Vec::new()
            }
            fn traits(&self) -> SourceTraits {
                SourceTraits {
                    keeps_offsets: KeepsOffsets::Never,
                    tasks_max: Some(1),
                    finite: true,
                    typed: false,
                    transactions: Err("no sink keeps its offsets"),
                }
            }
            fn describe(&self, _: &str) -> String {
                $name.into()
            }
            async fn open(&self, _: SourceContext) -> Result<Box<dyn Source>> {
                Err(Error::config("only looks like a source"))
            }
        }
    };
}

source!("file", FileConfig);

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

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum GenerateKind {
    /// Orders of a web shop.
    #[default]
    Orders,
}

block!(GenerateConfig, "generate", "records that are made up");
source!("generate", GenerateConfig);

nothing!(Pass, "pass", "changes nothing");

impl TransformKind for Pass {
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
    fn build(&self) -> Result<Box<dyn Transform>> {
        Err(Error::config("only looks like a transform"))
    }
}

/// A format that is never used.
macro_rules! record_format {
    ($kind:ident, $name:literal) => {
        nothing!($kind, $name, "a format");
        impl FormatKind for $kind {
            fn describe(&self, _: Side) -> String {
                $name.into()
            }
            fn decoder(&self, _: &FormatContext) -> Result<Box<dyn Decoder>> {
                Err(Error::config("only looks like a format"))
            }
            fn encoder(&self, _: &FormatContext) -> Result<Box<dyn Encoder>> {
                Err(Error::config("only looks like a format"))
            }
        }
    };
}

record_format!(Bytes, "bytes");
record_format!(Text, "string");
record_format!(Json, "json");

nothing!(Memory, "memory", "in memory");

#[async_trait]
impl OffsetStoreKind for Memory {
    async fn open(&self) -> Result<Arc<dyn OffsetStore>> {
        Err(Error::config("only looks like a store"))
    }
}

/// A folder of offsets.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct Files {
    /// The file; `-` is standard input or output.
    path: String,
}

block!(Files, "file", "one file a pipeline");

#[async_trait]
impl OffsetStoreKind for Files {
    async fn open(&self) -> Result<Arc<dyn OffsetStore>> {
        Err(Error::config("only looks like a store"))
    }
}
