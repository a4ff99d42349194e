//! The block of `s3` in a pipeline file.

use aqueduct_api::Problem;
use aqueduct_api::config::{Duration, Secret, Size, Template};
use aqueduct_objects::config::{Format, OnNullValue, Rotate};
use aws_sdk_s3::types::StorageClass;
use schemars::JsonSchema;
use serde::Deserialize;

/// The least length of a part, but for the last one.
const PART_BYTES_MIN: u64 = 5 << 20;
/// Parts of an object at most, with some to spare of the 10,000 that S3 allows.
const PARTS_MAX: u64 = 9_000;
/// What an object can hold on any S3 server.
const OBJECT_BYTES_MAX: u64 = 5 << 40;
/// Less could not hold two parts.
const BUFFER_BYTES_MIN: u64 = 10 << 20;

/// A bucket to write objects into.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bucket, and how to reach it; the name of a shared connection will do.
    pub connection: Connection,
    /// The name of each object, as in `{topic}/{partition}-{start_offset}`; names topic, partition and start
    /// offset, so that each object has its own. The suffix of the format is added unless it ends in a known one, as
    /// `.json` or `.gz`.
    pub path: Template,
    /// How records are written: `lines` or `json_lines`, with `compression` and `level`.
    pub format: Format,
    /// When an object is finished, and the next begun.
    #[serde(default)]
    pub rotate: Rotate,
    /// What to do with a record that has no value.
    #[serde(default)]
    pub on_null_value: OnNullValue,
    /// How the server encrypts objects: `aes256`, or `kms` with a key; as the bucket says unless given.
    pub sse: Option<Sse>,
    /// The storage class of objects, as in `STANDARD_IA`; as the bucket says unless given.
    pub storage_class: Option<String>,
    /// Memory that all open objects together may fill, with their compressors; beyond it the fullest one is finished
    /// early. The share that `runtime.memory_max` leaves for it, unless given.
    pub buffer_max: Option<Size>,
}

/// A bucket, and how to reach it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The bucket's name.
    pub bucket: String,
    /// Its region; from the environment unless given, and `us-east-1` at an endpoint that knows none.
    pub region: Option<String>,
    /// The server, as in `http://localhost:9000`; Amazon's unless given.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path of a URL instead of its host; true at an endpoint unless given.
    pub path_style: Option<bool>,
    /// The access key; by the chain of the AWS SDK unless given: environment, profile, container, machine.
    pub access_key: Option<String>,
    /// The secret of the access key.
    pub secret_key: Option<Secret>,
    /// When requests carry checksums of their own: some servers refuse them.
    #[serde(default)]
    pub checksum: Checksum,
    /// How long to wait for a server.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// How long to wait for a server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to a request, from when it is begun: includes sending a part.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), answer: Duration::from_secs(60) }
    }
}

/// When requests carry checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// Wherever the protocol has a place for them.
    #[default]
    WhenSupported,
    /// Only where the protocol insists.
    WhenRequired,
}

/// How the server encrypts objects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sse {
    /// With a key of the server.
    Aes256,
    /// With this key of its key service.
    Kms(String),
}

impl Config {
    /// What parsing alone cannot see.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = self.connection.problems();
        problems.extend(aqueduct_objects::config::check(&self.path, &self.format, &self.rotate));
        if self.rotate.bytes_max.0 > OBJECT_BYTES_MAX {
            let says = format!("{} is more than an object can hold", self.rotate.bytes_max);
            problems.push(Problem::new("rotate.bytes_max", says).remedy("write 5TiB or less"));
        }
        if let Some(buffer_max) = self.buffer_max.filter(|max| max.0 < BUFFER_BYTES_MIN) {
            let says = format!("{buffer_max} does not hold two parts of an upload");
            problems.push(Problem::new("buffer_max", says).remedy("write 10MiB or more, or leave it out"));
        }
        if matches!(&self.sse, Some(Sse::Kms(key)) if key.is_empty()) {
            problems.push(
                Problem::new("sse.kms", "names no key").remedy("write its id or ARN, or `sse: aes256`"),
            );
        }
        if let Some(class) = &self.storage_class {
            problems.extend(check_storage_class(class));
        }
        problems
    }

    /// The storage class in the spelling of S3.
    pub(crate) fn storage_class(&self) -> Option<StorageClass> {
        self.storage_class.as_ref().map(|class| StorageClass::from(class.to_uppercase().as_str()))
    }

    /// The length of a part: the least one, unless objects are so large that their parts would be too many.
    /// 128 MiB take 26 parts of 5 MiB; up to 44 GiB a part stays 5 MiB, and 5 TiB need 583 MiB.
    pub(crate) fn part_bytes(&self) -> usize {
        let bytes = self.rotate.bytes_max.0.div_ceil(PARTS_MAX).max(PART_BYTES_MIN);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

fn check_storage_class(class: &str) -> Option<Problem> {
    let upper = class.to_uppercase();
    let problem = |says: String| Problem::new("storage_class", says);
    if !StorageClass::values().contains(&upper.as_str()) {
        return Some(
            problem(format!("`{class}` is no storage class")).remedy("as in STANDARD_IA, or leave it out"),
        );
    }
    // An object that cannot be read back at once cannot be recognised after a crash.
    ["GLACIER", "DEEP_ARCHIVE"].contains(&upper.as_str()).then(|| {
        problem(format!("objects of the class {upper} cannot be read back after a crash"))
            .remedy("let a lifecycle rule of the bucket move them there")
    })
}

impl Connection {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut say = |path: &str, says: &str, remedy: &str| {
            problems.push(Problem::new(format!("connection.{path}"), says).remedy(remedy));
        };
        if self.bucket.is_empty() || self.bucket.contains('/') {
            say("bucket", "is not the name of a bucket", "write the name alone, folders belong into `path`");
        }
        if self
            .endpoint
            .as_ref()
            .is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://"))
        {
            say("endpoint", "is not a URL", "write it as in http://localhost:9000");
        }
        match (&self.access_key, &self.secret_key) {
            (Some(_), None) => say("access_key", "has no `secret_key` beside it", "write both or neither"),
            (None, Some(_)) => say("secret_key", "has no `access_key` beside it", "write both or neither"),
            _ => {}
        }
        for (timeout, path) in
            [(self.timeouts.connect, "timeouts.connect"), (self.timeouts.answer, "timeouts.answer")]
        {
            if timeout.0.is_zero() {
                say(path, "is zero, so no request could succeed", "write 1s or more");
            }
        }
        problems
    }
}
