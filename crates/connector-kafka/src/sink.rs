//! The sink: records go to an idempotent producer as fast as it takes them, and count when all replicas have
//! them.

mod deliveries;
mod producer;

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{Batch, Error, Record, Result, Sink, Written};
use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use self::deliveries::{Answer, Deliveries, ticket};
use self::producer::Outbox;
use crate::config::{SinkConfig, is_topic_name};

/// While the producer's queue is full, and as a safety net behind notifications.
const PAUSE: Duration = Duration::from_millis(10);

/// Writes to topics by name.
pub(crate) struct TopicsSink {
    config: Arc<SinkConfig>,
    outbox: Outbox,
    deliveries: Arc<Deliveries>,
    /// Where the name of a topic is put together.
    topic: String,
}

/// Makes the producer; it connects in the background, and a broker that is away is waited for.
pub(crate) fn open(config: Arc<SinkConfig>, context: &SinkContext) -> Result<TopicsSink> {
    let deliveries = Arc::new(Deliveries::default());
    let outbox = Outbox::open(&config, context, deliveries.clone())?;
    Ok(TopicsSink { config, outbox, deliveries, topic: String::new() })
}

#[async_trait]
impl Sink for TopicsSink {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        self.send_again().await?;
        let number = self.deliveries.open(batch);
        for (index, record) in batch.records.iter().enumerate() {
            self.send(record, ticket(number, index)).await?;
        }
        self.deliveries.all_given(number);
        self.deliveries.collect()
    }

    async fn tick(&mut self) -> Result<Written> {
        self.send_again().await?;
        self.deliveries.collect()
    }

    async fn flush(&mut self) -> Result<Written> {
        let mut all = Written::nothing();
        loop {
            self.send_again().await?;
            let written = self.deliveries.collect()?;
            all.rejected.extend(written.rejected);
            if let (aqueduct_api::Durable::Batches(all), aqueduct_api::Durable::Batches(more)) =
                (&mut all.durable, written.durable)
            {
                all.extend(more);
            }
            if self.deliveries.is_empty() {
                return Ok(all);
            }
            self.pause().await;
        }
    }
}

impl TopicsSink {
    /// Gives one record to the producer, waiting while its queue is full. Nothing overtakes it.
    async fn send(&mut self, record: &Record, ticket: usize) -> Result<()> {
        let topic = match self.config.topic.constant() {
            Some(name) => name,
            None => {
                self.topic.clear();
                let own = |text: &str, out: &mut String| out.push_str(text);
                if let Err(error) = self.config.topic.render(record, None, own, &mut self.topic) {
                    self.deliveries.answer(ticket, Answer::Rejected(error));
                    return Ok(());
                }
                if !is_topic_name(&self.topic) {
                    let says = format!("`{}` is not a topic name", self.topic);
                    self.deliveries.answer(ticket, Answer::Rejected(Error::bad_record(says)));
                    return Ok(());
                }
                &self.topic
            }
        };
        let mut message = message(record, topic, ticket);
        loop {
            match self.outbox.producer().send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => message = back,
                Err((error, _)) => {
                    let answer = self.outbox.judge.answer(&error, topic, record.memory_bytes());
                    self.deliveries.answer(ticket, answer);
                    return self.deliveries.check();
                }
            }
            let _ = tokio::time::timeout(PAUSE, self.deliveries.changed.notified()).await;
            self.deliveries.check()?;
        }
    }

    /// A request is refused as a whole when one record in it is: the others go again, and with them what
    /// followed.
    async fn send_again(&mut self) -> Result<()> {
        while self.deliveries.again() {
            while !self.deliveries.all_answered() {
                self.deliveries.check()?;
                self.pause().await;
            }
            for (number, batch, indices) in self.deliveries.take_unsent() {
                for index in indices {
                    if let Some(record) = batch.records.get(index) {
                        self.send(record, ticket(number, index)).await?;
                    }
                }
                self.deliveries.all_given(number);
            }
        }
        Ok(())
    }

    async fn pause(&self) {
        let _ = tokio::time::timeout(PAUSE, self.deliveries.changed.notified()).await;
    }
}

fn message<'a>(record: &'a Record, topic: &'a str, ticket: usize) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut message = BaseRecord::with_opaque_to(topic, ticket);
    message.key = record.key.bytes().map(|bytes| &bytes[..]);
    message.payload = record.value.bytes().map(|bytes| &bytes[..]);
    // The library takes 0 for "now"; the first millisecond of 1970 is the nearest it can keep.
    let ms = |us: i64| us.div_euclid(1_000);
    message.timestamp = record.timestamp_us.map(|us| if ms(us) == 0 { 1 } else { ms(us) });
    if !record.headers.is_empty() {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, header| {
            headers.insert(Header { key: &header.name, value: header.value.as_deref() })
        });
        message.headers = Some(headers);
    }
    message
}
