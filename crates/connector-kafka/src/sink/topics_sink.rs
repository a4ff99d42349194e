//! The sink that writes without transactions: records go to an idempotent producer as fast as it takes them, and count
//! when all replicas have them. What is refused and may pass later is sent again here.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{Batch, Durable, Error, ErrorKind, Record, Result, Sink, Written};
use aqueduct_kafka_client::native::topic::Topic;
use aqueduct_kafka_client::{WaitReason, code_of};
use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::deliveries::{Deliveries, Outcome, Retry, delivery_id};
use super::librdkafka::{LibrdkafkaProducer, Reports, Settings};
use super::own_producer::{self, Given, OwnProducer};
use super::topic_name::topic_of;
use super::topics::Topics;
use crate::config::SinkConfig;

/// How long a topic that took no record is left alone before one record is tried; each further pause is twice as long.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Writes to topics by name.
pub(crate) struct TopicsSink {
    config: Arc<SinkConfig>,
    pub(super) context: SinkContext,
    transactional_id: Option<String>,
    /// The largest batch of the producer, where it was found out.
    pub(super) batch_bytes_max: Option<usize>,
    pub(super) librdkafka: LibrdkafkaProducer,
    /// Where it does what is asked for; otherwise librdkafka writes.
    own: Option<OwnProducer>,
    pub(super) deliveries: Arc<Deliveries>,
    topics: Topics,
    /// librdkafka's topic of the record before, which is nearly always that of the next.
    last_topic: Option<Topic<Reports>>,
    /// How long a topic that takes no records is left alone.
    retry_pause: Duration,
    /// Memory for the name of a topic that a record names.
    topic: String,
}

#[async_trait]
impl Sink for TopicsSink {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        self.send_again().await?;
        while self.is_outdated() && !self.deliveries.all_complete() {
            self.deliveries.changed().await?;
            self.send_again().await?;
        }
        self.renew()?;
        let number = self.deliveries.open(batch);
        for (index, record) in batch.records.iter().enumerate() {
            self.send(record, delivery_id(number, index)).await?;
        }
        self.deliveries.all_sent(number);
        self.deliveries.collect()
    }

    async fn tick(&mut self) -> Result<Written> {
        self.send_again().await?;
        if self.deliveries.all_complete() {
            self.renew()?;
        }
        self.deliveries.collect()
    }

    async fn flush(&mut self) -> Result<Written> {
        let mut all = Written::nothing();
        loop {
            self.send_again().await?;
            self.own.iter().for_each(OwnProducer::flush);
            let written = self.deliveries.collect()?;
            all.rejected.extend(written.rejected);
            if let (Durable::Batches(all), Durable::Batches(more)) = (&mut all.durable, written.durable) {
                all.extend(more);
            }
            if self.deliveries.is_empty() {
                return Ok(all);
            }
            self.deliveries.changed().await?;
        }
    }
}

impl TopicsSink {
    /// Makes the producers; they connect in the background, and a broker that is away is waited for. With a transactional id
    /// for a sink of transactions.
    pub(super) fn open(
        config: Arc<SinkConfig>,
        context: &SinkContext,
        transactional_id: Option<String>,
    ) -> Result<Self> {
        let deliveries = Arc::new(Deliveries::new(&context.wakeup));
        let own = transactional_id.is_none() && own_producer::suits(&config);
        let settings =
            Settings { transactional_id: transactional_id.as_deref(), batch_bytes_max: None, writes: !own };
        let librdkafka = LibrdkafkaProducer::open(&config, context, deliveries.clone(), settings)?;
        let own = own.then(|| OwnProducer::open(&config, context, deliveries.clone(), &librdkafka));
        Ok(Self {
            topics: Topics::new(config.clone()),
            config,
            context: context.clone(),
            transactional_id,
            batch_bytes_max: None,
            librdkafka,
            own,
            deliveries,
            last_topic: None,
            retry_pause: RETRY_PAUSE_MIN,
            topic: String::new(),
        })
    }

    /// Whether the producer has credentials that were replaced on disk.
    fn is_outdated(&self) -> bool {
        self.librdkafka.outdated.load(Ordering::Acquire)
    }

    /// Makes the producers anew with the credentials of now, if theirs were replaced; nothing may be in flight. librdkafka reads
    /// them once, when a client is made.
    pub(super) fn renew(&mut self) -> Result<bool> {
        let outdated = self.is_outdated();
        if outdated {
            tracing::info!(
                pipeline = %self.context.pipeline,
                brokers = self.config.connection.brokers.0,
                "credentials were replaced on disk: the next records are written with the new ones"
            );
            self.open_again()?;
        }
        Ok(outdated)
    }

    /// Makes the producers anew; nothing may be in flight.
    pub(super) fn open_again(&mut self) -> Result<()> {
        // It names the producer of before.
        self.last_topic = None;
        let settings = Settings {
            transactional_id: self.transactional_id.as_deref(),
            batch_bytes_max: self.batch_bytes_max,
            writes: self.own.is_none(),
        };
        let (config, context, deliveries) = (&self.config, &self.context, &self.deliveries);
        self.librdkafka = LibrdkafkaProducer::open(config, context, deliveries.clone(), settings)?;
        if self.own.is_some() {
            self.own = Some(OwnProducer::open(config, context, deliveries.clone(), &self.librdkafka));
        }
        Ok(())
    }

    /// Gives one record to the producer, waiting while its queue is full. Nothing overtakes it.
    pub(super) async fn send(&mut self, record: &Record, delivery_id: usize) -> Result<()> {
        let topic = match topic_of(&self.config.topic, record, &mut self.topic) {
            Ok(topic) => topic,
            Err(error) => {
                self.deliveries.complete(delivery_id, Outcome::Rejected(error));
                return Ok(());
            }
        };
        if !self.topics.is_last(topic)
            && let Some(error) = self.topics.admit(topic, &self.librdkafka.handle).await?
        {
            self.deliveries.complete(delivery_id, Outcome::Rejected(error));
            return Ok(());
        }
        if let Some(own) = &mut self.own {
            loop {
                match own.send(topic, record, delivery_id) {
                    Given::Accepted => return Ok(()),
                    Given::Complete(outcome) => {
                        self.deliveries.complete(delivery_id, outcome);
                        return self.deliveries.check();
                    }
                    Given::NotYet => self.deliveries.changed().await?,
                }
            }
        }
        let topic_handle = match &mut self.last_topic {
            Some(last) if last.name() == topic => last,
            last => last.insert(Topic::new(&self.librdkafka.handle.producer, topic).map_err(no_handle)?),
        };
        loop {
            match topic_handle.send(record, delivery_id) {
                Ok(()) => return Ok(()),
                // Why librdkafka cannot go on comes by its error callback.
                Err(Code::QueueFull | Code::Fatal) => {}
                Err(code) => {
                    let error = KafkaError::MessageProduction(code);
                    let outcome =
                        match self.librdkafka.classifier.classify(&error, topic, record.memory_bytes()) {
                            // The producer remembers this until it is asked about the topic again.
                            Outcome::Rejected(says) if code_of(&error) == Code::TopicAuthorizationFailed => {
                                Outcome::Rejected(self.topics.refuse(topic, says))
                            }
                            outcome => outcome,
                        };
                    self.deliveries.complete(delivery_id, outcome);
                    return self.deliveries.check();
                }
            }
            self.deliveries.changed().await?;
        }
    }

    /// Sends again what was refused and may be written later, and with it what followed it in the same topic. A batch is refused as
    /// a whole when one record in it is, so its records are sent in ever smaller groups until one is refused alone; a topic that
    /// takes none is tried with a group of one after a pause. Groups grow again while they are written, and nothing overtakes a
    /// group that is not.
    async fn send_again(&mut self) -> Result<()> {
        let mut group_max = usize::MAX;
        while self.deliveries.must_retry() {
            while !self.deliveries.all_complete() {
                self.deliveries.changed().await?;
            }
            let retry_reason = self.deliveries.take_retry_reason();
            if let Some(error) = &retry_reason.retry_later {
                self.hold(error).await;
                group_max = 1;
            } else if retry_reason.candidates > 0 {
                group_max = (group_max.min(retry_reason.candidates) / 2).max(1);
            }
            // Our own producer returns with a record what followed it in its partition; librdkafka has sent it already.
            let retries = self.deliveries.take_retries(self.own.is_some());
            let topics = self.topics_again(&retries);
            self.own.iter().for_each(OwnProducer::unblock);
            let (mut due, mut group) = (self.deliveries.completed(), 0);
            for Retry { number, batch, indices, .. } in retries {
                for index in indices {
                    let (Some(record), delivery_id) = (batch.records.get(index), delivery_id(number, index))
                    else {
                        continue;
                    };
                    due += 1;
                    if group_max < usize::MAX && self.deliveries.must_retry() {
                        self.deliveries.complete(delivery_id, Outcome::Retry);
                        continue;
                    }
                    if topics.as_ref().is_some_and(|topics| !topics.contains(&self.name(record))) {
                        self.deliveries.complete(delivery_id, Outcome::Stored);
                        continue;
                    }
                    self.librdkafka.classifier.alone.store(group_max == 1, Ordering::Release);
                    self.send(record, delivery_id).await?;
                    group += 1;
                    if group == group_max {
                        while self.deliveries.completed() < due {
                            self.deliveries.changed().await?;
                        }
                        if !self.deliveries.must_retry() {
                            (group, group_max) = (0, group_max.saturating_mul(2));
                            self.passed();
                        }
                    }
                }
                self.deliveries.all_sent(number);
            }
        }
        Ok(())
    }

    /// A group was written.
    pub(super) fn passed(&mut self) {
        self.librdkafka.classifier.alone.store(false, Ordering::Release);
        self.librdkafka.handle.health.clear(WaitReason::Topics);
        self.retry_pause = RETRY_PAUSE_MIN;
    }

    pub(super) async fn hold(&mut self, error: &Error) {
        if error.kind() != ErrorKind::Transient {
            self.librdkafka.handle.health.set(WaitReason::Topics, error.to_string());
        }
        tokio::time::sleep(self.retry_pause).await;
        self.retry_pause = (self.retry_pause * 2).min(RETRY_PAUSE_MAX);
        self.topics.forget();
    }

    /// The topics that records were refused for; `None` where that is all of them.
    fn topics_again(&mut self, retries: &[Retry]) -> Option<HashSet<String>> {
        if self.config.topic.constant().is_some() || self.own.is_some() {
            return None;
        }
        let mut topics = HashSet::new();
        for Retry { batch, unsent, .. } in retries {
            for record in unsent.iter().filter_map(|index| batch.records.get(*index)) {
                topics.insert(self.name(record));
            }
        }
        Some(topics)
    }

    fn name(&mut self, record: &Record) -> String {
        topic_of(&self.config.topic, record, &mut self.topic).map(str::to_owned).unwrap_or_default()
    }
}

fn no_handle(code: Code) -> Error {
    Error::fatal("the Kafka client does not take the name of a topic")
        .caused_by(KafkaError::MessageProduction(code))
}
