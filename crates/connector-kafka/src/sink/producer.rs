//! The producer with its thread, which serves delivery reports whatever the engine does, and what its answers
//! mean.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{Error, ErrorKind, Result, Unfinished};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Headers, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext, PurgeConfig};
use tokio::time::Instant;

use super::deliveries::{Answer, Deliveries};
use super::topics::not_writable;
use super::watch::{Throttled, Watch};
use super::writer::Writer;
use crate::client::{self, Deed, LOOK_AGAIN, Troubles, code_of, fatal_denial};
use crate::config::SinkConfig;
use crate::diagnosis::{
    PRODUCER_FENCED, RECORD_REFUSED, RECORD_TIME, RECORD_TOO_LARGE, TRANSACTION_TOO_LONG,
};

const REPORT_WAIT: Duration = Duration::from_millis(100);

/// The producer; its thread ends with it.
pub(crate) struct Outbox {
    pub(crate) reporting: Reporting,
    pub(crate) judge: Judge,
    /// The files with credentials have another content: this producer cannot take it.
    pub(crate) outdated: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
}

/// The producer, and where its troubles are shown.
#[derive(Clone)]
pub(crate) struct Reporting {
    pub(crate) producer: Arc<BaseProducer<Reports>>,
    pub(crate) troubles: Arc<Troubles>,
    pub(crate) throttled: Arc<Throttled>,
}

impl Outbox {
    /// Makes the producer and starts its thread.
    pub(crate) fn open(
        config: &Arc<SinkConfig>,
        context: &SinkContext,
        deliveries: Arc<Deliveries>,
        transactional_id: Option<&str>,
        batch_bytes_max: Option<usize>,
    ) -> Result<Self> {
        let client_id = format!("aqueduct-{}-{}-{}", context.pipeline, context.task, context.lane);
        let troubles = Arc::new(Troubles::new(context.condition.clone(), &config.connection)?);
        let mut client = client::producer_config(config, &client_id, transactional_id)?;
        if let Some(bytes) = batch_bytes_max {
            client.set("batch.size", bytes.to_string());
        }
        let alone_above = client.get("batch.size").and_then(|bytes| bytes.parse().ok()).unwrap_or(usize::MAX);
        let judge = Judge {
            one_topic: config.topic.constant().is_some(),
            fencing: transactional_id.map(|id| {
                let prefix = config.transactional_ids(&context.pipeline);
                Arc::new(Fencing { transactional_id: id.to_owned(), prefix })
            }),
            troubles: troubles.clone(),
            alone_above,
            alone: Arc::default(),
        };
        let throttled = Arc::new(Throttled::new(context));
        let reports = Reports {
            deliveries: deliveries.clone(),
            troubles: troubles.clone(),
            judge: judge.clone(),
            throttled: Arc::clone(&throttled),
            topic: config.topic.constant().map(str::to_owned),
            // Where our own producer writes, this one never has anything to send.
            _unfinished: (transactional_id.is_some() || !Writer::suits(config))
                .then(|| context.unfinished.clone()),
        };
        let producer: BaseProducer<Reports> = client
            .create_with_context(reports)
            .map_err(|error| Error::config("the Kafka client refuses its settings").caused_by(error))?;
        let reporting = Reporting { producer: Arc::new(producer), troubles, throttled };
        let ending = Arc::new(AtomicBool::new(false));
        let watch = Watch::new(config.clone(), reporting.troubles.clone(), deliveries);
        let outdated = Arc::new(AtomicBool::new(false));
        let (of_thread, end, old) = (reporting.clone(), ending.clone(), outdated.clone());
        std::thread::Builder::new()
            .name("kafka-reports".into())
            .spawn(move || serve(&of_thread, watch, &end, &old))
            .map_err(|error| {
                Error::transient("cannot start the thread of the Kafka sink").caused_by(error)
            })?;
        Ok(Self { reporting, judge, outdated, ending })
    }
}

impl Drop for Outbox {
    /// What is queued is thrown away now, also what waits to be sent again: who reads these records next may write them before
    /// the thread is here again. It drops the producer, which may take half a second.
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.reporting.producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }
}

fn serve(reporting: &Reporting, mut watch: Watch, ending: &AtomicBool, outdated: &AtomicBool) {
    let Reporting { producer, troubles, .. } = reporting;
    let mut look_at = Instant::now();
    while !ending.load(Ordering::Acquire) {
        producer.poll(REPORT_WAIT);
        if Instant::now() < look_at {
            continue;
        }
        if !outdated.load(Ordering::Acquire) && troubles.replaced(producer.client()).is_some() {
            outdated.store(true, Ordering::Release);
            producer.context().deliveries.ring();
        }
        troubles.ask(producer.client());
        watch.look();
        look_at = Instant::now() + LOOK_AGAIN;
    }
}

/// Where the library's reports go.
pub(crate) struct Reports {
    deliveries: Arc<Deliveries>,
    troubles: Arc<Troubles>,
    judge: Judge,
    throttled: Arc<Throttled>,
    /// Where the file names it.
    topic: Option<String>,
    /// The producer drops this when it is gone, whoever has held it last.
    _unfinished: Option<Unfinished>,
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some(error) = self.troubles.logged(level, facility, line) {
            self.deliveries.fail(error);
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.throttled.look(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let deed = Deed { operation: "Write", topic: self.topic.as_deref(), group: None };
        let failure = match code_of(&error) {
            RDKafkaErrorCode::Fatal => {
                let denied = fatal_denial(reason).and_then(|code| self.troubles.denied(code, reason, deed));
                Some(denied.unwrap_or_else(|| self.judge.over(reason)))
            }
            _ => self.troubles.heard(&error, reason, deed),
        };
        if let Some(error) = failure {
            self.deliveries.fail(error);
        }
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        self.troubles.token()
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let answer = match result {
            Ok(_) => Answer::Stored,
            Err((error, message)) => {
                self.deliveries.mar();
                self.judge.answer(error, message.topic(), size_of(message))
            }
        };
        self.deliveries.answer(ticket, answer);
    }
}

fn size_of(message: &BorrowedMessage<'_>) -> usize {
    let headers = message.headers().map_or(0, |headers| {
        headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum()
    });
    message.key_len() + message.payload_len() + headers
}

/// What concerns a transactional producer alone.
pub(crate) struct Fencing {
    transactional_id: String,
    /// What all ids of the pipeline begin with.
    prefix: String,
}

/// Knows what a refusal means for the record and for the pipeline.
#[derive(Clone)]
pub(crate) struct Judge {
    /// The file names the topic, no record does.
    one_topic: bool,
    /// Of a transactional producer.
    fencing: Option<Arc<Fencing>>,
    troubles: Arc<Troubles>,
    /// A record of more bytes travels alone in its request.
    pub(crate) alone_above: usize,
    /// The one record under way was sent alone.
    pub(crate) alone: Arc<AtomicBool>,
}

impl Judge {
    /// The answer for a record of that size that the library could not write.
    pub(crate) fn answer(&self, error: &KafkaError, topic: &str, record_bytes: usize) -> Answer {
        let code = code_of(error);
        let large = matches!(
            code,
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::MessageBatchTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
        );
        // The library says only of a record that travelled alone, and of several that were refused together, which
        // of a request are meant (rd_kafka_msgbatch_handle_Produce_result_record_errors).
        let alone = self.alone.load(Ordering::Acquire) || (large && record_bytes > self.alone_above);
        self.refused(code, topic, record_bytes, alone)
    }

    /// The answer for a record that was refused, `alone` when it is known to be for its own sake.
    pub(crate) fn refused(
        &self,
        code: RDKafkaErrorCode,
        topic: &str,
        record_bytes: usize,
        alone: bool,
    ) -> Answer {
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
                Answer::Undone
            }
            // The topic that the file names concerns every record, and a right can be granted. One that a record
            // names does not hold up the others.
            Code::TopicAuthorizationFailed if self.one_topic => {
                Answer::Later(not_writable(topic, &self.troubles))
            }
            Code::TopicAuthorizationFailed => Answer::Rejected(not_writable(topic, &self.troubles)),
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
                if !alone {
                    return Answer::Suspected { too_large: true };
                }
                let values: [(&str, &dyn Display); 2] = [("topic", &topic), ("bytes", &record_bytes)];
                Answer::Rejected(RECORD_TOO_LARGE.error(ErrorKind::BadRecord, &values))
            }
            Code::InvalidTimestamp | Code::InvalidRecord if !alone => Answer::Suspected { too_large: false },
            Code::InvalidTimestamp => {
                Answer::Rejected(RECORD_TIME.error(ErrorKind::BadRecord, &[("topic", &topic)]))
            }
            Code::InvalidRecord | Code::PolicyViolation | Code::InvalidTopic => {
                let values: [(&str, &dyn Display); 2] = [("topic", &topic), ("reason", &code)];
                Answer::Rejected(RECORD_REFUSED.error(ErrorKind::BadRecord, &values))
            }
            Code::InvalidDifferentRecord => Answer::SendAgain,
            // It was there before its first record: somebody deleted it.
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                let says = "was deleted while it was written";
                Answer::Later(Error::transient(format!("topic `{topic}` {says}")))
            }
            code => {
                let deed = Deed { operation: "Write", topic: Some(topic), group: None };
                Answer::Failed(
                    self.troubles.denied(code, "", deed).unwrap_or_else(|| {
                        Error::fatal(format!("topic `{topic}` cannot be written: {code}"))
                    }),
                )
            }
        }
    }

    /// The producer is of no use any more, for this reason.
    pub(crate) fn over(&self, reason: &str) -> Error {
        let Some(Fencing { transactional_id, prefix }) = self.fencing.as_deref() else {
            return Error::fatal(format!("the Kafka producer gave up: {reason}"))
                .remedy("the pipeline starts again from its stored offsets");
        };
        if reason.contains("larger than the maximum") {
            return TRANSACTION_TOO_LONG.error(ErrorKind::Config, &[]);
        }
        if reason.contains("Transactional Id authorization failed") {
            return self.troubles.denied_transactions(transactional_id, prefix);
        }
        let values: [(&str, &dyn Display); 2] = [("transactional_id", transactional_id), ("reason", &reason)];
        PRODUCER_FENCED.error(ErrorKind::Fatal, &values)
    }
}
