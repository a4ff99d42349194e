//! The block `source.kafka`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aqueduct_api::config::Duration;
use aqueduct_api::{Problem, Reads, TakesTopic};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use aqueduct_kafka_client::config::{Connection, Properties};
use aqueduct_kafka_client::inline_schema;

use super::topic_problem;

/// Reads topics as a member of a consumer group, or partitions that are named one by one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The cluster to read from.
    pub connection: Connection,
    /// The topics: a list of names, or `{ pattern: "shop\\..*", except: [shop.scratch] }`.
    #[serde(default)]
    pub topics: TopicSelection,
    /// Exactly these partitions and no others, as in `{ orders: [0, 1] }`, in place of `topics`: no group is joined, and
    /// offsets are kept in its name all the same.
    #[serde(default)]
    pub partitions: BTreeMap<String, Vec<i32>>,
    /// The consumer group; the pipeline's name if it is not given.
    #[serde(default)]
    pub group: Option<String>,
    /// How the members of the group agree on who reads what.
    #[serde(default)]
    pub group_protocol: GroupProtocol,
    /// Who gets which partitions, under the protocol `classic`; `cooperative_sticky` if it is not given.
    #[serde(default)]
    pub assignor: Option<Assignor>,
    /// A name for this member that outlives the process, unique in the group: who comes back under it within the
    /// `session_timeout` gets its partitions back, and the others notice nothing.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// Where this process runs, as the brokers name their racks: records come from the nearest replica.
    #[serde(default)]
    pub rack: Option<String>,
    /// Where to start in a partition that the group has no offset for.
    #[serde(default)]
    pub start: Start,
    /// What to do when the offset to go on from is lost: its record was deleted, or the cluster forgot the offset.
    #[serde(default)]
    pub on_lost_offsets: OnLostOffsets,
    /// Whether records of transactions that are open or aborted are read.
    #[serde(default)]
    pub isolation: Isolation,
    /// After how long without a heartbeat the group gives this member's partitions to others; under the group protocol
    /// `consumer` the broker decides.
    #[serde(default = "default_session_timeout")]
    pub session_timeout: Duration,
    /// How often the offsets of `partitions` are committed again while nothing moves: the cluster forgets those of a
    /// group without members some time after the last commit.
    #[serde(default = "default_recommit_every")]
    pub recommit_every: Duration,
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

/// Topics by regular expression.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// A regular expression that the whole name has to match.
    pub pattern: String,
    /// Names that are left out all the same.
    #[serde(default)]
    pub except: Vec<String>,
}

/// How the members of a group agree on who reads what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupProtocol {
    /// One of the members decides; every version of Kafka has it.
    #[default]
    Classic,
    /// The broker decides (KIP-848, from Kafka 4.0 on).
    Consumer,
}

/// Who gets which partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assignor {
    /// Evenly, and only what has to move is given up when members come and go.
    CooperativeSticky,
    /// Neighbouring partitions of each topic; all is given up at each change.
    Range,
    /// One after the other over all topics; all is given up at each change.
    #[serde(rename = "roundrobin")]
    RoundRobin,
}

/// What to do when the offset to go on from is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLostOffsets {
    /// Stop, and say what is missing and what can be done.
    #[default]
    Stop,
    /// Go on at the oldest record.
    Earliest,
    /// Go on at the end: what is there already is not read.
    Latest,
    /// Go on at the first record of that time or later, as in `{ timestamp: "2026-01-01T00:00:00Z" }`.
    Timestamp(Moment),
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

fn default_recommit_every() -> Duration {
    Duration::from_secs(3_600)
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

impl Assignor {
    /// As librdkafka spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Assignor::CooperativeSticky => "cooperative-sticky",
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
        }
    }
}

impl SourceConfig {
    /// What parsing alone cannot see.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.connection.check("connection.", &mut problems);
        self.client.check("client", &mut problems);
        self.check_topics(&mut problems);
        self.check_partitions(&mut problems);
        self.check_group(&mut problems);
        problems
    }

    /// The system whose transactions can take the offsets along; or why there is none.
    pub(crate) fn transactions(&self) -> Result<String, &'static str> {
        if self.is_assigned() {
            return Err(
                "`partitions` are read without joining a group, and nothing but its generation fences off an owner that was frozen; `topics` would join one",
            );
        }
        match self.isolation {
            Isolation::ReadCommitted => Ok(self.connection.brokers.system()),
            Isolation::ReadUncommitted => Err(
                "`isolation: read_uncommitted` also reads what is undone later, and what is in the transaction of another runner; leave `isolation` out",
            ),
        }
    }

    /// What it reads by name.
    pub(crate) fn reads(&self, pipeline: &str) -> Reads {
        let partitions = self.partitions.iter();
        let partitions = partitions.flat_map(|(topic, of)| of.iter().map(|of| (topic.clone(), *of)));
        let (named, pattern) = match &self.topics {
            _ if self.is_assigned() => (self.partitions.keys().cloned().collect(), None),
            TopicSelection::Named(names) => (names.clone(), None),
            TopicSelection::Matching(pattern) => (Vec::new(), pattern.matcher()),
        };
        Reads {
            system: self.connection.brokers.addresses(),
            named,
            pattern,
            group: Some(self.group.as_deref().unwrap_or(pipeline).to_owned()),
            partitions: partitions.collect(),
        }
    }

    /// No group is joined: the partitions are named one by one.
    pub(crate) fn is_assigned(&self) -> bool {
        !self.partitions.is_empty()
    }

    fn check_partitions(&self, problems: &mut Vec<Problem>) {
        for (topic, partitions) in &self.partitions {
            let path = format!("partitions.{topic}");
            problems.extend(topic_problem(&path, topic));
            if partitions.is_empty() {
                problems.push(
                    Problem::new(&path, "no partition is named")
                        .remedy(format!("name them, as in partitions: {{ {topic}: [0, 1] }}")),
                );
            }
            for (index, partition) in partitions.iter().enumerate() {
                let path = format!("{path}[{index}]");
                if *partition < 0 {
                    problems.push(Problem::new(path, "partitions are numbered from 0"));
                } else if partitions[..index].contains(partition) {
                    problems.push(Problem::new(path, format!("{partition} is named twice")));
                }
            }
        }
        if self.is_assigned() && self.topics != TopicSelection::default() {
            let says = "`topics` and `partitions` exclude each other";
            let remedy = "leave `partitions` out to share the topics with the group's other members";
            problems.push(Problem::new("partitions", says).remedy(remedy));
        }
    }

    fn check_group(&self, problems: &mut Vec<Problem>) {
        if self.group.as_deref().is_some_and(|group| group.trim().is_empty()) {
            problems.push(
                Problem::new("group", "the group has no name")
                    .remedy("leave `group` out to use the pipeline's name"),
            );
        }
        let consumer = self.group_protocol == GroupProtocol::Consumer;
        if self.is_assigned() {
            let joins = "`partitions` are read without joining the group, so this would do nothing";
            let given = [
                ("group_protocol", consumer),
                ("assignor", self.assignor.is_some()),
                ("instance_id", self.instance_id.is_some()),
            ];
            for (path, _) in given.into_iter().filter(|(_, given)| *given) {
                problems.push(Problem::new(path, joins).remedy(format!("leave `{path}` out")));
            }
        } else if consumer && self.assignor.is_some() {
            let says = "under the group protocol `consumer` the broker chooses the assignor";
            problems.push(Problem::new("assignor", says).remedy("leave `assignor` out"));
        }
        for (path, text) in [("instance_id", &self.instance_id), ("rack", &self.rack)] {
            if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
                problems.push(Problem::new(path, "it is empty").remedy(format!("leave `{path}` out")));
            }
        }
    }

    fn check_topics(&self, problems: &mut Vec<Problem>) {
        match &self.topics {
            TopicSelection::Named(names) if names.is_empty() && self.is_assigned() => {}
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
    }
}

impl Pattern {
    /// The expression, made to match whole names.
    pub(crate) fn compile(&self) -> Result<regex::Regex, regex::Error> {
        regex::Regex::new(&format!("^(?:{})$", self.pattern))
    }

    /// The same question, compiled once.
    fn matcher(&self) -> Option<TakesTopic> {
        let (expression, except) = (self.compile().ok()?, self.except.clone());
        Some(Arc::new(move |name: &str| {
            expression.is_match(name)
                && !name.starts_with("__")
                && !except.iter().any(|except| except == name)
        }))
    }

    /// Whether a topic of this name is read.
    pub(crate) fn takes(&self, name: &str) -> bool {
        // A pattern that is no expression does not pass `check`.
        self.matcher().is_some_and(|takes| takes(name))
    }
}

impl Default for TopicSelection {
    fn default() -> Self {
        TopicSelection::Named(Vec::new())
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
    fn a_cluster_is_one_system_however_its_brokers_are_listed() {
        let transactions = |brokers: serde_json::Value, more: (&str, serde_json::Value)| {
            let mut config = json!({ "connection": { "brokers": brokers } });
            config[more.0] = more.1;
            source(config).unwrap().transactions()
        };
        let one = transactions(json!("a:1, b:2"), ("topics", json!(["t"]))).unwrap();
        assert_eq!(one, transactions(json!(["b:2", "a:1"]), ("topics", json!(["t"]))).unwrap());
        assert_ne!(one, transactions(json!("a:1"), ("topics", json!(["t"]))).unwrap());
        let named = transactions(json!("a:1"), ("partitions", json!({ "t": [0] }))).unwrap_err();
        assert!(named.contains("without joining a group"), "{named}");
        let all = transactions(json!("a:1"), ("isolation", json!("read_uncommitted"))).unwrap_err();
        assert!(all.contains("undone"), "{all}");
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
