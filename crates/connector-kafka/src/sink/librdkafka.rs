//! librdkafka's producer with its thread, which serves delivery reports whatever the engine does. Where our own producer
//! writes, this one is asked about topics and reports why a broker cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{Error, Result, Unfinished};
use aqueduct_kafka_client::{Access, CHECK_INTERVAL, ClientHealth, code_of, fatal_denial};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Headers, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext, PurgeConfig};
use tokio::time::Instant;

use super::classifier::{ErrorClassifier, Fencing};
use super::deliveries::{Deliveries, Outcome};
use super::watch::{Throttled, Watch};
use crate::client;
use crate::config::SinkConfig;

const REPORT_WAIT: Duration = Duration::from_millis(100);

/// The producer; its thread ends with it.
pub(crate) struct LibrdkafkaProducer {
    pub(crate) handle: ProducerHandle,
    pub(crate) classifier: ErrorClassifier,
    /// The files with credentials have another content: this producer cannot take it.
    pub(crate) outdated: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
}

/// The producer, and where its health is shown.
#[derive(Clone)]
pub(crate) struct ProducerHandle {
    pub(crate) producer: Arc<BaseProducer<Reports>>,
    pub(crate) health: Arc<ClientHealth>,
    pub(crate) throttled: Arc<Throttled>,
}

/// What differs from one sink to the next, and from one producer of a sink to its successor.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings<'a> {
    /// Of a producer of transactions.
    pub(crate) transactional_id: Option<&'a str>,
    /// The largest batch, where it was found out.
    pub(crate) batch_bytes_max: Option<usize>,
    /// Whether it writes the records; otherwise it never has anything to send.
    pub(crate) writes: bool,
}

impl LibrdkafkaProducer {
    /// Makes the producer and starts its thread.
    pub(crate) fn open(
        config: &Arc<SinkConfig>,
        context: &SinkContext,
        deliveries: Arc<Deliveries>,
        Settings { transactional_id, batch_bytes_max, writes }: Settings<'_>,
    ) -> Result<Self> {
        let client_id = format!("aqueduct-{}-{}-{}", context.pipeline, context.task, context.lane);
        let health = Arc::new(ClientHealth::new(context.condition.clone(), &config.connection)?);
        let mut client = client::producer_config(config, &client_id, transactional_id)?;
        if let Some(bytes) = batch_bytes_max {
            client.set("batch.size", bytes.to_string());
        }
        let alone_above = client.get("batch.size").and_then(|bytes| bytes.parse().ok()).unwrap_or(usize::MAX);
        let fencing = transactional_id.map(|id| {
            let prefix = config.transactional_ids(&context.pipeline);
            Fencing { transactional_id: id.to_owned(), prefix }
        });
        let one_topic = config.topic.constant().is_some();
        let classifier = ErrorClassifier::new(one_topic, fencing, health.clone(), alone_above);
        let throttled = Arc::new(Throttled::new(context));
        let reports = Reports {
            deliveries: deliveries.clone(),
            health: health.clone(),
            classifier: classifier.clone(),
            throttled: Arc::clone(&throttled),
            topic: config.topic.constant().map(str::to_owned),
            _unfinished: writes.then(|| context.unfinished.clone()),
        };
        let producer: BaseProducer<Reports> = client
            .create_with_context(reports)
            .map_err(|error| Error::config("the Kafka client refuses its settings").caused_by(error))?;
        let handle = ProducerHandle { producer: Arc::new(producer), health, throttled };
        let ending = Arc::new(AtomicBool::new(false));
        let watch = Watch::new(config.clone(), handle.health.clone(), deliveries);
        let outdated = Arc::new(AtomicBool::new(false));
        let (of_thread, end, old) = (handle.clone(), ending.clone(), outdated.clone());
        std::thread::Builder::new()
            .name("kafka-reports".into())
            .spawn(move || serve(&of_thread, watch, &end, &old))
            .map_err(|error| {
                Error::transient("cannot start the thread of the Kafka sink").caused_by(error)
            })?;
        Ok(Self { handle, classifier, outdated, ending })
    }
}

impl Drop for LibrdkafkaProducer {
    /// What is queued is thrown away now, also what waits to be sent again: who reads these records next may write them before
    /// the thread is here again. It drops the producer, which may take half a second.
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.handle.producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }
}

fn serve(handle: &ProducerHandle, mut watch: Watch, ending: &AtomicBool, outdated: &AtomicBool) {
    let ProducerHandle { producer, health, .. } = handle;
    let mut check_at = Instant::now();
    while !ending.load(Ordering::Acquire) {
        producer.poll(REPORT_WAIT);
        if Instant::now() < check_at {
            continue;
        }
        if !outdated.load(Ordering::Acquire) && health.credentials_replaced(producer.client()).is_some() {
            outdated.store(true, Ordering::Release);
            producer.context().deliveries.notify();
        }
        health.probe(producer.client());
        watch.check();
        check_at = Instant::now() + CHECK_INTERVAL;
    }
}

/// The context of the client: where delivery reports and errors go.
pub(crate) struct Reports {
    deliveries: Arc<Deliveries>,
    health: Arc<ClientHealth>,
    classifier: ErrorClassifier,
    throttled: Arc<Throttled>,
    /// Where the file names it.
    topic: Option<String>,
    /// Dropped with the producer, by its last owner.
    _unfinished: Option<Unfinished>,
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some(error) = self.health.client_log(level, facility, line) {
            self.deliveries.fail(error);
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.throttled.statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let access = Access { operation: "Write", topic: self.topic.as_deref(), group: None };
        let failure = match code_of(&error) {
            RDKafkaErrorCode::Fatal => {
                let denied = fatal_denial(reason).and_then(|code| self.health.denied(code, reason, access));
                Some(denied.unwrap_or_else(|| self.classifier.fatal(reason)))
            }
            _ => self.health.client_error(&error, reason, access),
        };
        if let Some(error) = failure {
            self.deliveries.fail(error);
        }
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        self.health.oauth_token()
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery_id: usize) {
        let outcome = match result {
            Ok(_) => Outcome::Stored,
            Err((error, message)) => {
                self.deliveries.require_abort();
                self.classifier.classify(error, message.topic(), size_of(message))
            }
        };
        self.deliveries.complete(delivery_id, outcome);
    }
}

fn size_of(message: &BorrowedMessage<'_>) -> usize {
    let headers = message.headers().map_or(0, |headers| {
        headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum()
    });
    message.key_len() + message.payload_len() + headers
}
