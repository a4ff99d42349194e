//! What an error of a producer means for the record and for the pipeline: set aside, sent again, or the end.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_api::{Error, ErrorKind};
use aqueduct_kafka_client::{Access, ClientHealth, code_of};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::deliveries::Outcome;
use crate::diagnosis::{
    PRODUCER_FENCED, RECORD_REFUSED, RECORD_TIME, RECORD_TOO_LARGE, TRANSACTION_TOO_LONG,
};

/// What concerns a transactional producer alone.
pub(crate) struct Fencing {
    pub(crate) transactional_id: String,
    /// What all ids of the pipeline begin with.
    pub(crate) prefix: String,
}

/// What an error means for the record and for the pipeline.
#[derive(Clone)]
pub(crate) struct ErrorClassifier {
    /// The file names the topic, no record does.
    one_topic: bool,
    /// Of a transactional producer.
    fencing: Option<Arc<Fencing>>,
    health: Arc<ClientHealth>,
    /// A larger record is a batch of its own.
    pub(crate) alone_above: usize,
    /// The one record in flight was sent alone.
    pub(crate) alone: Arc<AtomicBool>,
}

impl ErrorClassifier {
    pub(crate) fn new(
        one_topic: bool,
        fencing: Option<Fencing>,
        health: Arc<ClientHealth>,
        alone_above: usize,
    ) -> Self {
        Self { one_topic, fencing: fencing.map(Arc::new), health, alone_above, alone: Arc::default() }
    }

    /// The outcome of a record of that size that librdkafka could not write.
    pub(crate) fn classify(&self, error: &KafkaError, topic: &str, record_bytes: usize) -> Outcome {
        let code = code_of(error);
        let large = matches!(
            code,
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::MessageBatchTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
        );
        // librdkafka says which records of a request are the cause only for one that was sent alone, and for several that were
        // refused together (rd_kafka_msgbatch_handle_Produce_result_record_errors).
        let alone = self.alone.load(Ordering::Acquire) || (large && record_bytes > self.alone_above);
        self.refused(code, topic, record_bytes, alone)
    }

    /// The outcome of a record that was refused, `alone` when it is known that the record itself is the cause.
    pub(crate) fn refused(
        &self,
        code: RDKafkaErrorCode,
        topic: &str,
        record_bytes: usize,
        alone: bool,
    ) -> Outcome {
        use RDKafkaErrorCode as Code;
        match code {
            Code::PurgeQueue
            | Code::PurgeInflight
            | Code::State
            | Code::Fatal
            | Code::Fenced
            | Code::MessageTimedOut
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::InvalidTransactionalState
            | Code::UnknownProducerId
            | Code::OutOfOrderSequenceNumber
                if self.fencing.is_some() =>
            {
                Outcome::Aborted
            }
            // The topic that the file names concerns every record, and a right can be granted. One that a record
            // names does not hold up the others.
            Code::TopicAuthorizationFailed if self.one_topic => {
                Outcome::RetryLater(not_writable(topic, &self.health))
            }
            Code::TopicAuthorizationFailed => Outcome::Rejected(not_writable(topic, &self.health)),
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
                if !alone {
                    return Outcome::RefusedInBatch { too_large: true };
                }
                let values: [(&str, &dyn Display); 2] = [("topic", &topic), ("bytes", &record_bytes)];
                Outcome::Rejected(RECORD_TOO_LARGE.error(ErrorKind::BadRecord, &values))
            }
            Code::InvalidTimestamp | Code::InvalidRecord if !alone => {
                Outcome::RefusedInBatch { too_large: false }
            }
            Code::InvalidTimestamp => {
                Outcome::Rejected(RECORD_TIME.error(ErrorKind::BadRecord, &[("topic", &topic)]))
            }
            Code::InvalidRecord | Code::PolicyViolation | Code::InvalidTopic => {
                let values: [(&str, &dyn Display); 2] = [("topic", &topic), ("reason", &code)];
                Outcome::Rejected(RECORD_REFUSED.error(ErrorKind::BadRecord, &values))
            }
            Code::InvalidDifferentRecord => Outcome::Retry,
            // It existed before its first record, so it was deleted.
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                let says = "was deleted while it was written";
                Outcome::RetryLater(Error::transient(format!("topic `{topic}` {says}")))
            }
            code => {
                let access = Access { operation: "Write", topic: Some(topic), group: None };
                Outcome::Failed(
                    self.health.denied(code, "", access).unwrap_or_else(|| {
                        Error::fatal(format!("topic `{topic}` cannot be written: {code}"))
                    }),
                )
            }
        }
    }

    /// The error for a producer that cannot go on, for this reason.
    pub(crate) fn fatal(&self, reason: &str) -> Error {
        let Some(Fencing { transactional_id, prefix }) = self.fencing.as_deref() else {
            return Error::fatal(format!("the Kafka producer gave up: {reason}"))
                .remedy("the pipeline starts again from its stored offsets");
        };
        if reason.contains("larger than the maximum") {
            return TRANSACTION_TOO_LONG.error(ErrorKind::Config, &[]);
        }
        if reason.contains("Transactional Id authorization failed") {
            return self.health.transactional_id_denial(transactional_id, prefix);
        }
        let values: [(&str, &dyn Display); 2] = [("transactional_id", transactional_id), ("reason", &reason)];
        PRODUCER_FENCED.error(ErrorKind::Fatal, &values)
    }
}

/// The error for a topic that this user may not write to.
pub(crate) fn not_writable(topic: &str, health: &ClientHealth) -> Error {
    let access = Access { operation: "Write", topic: Some(topic), ..Access::default() };
    let denied = health.denied(RDKafkaErrorCode::TopicAuthorizationFailed, "", access);
    denied.unwrap_or_else(|| Error::fatal("not allowed")).into_kind(ErrorKind::BadRecord)
}
