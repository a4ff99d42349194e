//! What consumers and producers share: their properties, what they are waiting for, and what an error code
//! means.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aqueduct_api::{Condition, Error, ErrorKind, Problem};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use crate::config::{Connection, Isolation, Properties, SinkConfig, SourceConfig};
use crate::diagnosis::TOPIC_MISSING;

/// Memory that librdkafka may fill with records ahead of the engine (it counts uncompressed bytes, over all
/// partitions).
const PREFETCH_KIBIBYTES: &str = "16384";
/// The same as records: each costs some 350 bytes beside its payload, which the bound in bytes does not
/// count.
const PREFETCH_RECORDS: &str = "10000";
/// One answer of a broker, compressed; it comes on top of what is prefetched already.
const FETCH_BYTES_MAX: &str = "2097152";
/// The share of one partition in it, so that one that is behind does not fill the whole of it.
const PARTITION_FETCH_BYTES_MAX: &str = "524288";
/// Memory for records that the broker has not acknowledged yet.
const UNACKNOWLEDGED_KIBIBYTES: &str = "32768";
/// The same as records: each costs some 200 bytes beside its payload.
const UNACKNOWLEDGED_RECORDS_MAX: &str = "40000";
/// The largest batch that a producer makes of small records; a larger record travels alone.
const PRODUCER_BATCH_BYTES: &str = "1000000";

/// The property that says how often the cluster's topics are looked at, in milliseconds.
pub(crate) const REFRESH: &str = "topic.metadata.refresh.interval.ms";

/// The properties of a consumer in `group`.
pub(crate) fn consumer_config(config: &SourceConfig, group: &str, client_id: &str) -> ClientConfig {
    let mut client = common(&config.connection, client_id);
    // With the default of a second a reader a little slower than the fetcher falls to a tenth of its speed.
    client.set("fetch.queue.backoff.ms", "10");
    client.set("queued.max.messages.kbytes", PREFETCH_KIBIBYTES);
    client.set("queued.min.messages", PREFETCH_RECORDS);
    client.set("fetch.max.bytes", FETCH_BYTES_MAX);
    // A small record costs the library half a kilobyte beside its bytes.
    client.set("queued.min.messages", "30000");
    client.set("max.partition.fetch.bytes", PARTITION_FETCH_BYTES_MAX);
    // Also how often new topics of a pattern are looked for.
    client.set(REFRESH, "30000");
    overlay(&mut client, &[&config.connection.client, &config.client]);
    // The group protocol of KIP-848 leaves assignment and session to the broker, and refuses these two.
    if client.get("group.protocol") != Some("consumer") {
        if client.get("partition.assignment.strategy").is_none() {
            client.set("partition.assignment.strategy", "cooperative-sticky");
        }
        let session_ms = config.session_timeout.0.as_millis();
        client.set("session.timeout.ms", session_ms.to_string());
        if client.get("heartbeat.interval.ms").is_none() {
            // A third of it, as the Java client's documentation asks, and never more than a second: a member hears of a
            // rebalance with its next heartbeat, so this is what a partition waits for when its owner has left.
            client.set("heartbeat.interval.ms", (session_ms / 3).clamp(100, 1_000).to_string());
        }
    }
    client.set("group.id", group);
    client.set("enable.auto.commit", "false");
    client.set("enable.auto.offset.store", "false");
    client.set("auto.offset.reset", "error");
    client.set("isolation.level", config.isolation.as_str());
    client
}

/// The properties of an idempotent producer.
pub(crate) fn producer_config(config: &SinkConfig, client_id: &str) -> ClientConfig {
    let mut client = common(&config.connection, client_id);
    client.set("queue.buffering.max.messages", UNACKNOWLEDGED_RECORDS_MAX);
    client.set("queue.buffering.max.kbytes", UNACKNOWLEDGED_KIBIBYTES);
    // The broker judges what is too large, with the limit of the topic; the library's own would refuse what
    // it takes.
    client.set("message.max.bytes", "100000000");
    client.set("batch.size", PRODUCER_BATCH_BYTES);
    // How long a topic may be unknown, a just created one for example, before that is an error.
    client.set("topic.metadata.propagation.max.ms", "10000");
    overlay(&mut client, &[&config.connection.client, &config.client]);
    client.set("compression.type", config.compression.as_str());
    client.set("linger.ms", config.linger.0.as_millis().to_string());
    client.set("enable.idempotence", "true");
    client.set("acks", "all");
    client.set("message.timeout.ms", "0");
    client.set("partitioner", "murmur2_random");
    client
}

fn common(connection: &Connection, client_id: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &connection.brokers.0);
    client.set("client.id", client_id);
    client.set("socket.keepalive.enable", "true");
    client.set("reconnect.backoff.max.ms", "2000");
    client.set_log_level(RDKafkaLogLevel::Info);
    client
}

fn overlay(client: &mut ClientConfig, layers: &[&Properties]) {
    for (name, value) in layers.iter().flat_map(|layer| &layer.0) {
        client.set(name, value);
    }
}

/// Lets the library look at each property: an unknown name or a wrong value is found without the network.
pub(crate) fn check_properties(path: &str, properties: &Properties) -> Vec<Problem> {
    let wrong = |(name, value): (&String, &String)| {
        let mut client = ClientConfig::new();
        client.set(name, value);
        let Err(KafkaError::ClientConfig(_, says, ..)) = client.create_native_config() else {
            return None;
        };
        let says = says.trim_end_matches('.').replace('"', "`");
        Some(
            Problem::new(format!("{path}.{name}"), says)
                .remedy("see librdkafka's CONFIGURATION.md for what it takes"),
        )
    };
    properties.0.iter().filter_map(wrong).collect()
}

/// Something that is waited for. The first in order is the one shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// No broker answers.
    Brokers,
    /// A topic does not exist.
    Topics,
    /// The group cannot be asked, or an offset cannot be committed.
    Group,
}

/// All that is waited for at the moment, behind the one condition of this end of the pipeline.
pub(crate) struct Troubles {
    condition: Condition,
    now: Mutex<BTreeMap<Trouble, String>>,
    suspected: AtomicBool,
}

impl Troubles {
    pub(crate) fn new(condition: Condition) -> Self {
        Self { condition, now: Mutex::default(), suspected: AtomicBool::new(false) }
    }

    /// A connection failed. One broker of many, or all? The library does not always say, so somebody has to
    /// ask.
    pub(crate) fn suspect(&self) {
        self.suspected.store(true, Ordering::Release);
    }

    /// Whether to ask if a broker answers: because none did, or because of a suspicion, which is taken back
    /// by this.
    pub(crate) fn to_ask(&self) -> bool {
        self.suspected.swap(false, Ordering::AcqRel) || self.has(Trouble::Brokers)
    }

    /// Says it in the log when it is news.
    pub(crate) fn set(&self, trouble: Trouble, says: String) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.get(&trouble) != Some(&says) {
            tracing::warn!(reason = says, "waiting");
            now.insert(trouble, says);
            self.show(&now);
        }
    }

    /// It is over.
    pub(crate) fn clear(&self, trouble: Trouble) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(says) = now.remove(&trouble) {
            tracing::info!(reason = says, "no longer waiting");
            self.show(&now);
        }
    }

    /// Whether this is being waited for.
    pub(crate) fn has(&self, trouble: Trouble) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&trouble)
    }

    fn show(&self, now: &BTreeMap<Trouble, String>) {
        match now.values().next() {
            Some(says) => self.condition.waiting(says.clone()),
            None => self.condition.clear(),
        };
    }
}

/// The sentence for a cluster that does not answer.
pub(crate) fn no_broker(brokers: &str) -> String {
    format!(
        "no broker of {brokers} answers: waiting for one; see that the addresses are right and the brokers run"
    )
}

/// Whether a connection, or the way to one, failed.
pub(crate) fn is_connection(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut
    )
}

/// Whether the trouble is on the way to the brokers, or theirs for the moment: the library itself tries
/// again.
pub(crate) fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    is_connection(code)
        || matches!(
            code,
            Code::MessageTimedOut
                | Code::WaitingForCoordinator
                | Code::WaitCache
                | Code::TimedOutQueue
                | Code::RequestTimedOut
                | Code::NetworkException
                | Code::BrokerNotAvailable
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::ReplicaNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::RebalanceInProgress
                | Code::UnstableOffsetCommit
                | Code::OffsetNotAvailable
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::StaleMemberEpoch
        )
}

/// What is not allowed or cannot be proved, said with what has to be granted; `None` for every other code.
pub(crate) fn refused(code: RDKafkaErrorCode, what: &str) -> Option<Error> {
    use RDKafkaErrorCode as Code;
    let says = match code {
        Code::TopicAuthorizationFailed => format!("the broker does not allow this user {what}"),
        Code::GroupAuthorizationFailed => {
            format!("the broker does not allow this user the consumer group ({what})")
        }
        Code::ClusterAuthorizationFailed => {
            format!("the broker does not allow this user idempotent writes ({what})")
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            format!("the broker does not accept these credentials ({what})")
        }
        _ => return None,
    };
    Some(Error::fatal(says).remedy("grant it by an ACL or correct the credentials"))
}

/// The code inside an error of the wrapper, where it has one.
pub(crate) fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}

/// The sentence for a topic that does not exist, with those that have nearly its name.
pub(crate) fn no_topic(name: &str, brokers: &str, cluster: Option<&Metadata>) -> Error {
    let mut near: Vec<(usize, &str)> = Vec::new();
    for known in cluster.iter().flat_map(|metadata| metadata.topics()).map(|topic| topic.name()) {
        let distance = strsim::damerau_levenshtein(known, name);
        if known != name && distance <= 1 + name.len() / 5 {
            near.push((distance, known));
        }
    }
    near.sort_unstable();
    let near: Vec<String> = near.iter().take(3).map(|(_, known)| format!("`{known}`")).collect();
    let remedy = match near.as_slice() {
        [] => TOPIC_MISSING.remedy.to_owned(),
        near => format!("create it, or did you mean {}", near.join(" or ")),
    };
    TOPIC_MISSING.error(ErrorKind::Transient, &[("topic", &name), ("brokers", &brokers)]).remedy(remedy)
}

/// A line of the library's own log, at most `info` there: what people have to know is said in our own words.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{line}");
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// How long the question may take whether a broker answers, and how often it is asked.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long one question to the cluster may take before it is asked again.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// For `aqueduct plan`: `read_uncommitted` is worth saying, the default is not.
pub(crate) fn isolation_note(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "",
        Isolation::ReadUncommitted => ", read_uncommitted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_names_a_wrong_property() {
        let properties: Properties = serde_json::from_value(
            serde_json::json!({ "no.such": 1, "fetch.min.bytes": "many", "debug": "broker" }),
        )
        .unwrap();
        let problems = check_properties("client", &properties);
        let paths: Vec<&str> = problems.iter().map(|problem| &*problem.path).collect();
        assert_eq!(paths, ["client.fetch.min.bytes", "client.no.such"], "{problems:?}");
        assert!(problems[1].says.contains("No such configuration property"), "{problems:?}");
    }

    #[test]
    fn the_first_trouble_is_shown_until_all_are_over() {
        let condition = Condition::default();
        let troubles = Troubles::new(condition.clone());
        troubles.set(Trouble::Group, "group".into());
        troubles.set(Trouble::Brokers, "brokers".into());
        assert_eq!(condition.reason().as_deref(), Some("brokers"));
        troubles.clear(Trouble::Brokers);
        assert_eq!(condition.reason().as_deref(), Some("group"));
        troubles.clear(Trouble::Group);
        assert_eq!(condition.reason(), None);
    }
}
