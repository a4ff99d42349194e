//! The producer with its thread, which serves delivery reports whatever the engine does, and what its answers
//! mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{Error, ErrorKind, Result};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Headers, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use tokio::time::Instant;

use super::deliveries::{Answer, Deliveries};
use crate::client::{self, Deed, LOOK_AGAIN, Troubles, code_of, no_topic, refused};
use crate::config::SinkConfig;

const REPORT_WAIT: Duration = Duration::from_millis(100);

/// The producer; its thread ends with it.
pub(crate) struct Outbox {
    producer: Arc<BaseProducer<Reports>>,
    pub(crate) judge: Judge,
    ending: Arc<AtomicBool>,
}

impl Outbox {
    /// Makes the producer and starts its thread.
    pub(crate) fn open(
        config: &SinkConfig,
        context: &SinkContext,
        deliveries: Arc<Deliveries>,
    ) -> Result<Self> {
        let client_id = format!("aqueduct-{}-{}-{}", context.pipeline, context.task, context.lane);
        let brokers = config.connection.brokers.0.clone();
        let troubles = Troubles::new(context.condition.clone(), &config.connection)?;
        let client = client::producer_config(config, &client_id)?;
        let alone_above = client.get("batch.size").and_then(|bytes| bytes.parse().ok()).unwrap_or(usize::MAX);
        let judge = Judge { brokers, alone_above };
        let reports = Reports { deliveries, troubles, judge: judge.clone() };
        let producer: BaseProducer<Reports> = client
            .create_with_context(reports)
            .map_err(|error| Error::config("the Kafka client refuses its settings").caused_by(error))?;
        let producer = Arc::new(producer);
        let ending = Arc::new(AtomicBool::new(false));
        let (of_thread, end) = (producer.clone(), ending.clone());
        std::thread::Builder::new()
            .name("kafka-reports".into())
            .spawn(move || serve(&of_thread, &end))
            .map_err(|error| {
                Error::transient("cannot start the thread of the Kafka sink").caused_by(error)
            })?;
        Ok(Self { producer, judge, ending })
    }

    /// The producer itself.
    pub(crate) fn producer(&self) -> &BaseProducer<Reports> {
        &self.producer
    }
}

impl Drop for Outbox {
    /// The thread drops the producer, which may take half a second; what is queued then is thrown away.
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
    }
}

fn serve(producer: &BaseProducer<Reports>, ending: &AtomicBool) {
    let mut look_at = Instant::now();
    while !ending.load(Ordering::Acquire) {
        producer.poll(REPORT_WAIT);
        let Reports { troubles, .. } = &**producer.context();
        if Instant::now() < look_at {
            continue;
        }
        if let Some(error) = troubles.replaced() {
            producer.context().deliveries.fail(error);
        }
        troubles.ask(producer.client());
        look_at = Instant::now() + LOOK_AGAIN;
    }
}

/// Where the library's reports go.
pub(crate) struct Reports {
    deliveries: Arc<Deliveries>,
    troubles: Troubles,
    judge: Judge,
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some(error) = self.troubles.logged(level, facility, line) {
            self.deliveries.fail(error);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let failure = match code_of(&error) {
            RDKafkaErrorCode::Fatal => {
                let error = Error::fatal(format!("the Kafka producer gave up: {reason}"));
                Some(error.remedy("the pipeline starts again from its stored offsets"))
            }
            _ => self.troubles.heard(&error, reason, Deed { operation: "Write", ..Deed::default() }),
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
            Err((error, message)) => self.judge.answer(error, message.topic(), size_of(message)),
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

/// Knows what a refusal means for the record and for the pipeline.
#[derive(Clone)]
pub(crate) struct Judge {
    brokers: String,
    /// A record of more bytes travels alone in its request.
    alone_above: usize,
}

impl Judge {
    /// The answer for a record of that size.
    pub(crate) fn answer(&self, error: &KafkaError, topic: &str, record_bytes: usize) -> Answer {
        use RDKafkaErrorCode as Code;
        let code = code_of(error);
        if let Some(error) = refused(code, &format!("to write to topic `{topic}`")) {
            return Answer::Failed(error);
        }
        match code {
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
                self.too_large(topic, record_bytes)
            }
            Code::InvalidRecord | Code::InvalidTimestamp | Code::PolicyViolation => {
                let error = Error::bad_record(format!("topic `{topic}` refuses the record: {code}"));
                Answer::Rejected(
                    error.remedy(
                        "a compacted topic takes no record without a key, a topic may bound timestamps",
                    ),
                )
            }
            Code::InvalidDifferentRecord => Answer::SendAgain,
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                Answer::Failed(no_topic(topic, &self.brokers, None).into_kind(ErrorKind::Fatal))
            }
            _ => Answer::Failed(Error::fatal(format!("topic `{topic}` cannot be written: {code}"))),
        }
    }

    /// A record that travelled alone is meant by the refusal. A smaller one may have been in the company of
    /// others, and the topic takes smaller requests than the producer makes.
    fn too_large(&self, topic: &str, record_bytes: usize) -> Answer {
        if record_bytes > self.alone_above {
            let says = format!("the record of {record_bytes} bytes is too large for topic `{topic}`");
            let remedy = "raise max.message.bytes of the topic, or set such records aside";
            return Answer::Rejected(Error::bad_record(says).remedy(remedy));
        }
        let error = Error::fatal(format!("topic `{topic}` takes smaller batches than the producer makes"));
        let remedy = "set sink.kafka.client.batch.size to max.message.bytes of the topic or less";
        Answer::Failed(error.remedy(remedy))
    }
}
