//! The block `source.kafka`.

use std::borrow::Cow;
use std::fmt;

use aqueduct_api::Problem;
use aqueduct_api::config::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Connection, Properties, topic_problem};

/// Reads topics as a member of a consumer group.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The cluster to read from.
    pub connection: Connection,
    /// The topics: a list of names, or `{ pattern: "shop\\..*", except: [shop.scratch] }`.
    pub topics: TopicSelection,
    /// The consumer group; the pipeline's name if it is not given.
    #[serde(default)]
    pub group: Option<String>,
    /// Where to start in a partition that the group has no offset for.
    #[serde(default)]
    pub start: Start,
    /// Whether records of transactions that are open or aborted are read.
    #[serde(default)]
    pub isolation: Isolation,
    /// After how long without a heartbeat the group gives this member's partitions to others.
    #[serde(default = "default_session_timeout")]
    pub session_timeout: Duration,
    /// Any property of librdkafka, for this consumer.
    #[serde(default)]
    pub client: Properties,
}

/// Which topics a source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicSelection {
    /// These.
    Named(Vec<String>),
    /// All whose whole name matches, now or later, but for the exceptions and Kafka's own.
    Matching(Pattern),
}

/// TopicSelection by regular expression.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// A regular expression that the whole name has to match.
    pub pattern: String,
    /// Names that are left out all the same.
    #[serde(default)]
    pub except: Vec<String>,
}

/// Where to start in a partition that the group has no offset for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At its oldest record.
    #[default]
    Earliest,
    /// At its end: what is there already is not read.
    Latest,
    /// Nowhere: it is an error.
    None,
    /// At the first record of that time or later, as in `{ timestamp: "2026-01-01T00:00:00Z" }`.
    Timestamp(Moment),
}

/// A point in time, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: i64,
}

/// Which records of transactions are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Only those of committed transactions.
    #[default]
    ReadCommitted,
    /// All, at once.
    ReadUncommitted,
}

fn default_session_timeout() -> Duration {
    Duration::from_secs(45)
}

impl Isolation {
    /// As librdkafka spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

impl SourceConfig {
    /// What parsing alone cannot see.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.connection.check("connection.", &mut problems);
        self.client.check("client", &mut problems);
        match &self.topics {
            TopicSelection::Named(names) if names.is_empty() => {
                problems.push(
                    Problem::new("topics", "no topic is named").remedy("name one, as in topics: [orders]"),
                );
            }
            TopicSelection::Named(names) => {
                for (index, name) in names.iter().enumerate() {
                    let path = format!("topics[{index}]");
                    if let Some(problem) = topic_problem(&path, name) {
                        problems.push(problem);
                    } else if names[..index].contains(name) {
                        problems.push(Problem::new(path, format!("`{name}` is named twice")));
                    }
                }
            }
            TopicSelection::Matching(pattern) => {
                if let Err(error) = pattern.compile() {
                    let says =
                        format!("`{}` is not a regular expression: {}", pattern.pattern, last_line(&error));
                    problems.push(Problem::new("topics.pattern", says));
                }
            }
        }
        if self.group.as_deref().is_some_and(|group| group.trim().is_empty()) {
            problems.push(
                Problem::new("group", "the group has no name")
                    .remedy("leave `group` out to use the pipeline's name"),
            );
        }
        problems
    }
}

impl Pattern {
    /// The expression, made to match whole names.
    pub(crate) fn compile(&self) -> Result<regex::Regex, regex::Error> {
        regex::Regex::new(&format!("^(?:{})$", self.pattern))
    }
}

impl fmt::Display for TopicSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicSelection::Named(names) => f.write_str(&names.join(", ")),
            TopicSelection::Matching(pattern) => write!(f, "{}", pattern.pattern),
        }
    }
}

fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

impl<'de> Deserialize<'de> for TopicSelection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopicsVisitor;
        impl<'de> Visitor<'de> for TopicsVisitor {
            type Value = TopicSelection;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a list of topics, as in [orders], or a pattern, as in { pattern: \"shop\\\\..*\" }",
                )
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<TopicSelection, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(TopicSelection::Named)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TopicSelection, A::Error> {
                Pattern::deserialize(de::value::MapAccessDeserializer::new(map)).map(TopicSelection::Matching)
            }
        }
        deserializer.deserialize_any(TopicsVisitor)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            de::Error::custom(format!("`{text}` is not a point in time; write it as in 2026-01-01T00:00:00Z"))
        })?;
        Ok(Moment { unix_ms: time.as_millisecond() })
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&jiff::Timestamp::from_millisecond(self.unix_ms).unwrap_or_default())
    }
}

inline_schema!(TopicSelection, "topics", |generator| {
    let pattern = generator.subschema_for::<Pattern>();
    json_schema!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, pattern] })
});

inline_schema!(Moment, "moment", |_generator| json_schema!({ "type": "string", "format": "date-time" }));

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn source(config: serde_json::Value) -> Result<SourceConfig, String> {
        serde_json::from_value(config).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_every_form() {
        let config = source(json!({
            "connection": { "brokers": ["a:1", "b:2"], "client": { "socket.nagle.disable": true, "log_level": 3 } },
            "topics": { "pattern": "shop\\..*", "except": ["shop.x"] },
            "start": { "timestamp": "2026-01-01T00:00:00Z" },
            "session_timeout": "6s",
        }))
        .unwrap();
        assert_eq!(config.connection.brokers.0, "a:1,b:2");
        assert_eq!(config.connection.client.0["socket.nagle.disable"], "true");
        assert_eq!(config.start, Start::Timestamp(Moment { unix_ms: 1_767_225_600_000 }));
        assert_eq!(config.check(), []);
        let config =
            source(json!({ "connection": { "brokers": "a:1" }, "topics": ["t"], "start": "latest" }))
                .unwrap();
        assert_eq!((config.start, config.isolation), (Start::Latest, Isolation::ReadCommitted));
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let config = source(json!({
            "connection": { "brokers": "a:1,", "client": { "group.id": "x" } },
            "topics": ["a", "b c", "a"],
            "group": " ",
            "client": { "enable.auto.commit": true },
        }));
        let paths: Vec<String> = config.unwrap().check().into_iter().map(|problem| problem.path).collect();
        let expected = [
            "connection.brokers",
            "connection.client.group.id",
            "client.enable.auto.commit",
            "topics[1]",
            "topics[2]",
            "group",
        ];
        assert_eq!(paths, expected);
        let wrong =
            source(json!({ "connection": { "brokers": "a" }, "topics": { "pattern": "shop.(" } })).unwrap();
        assert!(
            wrong.check()[0].says.contains("is not a regular expression: unclosed group"),
            "{:?}",
            wrong.check()
        );
        let wrong = source(json!({ "connection": { "brokers": "a" }, "topics": "orders" })).unwrap_err();
        assert!(wrong.contains("a list of topics"), "{wrong}");
        let wrong =
            source(json!({ "connection": { "brokers": "a" }, "topics": [], "start": { "timestamp": "x" } }));
        assert!(wrong.unwrap_err().contains("is not a point in time"));
    }
}
