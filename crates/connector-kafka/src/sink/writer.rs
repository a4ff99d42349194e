//! The producer of our own for what needs neither transactions nor Kerberos: idempotent, acknowledged by all replicas, in
//! order for each partition. The library keeps an entry for each record, which cost half of all CPU; it stays beside this one
//! for everything that is asked of the cluster and said about it.

mod broker;
mod cluster;
mod outgoing;
mod partition;
#[cfg(test)]
mod simulation;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{Error, Record};
use kafka_protocol::ResponseError;
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::outgoing::{Limits, Outgoing, Taken};
use self::partition::{Fate, Report};
use super::deliveries::{Answer, Deliveries};
use super::producer::{Judge, Outbox};
use super::topic_of;
use super::watch::Throttled;
use crate::client::Troubles;
use crate::config::{Sasl, SinkConfig, Writes};
use crate::wire::dial::Dialer;

/// The largest batch that is made of small records, before compression: below what brokers take by default. A larger
/// record travels alone.
const BATCH_BYTES: usize = 1_000_000;
/// What may be on its way unanswered, before compression.
const UNANSWERED_BYTES_MAX: usize = 8 << 20;

/// Properties of the library that it knows as well.
const BATCH_SIZE: &str = "batch.size";
const CLIENT_ID: &str = "client.id";
/// Properties that say nothing to a producer begin with one of these: a connection has them for its other end.
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

/// See the file's header. Its tasks end with it, and what was not sent is thrown away.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The topic of the record before, and its number.
    topic: (String, usize),
    cluster: JoinHandle<()>,
}

/// What the tasks share.
struct Shared {
    outgoing: Mutex<Outgoing>,
    doors: Mutex<HashMap<i32, Arc<Door>>>,
    /// The cluster has to be asked something.
    ask: Notify,
    /// Leaders have to be asked for.
    stale: AtomicBool,
    dialer: Dialer,
    config: Arc<SinkConfig>,
    deliveries: Arc<Deliveries>,
    judge: Judge,
    troubles: Arc<Troubles>,
    throttled: Arc<Throttled>,
}

/// The way to the task of one broker.
struct Door {
    /// `host:port`.
    address: Mutex<String>,
    /// It wants to be left alone until then (KIP-219), over whichever connection.
    held_until: Mutex<Instant>,
    /// There may be something to send.
    news: Notify,
    /// The connection is of no use any more.
    leave: Notify,
}

/// Held by each task: one that panics would leave what is given to it without an answer.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::bug("a task of the Kafka sink panicked");
            self.0
                .deliveries
                .fail(error.remedy("the pipeline starts again from its stored offsets; please report it"));
        }
    }
}

/// What came of a record that was given.
pub(super) enum Given {
    /// Its answer will come.
    Taken,
    /// It comes after one that has to be sent again.
    HandedBack,
    /// This is its answer.
    Answered(Answer),
    /// There is no room for it, or its topic is not known yet.
    NotYet,
}

impl Writer {
    /// Whether it can do what is asked for. A property of the library that it does not know is a wish that only the library
    /// fulfils.
    pub(super) fn suits(config: &SinkConfig) -> bool {
        let idle = |name: &str| OF_CONSUMERS.iter().any(|prefix| name.starts_with(prefix));
        let kerberos = matches!(config.connection.sasl, Some(Sasl::Kerberos(_)));
        config.producer == Writes::Own
            && !kerberos
            && properties(config).all(|(name, _)| [BATCH_SIZE, CLIENT_ID].contains(&name) || idle(name))
    }

    /// Starts its tasks; they connect when there is something to send.
    pub(super) fn open(
        config: &Arc<SinkConfig>,
        context: &SinkContext,
        deliveries: Arc<Deliveries>,
        outbox: &Outbox,
    ) -> Self {
        let usual = || format!("aqueduct-{}-{}-{}", context.pipeline, context.task, context.lane);
        let client_id = set(config, CLIENT_ID).map_or_else(usual, str::to_owned);
        let shared = Arc::new(Shared {
            outgoing: Mutex::new(Outgoing::new(limits(config))),
            doors: Mutex::default(),
            ask: Notify::new(),
            stale: AtomicBool::new(false),
            dialer: Dialer::new(&config.connection, &client_id),
            config: Arc::clone(config),
            deliveries,
            judge: outbox.judge.clone(),
            troubles: Arc::clone(&outbox.reporting.troubles),
            throttled: Arc::clone(&outbox.reporting.throttled),
        });
        let cluster = tokio::spawn(cluster::serve(Arc::clone(&shared)));
        Self { shared, topic: (String::new(), 0), cluster }
    }

    /// Takes a record for this topic, in the order in which they are given.
    pub(super) fn give(&mut self, topic: &str, record: &Record, ticket: usize) -> Given {
        let mut outgoing = lock(&self.shared.outgoing);
        if self.topic.0 != topic {
            topic.clone_into(&mut self.topic.0);
            self.topic.1 = outgoing.topic(topic);
        }
        let taken = outgoing.give(self.topic.1, record, ticket);
        if taken == Taken::Yes {
            return Given::Taken;
        }
        if let Taken::Refused(code) = taken {
            let answer = self.shared.answer(code, topic, record, true);
            if matches!(answer, Answer::Later(_)) {
                outgoing.hold(self.topic.1);
            }
            drop(outgoing);
            self.shared.look_again();
            return Given::Answered(answer);
        }
        let asks = outgoing.lacks_producer();
        drop(outgoing);
        match taken {
            Taken::News(node) => {
                if asks {
                    self.shared.ask.notify_one();
                }
                self.shared.ring(node);
                Given::Taken
            }
            Taken::Full => {
                self.shared.ring_all();
                Given::NotYet
            }
            Taken::Unknown(news) => {
                if news {
                    self.shared.look_again();
                }
                Given::NotYet
            }
            Taken::Yes | Taken::Refused(_) => Given::Taken,
            Taken::HandedBack => Given::HandedBack,
        }
    }

    /// What is on its way goes as soon as it can.
    pub(super) fn hurry(&self) {
        lock(&self.shared.outgoing).hurry();
        self.shared.ring_all();
    }

    /// What was handed back is about to come again.
    pub(super) fn mend(&self) {
        lock(&self.shared.outgoing).mend();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.cluster.abort();
    }
}

impl Shared {
    fn ring(&self, node: i32) {
        if let Some(door) = lock(&self.doors).get(&node) {
            door.news.notify_one();
        }
    }

    /// Has the leaders asked for.
    fn look_again(&self) {
        self.stale.store(true, Ordering::Release);
        self.ask.notify_one();
    }

    /// Hands on what became of records.
    fn tell(&self, reports: Vec<Report>) {
        for Report { tickets, fate, .. } in reports {
            match fate {
                Fate::Stored => self.deliveries.stored(&tickets),
                Fate::HandedBack => tickets.into_iter().for_each(|ticket| {
                    self.deliveries.answer(ticket, Answer::SendAgain);
                }),
                Fate::Refused { code, alone, .. } => tickets.into_iter().for_each(|ticket| {
                    self.deliveries.answer(ticket, self.refused(ticket, code, alone));
                }),
                Fate::Broken => self.deliveries.fail(
                    Error::fatal("the Kafka cluster has lost records that it had acknowledged")
                        .remedy("see what the brokers say of the topic: an unclean election of a leader, or a disk that was emptied; the pipeline starts again from its stored offsets"),
                ),
            }
        }
    }

    /// What a refusal means for the record of this ticket.
    fn refused(&self, ticket: usize, code: i16, alone: bool) -> Answer {
        let Some((batch, index)) = self.deliveries.batch_of(ticket) else { return Answer::SendAgain };
        let Some(record) = batch.records.get(index) else { return Answer::SendAgain };
        let mut made = String::new();
        let topic = topic_of(&self.config.topic, record, &mut made).unwrap_or_default();
        self.answer(code, topic, record, alone)
    }

    fn answer(&self, code: i16, topic: &str, record: &Record, alone: bool) -> Answer {
        let headers = record.headers.iter();
        let length = |value: &Option<bytes::Bytes>| value.as_ref().map_or(0, bytes::Bytes::len);
        let headers: usize = headers.map(|header| header.name.len() + length(&header.value)).sum();
        match code_of(code) {
            // It has forgotten us: we go on as somebody else.
            Code::UnknownProducerId => Answer::SendAgain,
            Code::Unknown => {
                let reason = ResponseError::try_from_code(code);
                let reason = reason.map_or_else(|| code.to_string(), |reason| reason.to_string());
                Answer::Failed(Error::fatal(format!("topic `{topic}` cannot be written: {reason}")))
            }
            code => self.judge.refused(code, topic, record.key.len() + record.value.len() + headers, alone),
        }
    }

    fn ring_all(&self) {
        lock(&self.doors).values().for_each(|door| door.news.notify_one());
    }
}

/// Those of the cluster, and those of the sink, which win.
fn properties(config: &SinkConfig) -> impl Iterator<Item = (&str, &str)> {
    let both = config.connection.client.0.iter().chain(&config.client.0);
    both.map(|(name, value)| (name.as_str(), value.as_str()))
}

/// The value of one of them.
fn set<'a>(config: &'a SinkConfig, name: &str) -> Option<&'a str> {
    properties(config).filter(|(set, _)| *set == name).last().map(|(_, value)| value)
}

fn limits(config: &SinkConfig) -> Limits {
    Limits {
        batch_bytes: set(config, BATCH_SIZE).and_then(|bytes| bytes.parse().ok()).unwrap_or(BATCH_BYTES),
        linger: config.linger.0,
        unanswered_bytes_max: UNANSWERED_BYTES_MAX,
    }
}

/// Kafka's number as the library names it, for those that mean something for a record.
fn code_of(code: i16) -> Code {
    match code {
        3 => Code::UnknownTopicOrPartition,
        4 => Code::InvalidMessageSize,
        10 => Code::MessageSizeTooLarge,
        17 => Code::InvalidTopic,
        18 => Code::MessageBatchTooLarge,
        29 => Code::TopicAuthorizationFailed,
        31 => Code::ClusterAuthorizationFailed,
        32 => Code::InvalidTimestamp,
        44 => Code::PolicyViolation,
        59 => Code::UnknownProducerId,
        87 => Code::InvalidRecord,
        _ => Code::Unknown,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let suits = |of_connection, of_sink, sasl| Writer::suits(&config(of_connection, of_sink, sasl));
        assert!(suits(json!({}), json!({}), json!(null)));
        assert!(suits(json!({ "client.id": "x" }), json!({ "batch.size": 5 }), json!(null)));
        assert!(suits(json!({ "fetch.min.bytes": 5 }), json!({}), json!(null)), "that is for consumers");
        assert!(!suits(json!({ "socket.keepalive.enable": true }), json!({}), json!(null)));
        assert!(!suits(json!({}), json!({ "compression.level": 5 }), json!(null)));
        let kerberos = json!({ "kerberos": { "principal": "a@B", "keytab": "/k" } });
        assert!(!suits(json!({}), json!({}), kerberos));
    }

    #[test]
    fn properties_of_the_sink_win() {
        let both = config(json!({ "batch.size": 5 }), json!({ "batch.size": 6 }), json!(null));
        assert_eq!(limits(&both).batch_bytes, 6);
        assert_eq!(limits(&config(json!({}), json!({}), json!(null))).batch_bytes, BATCH_BYTES);
    }
}
