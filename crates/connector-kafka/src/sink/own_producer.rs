//! Our own producer as the sink uses it: whether it can do what is asked for, and what its delivery reports mean.

use std::sync::Arc;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{Error, Record};
use aqueduct_kafka_client::config::Sasl;
use aqueduct_kafka_client::producer::{
    DeliveryCallback, DeliveryReport, DeliveryStatus, Limits, Producer, ProducerConfig, Sent,
};
use aqueduct_kafka_client::{error_name, librdkafka_code};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::classifier::ErrorClassifier;
use super::deliveries::{Deliveries, Outcome};
use super::librdkafka::LibrdkafkaProducer;
use super::topic_name::topic_of;
use super::watch::Throttled;
use crate::config::{SinkConfig, Writes};

/// The largest batch that is made of small records, before compression: below what brokers take by default. A larger
/// record is a batch of its own.
const BATCH_BYTES: usize = 1_000_000;
/// Bytes of records without a delivery report, before compression.
const UNANSWERED_BYTES_MAX: usize = 8 << 20;

/// Properties of librdkafka that it knows as well.
const BATCH_SIZE: &str = "batch.size";
const CLIENT_ID: &str = "client.id";
/// Properties of consumers begin with one of these; `connection.client` may hold them for a source of the same cluster.
const OF_CONSUMERS: [&str; 8] = [
    "fetch.",
    "queued.",
    "check.crcs",
    "max.poll.",
    "heartbeat.",
    "group.",
    "partition.assignment.",
    "consume.",
];

/// The producer, and what its errors mean.
pub(super) struct OwnProducer {
    producer: Producer,
    reports: Arc<Reports>,
}

/// What came of a record.
pub(super) enum Given {
    /// Its outcome will come.
    Accepted,
    /// This is its outcome.
    Complete(Outcome),
    /// There is no room for it, or its topic is not known yet.
    NotYet,
}

/// Whether it can do what is asked for. With a property of librdkafka that it does not know, librdkafka writes.
pub(super) fn suits(config: &SinkConfig) -> bool {
    let of_consumers = |name: &str| OF_CONSUMERS.iter().any(|prefix| name.starts_with(prefix));
    let kerberos = matches!(config.connection.sasl, Some(Sasl::Kerberos(_)));
    config.producer == Writes::Own
        && !kerberos
        && properties(config).all(|(name, _)| [BATCH_SIZE, CLIENT_ID].contains(&name) || of_consumers(name))
}

impl OwnProducer {
    /// Connects when there is something to send.
    pub(super) fn open(
        config: &Arc<SinkConfig>,
        context: &SinkContext,
        deliveries: Arc<Deliveries>,
        librdkafka: &LibrdkafkaProducer,
    ) -> Self {
        let usual = || format!("aqueduct-{}-{}-{}", context.pipeline, context.task, context.lane);
        let client_id = property(config, CLIENT_ID).map_or_else(usual, str::to_owned);
        let reports = Arc::new(Reports {
            config: Arc::clone(config),
            deliveries,
            classifier: librdkafka.classifier.clone(),
            throttled: Arc::clone(&librdkafka.handle.throttled),
        });
        let settings = ProducerConfig {
            connection: &config.connection,
            client_id: &client_id,
            compression: config.compression,
            limits: limits(config),
        };
        let health = Arc::clone(&librdkafka.handle.health);
        Self { producer: Producer::new(&settings, reports.clone(), health), reports }
    }

    /// Takes a record for this topic, in the order in which they are given.
    pub(super) fn send(&mut self, topic: &str, record: &Record, delivery_id: usize) -> Given {
        match self.producer.send(topic, record, delivery_id) {
            Sent::Accepted => Given::Accepted,
            Sent::Returned => Given::Complete(Outcome::Retry),
            Sent::NotYet => Given::NotYet,
            Sent::Refused(code) => {
                let outcome = self.reports.outcome(code, topic, record, true);
                if matches!(outcome, Outcome::RetryLater(_)) {
                    self.producer.block_topic();
                }
                Given::Complete(outcome)
            }
        }
    }

    /// Sends what it holds without waiting for more.
    pub(super) fn flush(&self) {
        self.producer.flush();
    }

    /// What was returned is about to be given again.
    pub(super) fn unblock(&self) {
        self.producer.unblock();
    }
}

/// Where delivery reports go.
struct Reports {
    config: Arc<SinkConfig>,
    deliveries: Arc<Deliveries>,
    classifier: ErrorClassifier,
    throttled: Arc<Throttled>,
}

impl DeliveryCallback for Reports {
    fn delivered(&self, DeliveryReport { delivery_ids, status, .. }: DeliveryReport) {
        match status {
            DeliveryStatus::Stored => self.deliveries.stored(&delivery_ids),
            DeliveryStatus::Returned => delivery_ids.into_iter().for_each(|delivery_id| {
                self.deliveries.complete(delivery_id, Outcome::Retry);
            }),
            DeliveryStatus::Refused { code, alone, .. } => delivery_ids.into_iter().for_each(|delivery_id| {
                self.deliveries.complete(delivery_id, self.refused(delivery_id, code, alone));
            }),
            DeliveryStatus::OutOfOrderSequence => self.deliveries.fail(
                Error::fatal("the Kafka cluster has lost records that it had acknowledged")
                    .remedy("see what the brokers say of the topic: an unclean election of a leader, or a disk that was emptied; the pipeline starts again from its stored offsets"),
            ),
        }
    }

    fn failed(&self, error: Error) {
        self.deliveries.fail(error);
    }

    fn progressed(&self) {
        self.deliveries.notify();
    }

    fn throttled(&self, throttle_ms: u64) {
        self.throttled.add(throttle_ms);
    }
}

impl Reports {
    fn refused(&self, delivery_id: usize, code: i16, alone: bool) -> Outcome {
        let Some((batch, index)) = self.deliveries.batch_of(delivery_id) else { return Outcome::Retry };
        let Some(record) = batch.records.get(index) else { return Outcome::Retry };
        let mut name = String::new();
        let topic = topic_of(&self.config.topic, record, &mut name).unwrap_or_default();
        self.outcome(code, topic, record, alone)
    }

    /// What Kafka's error code means for a record.
    fn outcome(&self, code: i16, topic: &str, record: &Record, alone: bool) -> Outcome {
        let headers = record.headers.iter();
        let length = |value: &Option<bytes::Bytes>| value.as_ref().map_or(0, bytes::Bytes::len);
        let headers: usize = headers.map(|header| header.name.len() + length(&header.value)).sum();
        match librdkafka_code(code) {
            // The broker has forgotten the producer id: the next batch has another epoch or id.
            Code::UnknownProducerId => Outcome::Retry,
            Code::Unknown => {
                let reason = error_name(code);
                Outcome::Failed(Error::fatal(format!("topic `{topic}` cannot be written: {reason}")))
            }
            code => {
                let bytes = record.key.len() + record.value.len() + headers;
                self.classifier.refused(code, topic, bytes, alone)
            }
        }
    }
}

/// Those of the cluster, and those of the sink, which win.
fn properties(config: &SinkConfig) -> impl Iterator<Item = (&str, &str)> {
    let both = config.connection.client.0.iter().chain(&config.client.0);
    both.map(|(name, value)| (name.as_str(), value.as_str()))
}

/// The value of one of them.
fn property<'a>(config: &'a SinkConfig, name: &str) -> Option<&'a str> {
    properties(config).filter(|(known, _)| *known == name).last().map(|(_, value)| value)
}

fn limits(config: &SinkConfig) -> Limits {
    Limits {
        batch_bytes: property(config, BATCH_SIZE).and_then(|bytes| bytes.parse().ok()).unwrap_or(BATCH_BYTES),
        linger: config.linger.0,
        unanswered_bytes_max: UNANSWERED_BYTES_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(of_connection: Value, of_sink: Value, sasl: Value) -> SinkConfig {
        let connection = json!({ "brokers": "a:1", "client": of_connection, "sasl": sasl });
        serde_json::from_value(json!({ "connection": connection, "topic": "t", "client": of_sink })).unwrap()
    }

    #[test]
    fn what_only_the_library_can_do_is_left_to_it() {
        let can = |of_connection, of_sink, sasl| suits(&config(of_connection, of_sink, sasl));
        assert!(can(json!({}), json!({}), json!(null)));
        assert!(can(json!({ "client.id": "x" }), json!({ "batch.size": 5 }), json!(null)));
        assert!(can(json!({ "fetch.min.bytes": 5 }), json!({}), json!(null)), "that is for consumers");
        assert!(!can(json!({ "socket.keepalive.enable": true }), json!({}), json!(null)));
        assert!(!can(json!({}), json!({ "compression.level": 5 }), json!(null)));
        let kerberos = json!({ "kerberos": { "principal": "a@B", "keytab": "/k" } });
        assert!(!can(json!({}), json!({}), kerberos));
    }

    #[test]
    fn properties_of_the_sink_win() {
        let both = config(json!({ "batch.size": 5 }), json!({ "batch.size": 6 }), json!(null));
        assert_eq!(limits(&both).batch_bytes, 6);
        assert_eq!(limits(&config(json!({}), json!({}), json!(null))).batch_bytes, BATCH_BYTES);
    }
}
