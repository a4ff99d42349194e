//! The block `sink.kafka`.

use aqueduct_api::Problem;
use aqueduct_api::config::{Duration, Piece, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Connection, Properties, topic_problem};

/// Writes records to topics, idempotently and with the acknowledgement of all replicas.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// The cluster to write to.
    pub connection: Connection,
    /// The topic of each record, as a template: `orders`, `{topic}`, `tenant.{header.tenant}`.
    pub topic: Template,
    /// How batches are compressed; lz4 costs the least of those that save much.
    #[serde(default)]
    pub compression: Compression,
    /// How long a record may wait for others to share its request.
    #[serde(default = "default_linger")]
    pub linger: Duration,
    /// Any property of librdkafka, for this producer.
    #[serde(default)]
    pub client: Properties,
}

/// How the producer compresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip: small, slow.
    Gzip,
    /// snappy: fast.
    Snappy,
    /// lz4: fastest.
    #[default]
    Lz4,
    /// zstd: smallest.
    Zstd,
}

fn default_linger() -> Duration {
    Duration::from_millis(5)
}

impl Compression {
    /// As librdkafka spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl SinkConfig {
    /// What parsing alone cannot see.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.connection.check("connection.", &mut problems);
        self.client.check("client", &mut problems);
        if self.topic.pieces().contains(&Piece::StartOffset) {
            let says = "`{start_offset}` names the first record of a file, and a topic is not a file";
            problems.push(Problem::new("topic", says));
        }
        if let Some(name) = self.topic.constant()
            && let Some(problem) = topic_problem("topic", name)
        {
            problems.push(problem);
        }
        problems
    }
}

/// The rules of org.apache.kafka.common.internals.Topic.
pub(crate) fn is_topic_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_topic_is_not_a_file() {
        let sink = |topic: &str| {
            let config = json!({ "connection": { "brokers": "a:1" }, "topic": topic });
            serde_json::from_value::<SinkConfig>(config).unwrap().check().len()
        };
        assert_eq!((sink("{topic}"), sink("a-{start_offset}"), sink("a b")), (0, 1, 1));
    }
}
