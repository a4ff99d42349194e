//! What `aqueduct bench` measures the ends against: the fastest loops over librdkafka that do nothing but count, or
//! copy.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{Error, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use aqueduct_kafka_client::native::batch_queue::{BatchQueue, Message};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a loop read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Records.
    pub records: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// From the first record to the last.
    pub seconds: f64,
}

/// Reads a topic once from its beginning to its present end and counts; `properties` are librdkafka's. It
/// blocks.
///
/// # Errors
/// When the cluster does not answer or the topic cannot be read.
pub fn bare_loop(brokers: &str, topic: &str, properties: &[(&str, &str)]) -> Result<Counted> {
    read(brokers, topic, properties, |_| Ok(()))
}

/// The same, and gives each record with its key and time to another topic, as safely as the sink does: idempotent, all
/// acknowledged. Headers are left behind.
///
/// # Errors
/// As above, or when the other topic does not take a record.
pub fn bare_copy(brokers: &str, from: &str, to: &str) -> Result<Counted> {
    let client = producing(brokers);
    let producer: ThreadedProducer<DefaultProducerContext> = client.create().map_err(failed)?;
    let mut counted = read(brokers, from, &[("check.crcs", "true")], |message| {
        let mut record = BaseRecord::to(to);
        (record.key, record.payload) = (message.key(), message.value());
        record.timestamp = message.timestamp_ms();
        send(&producer, record)
    })?;
    let flushing = Instant::now();
    producer.flush(5 * PATIENCE).map_err(failed)?;
    counted.seconds += flushing.elapsed().as_secs_f64();
    Ok(counted)
}

fn read(
    brokers: &str,
    topic: &str,
    properties: &[(&str, &str)],
    mut each: impl FnMut(Message<'_>) -> Result<()>,
) -> Result<Counted> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers);
    client.set("group.id", "aqueduct-bench");
    client.set("enable.auto.commit", "false");
    client.set("enable.auto.offset.store", "false");
    client.set("fetch.queue.backoff.ms", "10");
    for (name, value) in properties {
        client.set(*name, *value);
    }
    let consumer: Arc<BaseConsumer> = Arc::new(client.create().map_err(failed)?);
    let queue = BatchQueue::new(consumer.clone());
    let mut left = 0;
    let mut assignment = TopicPartitionList::new();
    let cluster = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(failed)?;
    for partition in cluster.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE).map_err(failed)?;
        left += u64::try_from(high - low).unwrap_or(0);
        queue.attach(topic, partition.id());
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning).map_err(failed)?;
    }
    consumer.assign(&assignment).map_err(failed)?;
    let mut counted = Counted::default();
    let (mut begin, deadline) = (None, Instant::now() + 5 * PATIENCE);
    while counted.records < left {
        if Instant::now() > deadline {
            return Err(Error::transient("the topic was not read to its end in time").with("topic", topic));
        }
        let mut failed = None;
        queue.serve(100, |message| {
            begin.get_or_insert_with(Instant::now);
            counted.bytes += message.key().map_or(0, <[u8]>::len) as u64;
            counted.bytes += message.value().map_or(0, <[u8]>::len) as u64;
            counted.records += 1;
            failed = match message.error() {
                Some((_, says)) => Some(Error::fatal(says).with("topic", topic)),
                None => each(message).err(),
            };
            failed.is_none()
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    counted.seconds = begin.map_or(0.0, |begin| begin.elapsed().as_secs_f64());
    Ok(counted)
}

/// Makes a topic and puts that many orders of some 131 bytes into it, with keys, lz4, and times a millisecond
/// apart.
///
/// # Errors
/// When the topic exists already, or the cluster does not take it.
pub async fn fill(brokers: &str, topic: &str, partitions: i32, records: u64, sizes: Sizes) -> Result<()> {
    make(brokers, topic, partitions).await?;
    let mut client = producing(brokers);
    client.set("linger.ms", "50");
    let topic = topic.to_owned();
    let produce = move || produce(&client, &topic, records, sizes);
    tokio::task::spawn_blocking(produce)
        .await
        .map_err(|error| Error::fatal("the producer panicked").caused_by(error))?
}

/// Makes an empty topic.
///
/// # Errors
/// When it exists already.
pub async fn make(brokers: &str, topic: &str, partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = producing(brokers).create().map_err(failed)?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for made in admin.create_topics([&new], &options).await.map_err(failed)? {
        made.map_err(|(name, code)| Error::fatal(format!("cannot create topic `{name}`: {code}")))?;
    }
    Ok(())
}

fn producing(brokers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers);
    client.set("compression.type", "lz4");
    client.set("enable.idempotence", "true");
    client.set("queue.buffering.max.messages", "100000");
    client
}

/// How large the records of a bench are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Orders of some 130 bytes, all alike.
    Uniform,
    /// The same orders with a field of 0 to 200,000 characters: mostly few, with a heavy tail.
    Mixed,
}

fn produce(client: &ClientConfig, topic: &str, records: u64, sizes: Sizes) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = client.create().map_err(failed)?;
    // The last one is of now: a broker refuses what is more than an hour in the future.
    let first_ms = jiff::Timestamp::now().as_millisecond() - i64::try_from(records).unwrap_or(0);
    let mut seed = 1_u64;
    for id in 0..records {
        // A linear congruential generator will do: the fields have to differ, not to be random.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let customer = (seed >> 33) % 100_000;
        let (amount, cents) = ((seed >> 20) % 1_000, (seed >> 40) % 100);
        let key = format!("order-{id:010}");
        let mut value = format!(
            r#"{{"id":{id:>10},"customer":"customer-{customer:05}","amount":"{amount:03}.{cents:02}","currency":"EUR","code":"{seed:016x}"}}"#
        );
        if sizes == Sizes::Mixed {
            let sides = [200, 200, 200, 200, 200, 200, 2_000, 8_000, 8_000, 20_000];
            let side = if id % 1_000 == 0 { 200_000 } else { sides[(seed >> 50) as usize % sides.len()] };
            value.truncate(value.len() - 1);
            value += &format!(
                r#","note":"{}"}}"#,
                format!("{seed:016x}").repeat((seed >> 35) as usize % side / 16)
            );
        }
        let timestamp = first_ms + i64::try_from(id).unwrap_or(0);
        send(&producer, BaseRecord::to(topic).key(&key).payload(&value).timestamp(timestamp))?;
    }
    producer.flush(5 * PATIENCE).map_err(failed)
}

/// Waits for room.
fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(
    producer: &ThreadedProducer<DefaultProducerContext>,
    mut record: BaseRecord<'_, K, V>,
) -> Result<()> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
            Err((error, _)) => return Err(failed(error)),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn failed(error: KafkaError) -> Error {
    Error::transient("the bench cannot use the cluster").caused_by(error)
}
