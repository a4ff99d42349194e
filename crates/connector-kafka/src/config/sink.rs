//! The block `sink.kafka`.

use aqueduct_api::Problem;
use aqueduct_api::config::{Duration, Piece, Template};
use schemars::JsonSchema;
use serde::Deserialize;

use aqueduct_kafka_client::config::{Compression, Connection, Properties};

use super::topic_problem;

/// Writes records to topics, idempotently and with the acknowledgement of all replicas.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// The cluster to write to.
    pub connection: Connection,
    /// The topic of each record, as a template: `orders`, `{topic}`, `tenant.{header.tenant}`.
    pub topic: Template,
    /// What to do about a topic that does not exist. Left out, a topic that is named outright is waited for, and a
    /// record whose own topic is missing is set aside.
    #[serde(default)]
    pub on_missing_topic: Option<OnMissingTopic>,
    /// How batches are compressed; lz4 costs the least of those that save much.
    #[serde(default)]
    pub compression: Compression,
    /// How long a record may wait for others to share its request.
    #[serde(default = "default_linger")]
    pub linger: Duration,
    /// With `delivery: exactly_once`: what stands before the name of the pipeline in its transactional ids, for ACLs. Each
    /// runner and task adds something of its own behind it.
    #[serde(default)]
    pub transactional_id_prefix: String,
    /// Who writes the records.
    #[serde(default)]
    pub producer: Writes,
    /// Any property of librdkafka, for this producer. Our own knows `batch.size` and
    /// `client.id`; with others librdkafka writes.
    #[serde(default)]
    pub client: Properties,
}

/// Who writes the records of a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// A producer of our own, which takes little more than half of the CPU. librdkafka writes all the same with Kerberos and where
    /// `client` has properties that are librdkafka's alone.
    #[default]
    Own,
    /// The library that reads, too.
    Librdkafka,
}

/// What to do about a topic that does not exist. Brokers are never left to make one up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMissingTopic {
    /// The pipeline waits until somebody has made it.
    Wait,
    /// The pipeline stops.
    Stop,
    /// The record is set aside as `errors.on_bad_record` says.
    SetAside,
    /// It is created.
    Create(NewTopic),
}

/// How a topic is created; what is left out is as the brokers have it by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTopic {
    /// How many partitions it gets.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000))]
    pub partitions: Option<i32>,
    /// On how many brokers each of them is kept.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub replication: Option<i32>,
    /// Settings of the topic, as in `{ retention.ms: 604800000, cleanup.policy: compact }`.
    #[serde(default)]
    pub config: Properties,
}

fn default_linger() -> Duration {
    Duration::from_millis(5)
}

impl SinkConfig {
    /// The policy that holds.
    pub(crate) fn on_missing_topic(&self) -> OnMissingTopic {
        let usual =
            if self.topic.constant().is_some() { OnMissingTopic::Wait } else { OnMissingTopic::SetAside };
        self.on_missing_topic.clone().unwrap_or(usual)
    }

    /// What all transactional ids of the pipeline begin with.
    pub(crate) fn transactional_ids(&self, pipeline: &str) -> String {
        format!("{}{pipeline}-", self.transactional_id_prefix)
    }

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
    fn a_missing_topic_is_waited_for_or_the_record_set_aside() {
        let policy = |topic: &str, says: serde_json::Value| {
            let config =
                json!({ "connection": { "brokers": "a:1" }, "topic": topic, "on_missing_topic": says });
            serde_json::from_value::<SinkConfig>(config).unwrap().on_missing_topic()
        };
        assert_eq!(policy("orders", json!(null)), OnMissingTopic::Wait);
        assert_eq!(policy("{topic}", json!(null)), OnMissingTopic::SetAside);
        assert_eq!(policy("{topic}", json!("stop")), OnMissingTopic::Stop);
        let create = json!({ "create": { "partitions": 6, "config": { "retention.ms": 1000 } } });
        let config = Properties([("retention.ms".to_owned(), "1000".to_owned())].into());
        let expected = NewTopic { partitions: Some(6), replication: None, config };
        assert_eq!(policy("orders", create), OnMissingTopic::Create(expected));
    }

    #[test]
    fn a_topic_is_not_a_file() {
        let sink = |topic: &str| {
            let config = json!({ "connection": { "brokers": "a:1" }, "topic": topic });
            serde_json::from_value::<SinkConfig>(config).unwrap().check().len()
        };
        assert_eq!((sink("{topic}"), sink("a-{start_offset}"), sink("a b")), (0, 1, 1));
    }
}
