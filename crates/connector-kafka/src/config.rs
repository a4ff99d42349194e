//! What a pipeline file says of Kafka: the connection, the source and the sink. Read and checked without the
//! network.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use aqueduct_api::Problem;
use aqueduct_api::config::{Duration, Piece, Template};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Where the cluster is and how to talk to it; the same keys wherever a Kafka cluster is named.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The brokers to ask first: `a:9092,b:9092` or a list.
    pub brokers: Brokers,
    /// Any property of librdkafka, for every client of this cluster.
    #[serde(default)]
    pub client: Properties,
}

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

/// `a:9092,b:9092`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(pub String);

/// Properties of librdkafka by name, as it takes them: text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Properties(pub BTreeMap<String, String>);

fn default_session_timeout() -> Duration {
    Duration::from_secs(45)
}

fn default_linger() -> Duration {
    Duration::from_millis(5)
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

/// Properties that have a key of their own or whose value a promise rests on, and what to do instead.
const OWNED: [(&str, &str); 24] = [
    ("bootstrap.servers", "write it as `connection.brokers`"),
    ("metadata.broker.list", "write it as `connection.brokers`"),
    ("group.id", "write it as `group`"),
    ("auto.offset.reset", "write it as `start`"),
    ("isolation.level", "write it as `isolation`"),
    ("session.timeout.ms", "write it as `session_timeout`"),
    ("compression.type", "write it as `compression`"),
    ("compression.codec", "write it as `compression`"),
    ("linger.ms", "write it as `linger`"),
    ("queue.buffering.max.ms", "write it as `linger`"),
    ("enable.auto.commit", COMMITS),
    ("auto.commit.enable", COMMITS),
    ("auto.commit.interval.ms", COMMITS),
    ("enable.auto.offset.store", COMMITS),
    ("offset.store.method", COMMITS),
    ("enable.partition.eof", "leave it out: the ends of partitions are not records"),
    ("acks", ACKS),
    ("request.required.acks", ACKS),
    ("enable.idempotence", ACKS),
    ("message.timeout.ms", WAITS),
    ("delivery.timeout.ms", WAITS),
    ("partitioner", "leave it out: keys go where the Java client puts them, so that all producers agree"),
    ("transactional.id", "leave it out: the pipeline's `delivery` decides about transactions"),
    ("log.queue", "leave it out: log lines go to the pipeline's own log"),
];
const COMMITS: &str = "leave it out: offsets are committed when the sink has the data, never by a timer";
const ACKS: &str = "leave it out: records are written idempotently and acknowledged by all replicas";
const WAITS: &str = "leave it out: a record waits for the broker as long as it takes, it is never given up";

impl Connection {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        if self.brokers.0.split(',').any(|broker| broker.trim().is_empty()) {
            problems.push(
                Problem::new(format!("{path}brokers"), "a broker without a name")
                    .remedy("write host and port, as in kafka:9092"),
            );
        }
        self.client.check(&format!("{path}client"), problems);
    }
}

impl Properties {
    /// Refuses what is owned; the values themselves are checked by the library.
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        for (owned, remedy) in OWNED {
            if self.0.contains_key(owned) {
                let says = format!("`{owned}` may not be set here");
                problems.push(Problem::new(format!("{path}.{owned}"), says).remedy(remedy));
            }
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

/// The rules of org.apache.kafka.common.internals.Topic.
pub(crate) fn is_topic_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(allowed)
}

fn topic_problem(path: &str, name: &str) -> Option<Problem> {
    (!is_topic_name(name)).then(|| {
        Problem::new(path, format!("`{name}` is not a topic name"))
            .remedy("a name has 1 to 249 letters, digits, dots, dashes and underscores")
    })
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

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BrokersVisitor;
        impl<'de> Visitor<'de> for BrokersVisitor {
            type Value = Brokers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("brokers with their ports, as in \"a:9092,b:9092\" or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Brokers, E> {
                Ok(Brokers(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Brokers, A::Error> {
                let list: Vec<String> = Vec::deserialize(de::value::SeqAccessDeserializer::new(list))?;
                Ok(Brokers(list.join(",")))
            }
        }
        deserializer.deserialize_any(BrokersVisitor)
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map: BTreeMap<String, serde_json::Value> = BTreeMap::deserialize(deserializer)?;
        let text = |(name, value): (String, serde_json::Value)| match value {
            serde_json::Value::String(text) => Ok((name, text)),
            serde_json::Value::Number(number) => Ok((name, number.to_string())),
            serde_json::Value::Bool(flag) => Ok((name, flag.to_string())),
            _ => Err(de::Error::custom(format!("`{name}` has to be text, a number, true or false"))),
        };
        map.into_iter().map(text).collect::<Result<_, _>>().map(Properties)
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

/// A schema written by hand, where serde reads more than one form.
macro_rules! inline_schema {
    ($type:ty, $name:literal, |$generator:ident| $schema:expr) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

inline_schema!(TopicSelection, "topics", |generator| {
    let pattern = generator.subschema_for::<Pattern>();
    json_schema!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, pattern] })
});
inline_schema!(Brokers, "brokers", |_generator| {
    json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
});
inline_schema!(Properties, "properties", |_generator| {
    json_schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
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

    #[test]
    fn a_topic_is_not_a_file() {
        let sink = |topic: &str| {
            let config = json!({ "connection": { "brokers": "a:1" }, "topic": topic });
            serde_json::from_value::<SinkConfig>(config).unwrap().check().len()
        };
        assert_eq!((sink("{topic}"), sink("a-{start_offset}"), sink("a b")), (0, 1, 1));
    }
}
