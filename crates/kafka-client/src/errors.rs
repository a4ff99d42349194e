//! What error codes mean, and the sentences for a cluster that does not answer and a topic that does not exist.

use aqueduct_api::{Error, ErrorKind};
use kafka_protocol::ResponseError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use crate::diagnosis::connecting::{NO_BROKER, TOPIC_MISSING};

/// The sentence for a cluster that does not answer, without a preflight.
pub fn no_broker(brokers: &str) -> String {
    NO_BROKER.fill(&[("brokers", &brokers)]).to_string()
}

/// Whether a connection failed, or could not be made.
pub fn is_connection(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut
    )
}

/// Whether the error is retriable: librdkafka itself tries again.
pub fn is_passing(code: RDKafkaErrorCode) -> bool {
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

/// The code inside an error of the wrapper, where it has one.
pub fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}

/// Kafka's error code as librdkafka names it, for those that mean something for a record.
pub fn librdkafka_code(code: i16) -> RDKafkaErrorCode {
    use RDKafkaErrorCode as Code;
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

/// The name of Kafka's error code.
pub fn error_name(code: i16) -> String {
    ResponseError::try_from_code(code).map_or_else(|| code.to_string(), |error| error.to_string())
}

/// The sentence for a topic that does not exist, with those that have nearly its name.
pub fn no_topic(name: &str, brokers: &str, cluster: Option<&Metadata>) -> Error {
    let remedy = match cluster.and_then(|cluster| near_topics(name, cluster)) {
        None => TOPIC_MISSING.remedy.to_owned(),
        Some(near) => format!("create it, or did you mean {near}"),
    };
    TOPIC_MISSING.error(ErrorKind::Transient, &[("topic", &name), ("brokers", &brokers)]).remedy(remedy)
}

/// Up to three topics that have nearly this name: `` `orders` or `order` ``.
pub fn near_topics(name: &str, cluster: &Metadata) -> Option<String> {
    let known = cluster.topics().iter().map(|topic| topic.name()).filter(|known| *known != name);
    let mut near: Vec<(usize, &str)> =
        known.map(|known| (strsim::damerau_levenshtein(known, name), known)).collect();
    near.retain(|(distance, _)| *distance <= 1 + name.len() / 5);
    near.sort_unstable();
    let near: Vec<String> = near.iter().take(3).map(|(_, known)| format!("`{known}`")).collect();
    (!near.is_empty()).then(|| near.join(" or "))
}
