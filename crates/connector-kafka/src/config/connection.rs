//! The block `connection`: where a cluster is and how to talk to it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use aqueduct_api::Problem;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
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

/// `a:9092,b:9092`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(pub String);

/// Properties of librdkafka by name, as it takes them: text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Properties(pub BTreeMap<String, String>);

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
    pub(super) fn check(&self, path: &str, problems: &mut Vec<Problem>) {
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
    pub(super) fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        for (owned, remedy) in OWNED {
            if self.0.contains_key(owned) {
                let says = format!("`{owned}` may not be set here");
                problems.push(Problem::new(format!("{path}.{owned}"), says).remedy(remedy));
            }
        }
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

inline_schema!(Brokers, "brokers", |_generator| {
    json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
});

inline_schema!(Properties, "properties", |_generator| {
    json_schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
});
