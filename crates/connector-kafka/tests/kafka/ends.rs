//! What the tests of this crate share: one broker, and sources and sinks opened and used as the engine does it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use aqueduct_api::catalog::{SinkContext, SourceContext};
use aqueduct_api::sink::Durable;
use aqueduct_api::{
    Batch, BatchId, Catalog, Condition, Error, Offsets, Origin, Payload, Polled, Proof, Record, Rejected,
    Sink, Source,
};
use aqueduct_connector_kafka::{SinkConfig, SourceConfig};
use aqueduct_tests::Kafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long a revoked partition may be drained.
pub const DRAIN: Duration = Duration::from_secs(5);
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The broker that the tests of a binary share; it ends with the last of them.
pub fn broker() -> Arc<Kafka> {
    static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    if let Some(kafka) = shared.upgrade() {
        return kafka;
    }
    let kafka = Arc::new(Kafka::start());
    *shared = Arc::downgrade(&kafka);
    kafka
}

/// A topic with settings of its own. It keeps records of any age: those of the tests are from 1970.
pub async fn create(kafka: &Kafka, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = client(kafka, &[]).create().unwrap();
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

pub fn client(kafka: &Kafka, properties: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers());
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config
}

/// What the group has committed for each partition of a topic.
pub async fn committed(kafka: &Kafka, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
    let consumer: BaseConsumer = client(kafka, &[("group.id", group)]).create().unwrap();
    let topic = topic.to_owned();
    let ask = move || {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&topic, 0, partitions - 1);
        let answer = consumer.committed_offsets(list, PATIENCE).unwrap();
        let offset = |offset| {
            if let Offset::Offset(offset) = offset { Some(offset) } else { None }
        };
        answer.elements().iter().map(|element| offset(element.offset())).collect()
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// The broker that leads the only partition of a topic that was just made.
pub async fn until_led(kafka: &Kafka, topic: &str) -> u16 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(leader) = tokio::task::block_in_place(|| kafka.leader(topic, 0)) {
            return leader;
        }
        assert!(Instant::now() < deadline, "{topic} has no leader");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Puts these numbers into a topic, as key and value.
pub async fn fill(kafka: &Kafka, topic: &str, values: std::ops::Range<usize>, timestamp_ms: i64) {
    let mut writer = open_sink(&kafka.brokers(), json!({ "topic": topic })).await;
    let records = values.map(|value| {
        let value = value.to_string();
        let mut record = record(topic, Some(&value), &value);
        record.timestamp_us = Some(timestamp_ms * 1_000);
        record
    });
    writer.write(records.collect()).await.unwrap();
    writer.flush().await.unwrap();
}

/// The end of a partition; asked again where the topic is so new that the broker does not lead it yet.
fn end_in(consumer: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match consumer.fetch_watermarks(topic, partition, PATIENCE) {
            Ok((_, end)) => return end,
            Err(error) => assert!(Instant::now() < deadline, "{topic}/{partition}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How many records a topic has.
pub async fn end_of(kafka: &Kafka, topic: &str, partitions: i32) -> usize {
    let consumer: BaseConsumer = client(kafka, &[]).create().unwrap();
    let topic = topic.to_owned();
    let ask = move || {
        let end = |partition| end_in(&consumer, &topic, partition);
        (0..partitions).map(end).sum::<i64>() as usize
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// The numbers in a topic, partition by partition in order, read by a consumer of its own.
pub fn values(kafka: &Kafka, topic: &str, partitions: i32) -> Vec<usize> {
    let own = [("group.id", "outside"), ("auto.offset.reset", "error")];
    let consumer: BaseConsumer = client(kafka, &own).create().unwrap();
    let (mut all, deadline) = (Vec::new(), Instant::now() + PATIENCE * 2);
    for partition in 0..partitions {
        let end = end_in(&consumer, topic, partition);
        let begin = |next| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Offset(next)).unwrap();
            consumer.assign(&list).unwrap();
        };
        let mut next = 0;
        begin(next);
        while next < end {
            assert!(Instant::now() < deadline, "partition {partition}: {next} of {end}");
            match consumer.poll(Duration::from_secs(5)) {
                Some(Ok(message)) => {
                    next = message.offset() + 1;
                    all.push(std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap());
                }
                None => begin(next),
                Some(Err(error)) => panic!("partition {partition}, offset {next} of {end}: {error}"),
            }
        }
    }
    all
}

/// How many records one partition has.
pub async fn end_of_partition(kafka: &Kafka, topic: &str, partition: i32) -> usize {
    let consumer: BaseConsumer = client(kafka, &[]).create().unwrap();
    let topic = topic.to_owned();
    let ask = move || end_in(&consumer, &topic, partition) as usize;
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// A source as the runner opens it.
pub struct Reader {
    pub source: Box<dyn Source>,
    pub condition: Condition,
}

pub fn with(mut config: Value, more: Value) -> Value {
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

pub async fn open_source(brokers: &str, pipeline: &str, config: Value) -> Reader {
    open_source_with(brokers, pipeline, config, 1_000).await
}

pub async fn open_source_with(
    brokers: &str,
    pipeline: &str,
    config: Value,
    batch_records_max: usize,
) -> Reader {
    open_source_kept(brokers, pipeline, config, batch_records_max, false).await
}

/// The same; `kept_by_sink` where a sink commits the offsets.
pub async fn open_source_kept(
    brokers: &str,
    pipeline: &str,
    config: Value,
    batch_records_max: usize,
    kept_by_sink: bool,
) -> Reader {
    let config = with(json!({ "connection": { "brokers": brokers } }), config);
    let configured = Catalog::default().source::<SourceConfig>().sources["kafka"].configure(config).unwrap();
    let condition = Condition::default();
    let context = SourceContext {
        kept_by_sink,
        batch_records_max,
        drain_timeout: DRAIN,
        condition: condition.clone(),
        ..SourceContext::new(pipeline)
    };
    Reader { source: configured.open(context).await.unwrap(), condition }
}

/// The same where a store keeps the offsets, and has none.
pub async fn open_source_stored(brokers: &str, pipeline: &str, config: Value) -> Reader {
    let config = with(json!({ "connection": { "brokers": brokers } }), config);
    let configured = Catalog::default().source::<SourceConfig>().sources["kafka"].configure(config).unwrap();
    let condition = Condition::default();
    let context =
        SourceContext { has_store: true, condition: condition.clone(), ..SourceContext::new(pipeline) };
    Reader { source: configured.open(context).await.unwrap(), condition }
}

impl Reader {
    /// Polls until that many records have come; a revocation is drained at once.
    pub async fn read(&mut self, count: usize) -> (Vec<Record>, Offsets) {
        let deadline = Instant::now() + PATIENCE;
        let (mut all, mut resume) = (Vec::new(), Offsets::new());
        while all.len() < count {
            assert!(
                Instant::now() < deadline,
                "{} of {count} records, {:?}",
                all.len(),
                self.condition.reason()
            );
            if let Polled::Batch { records, resume_at } =
                self.source.poll(Duration::from_millis(100)).await.unwrap()
            {
                assert!(records.len() <= 1_000);
                assert_eq!(resume_at.len(), 1);
                all.extend(records);
                resume.extend(resume_at);
            }
        }
        (all, resume)
    }

    /// Polls until the position of this partition is so far, and releases it; nothing may come any more.
    pub async fn arrives(&mut self, partition: &str, at: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        loop {
            assert!(Instant::now() < deadline, "{partition} is at {last:?}, {:?}", self.condition.reason());
            let polled = self.source.poll(Duration::from_millis(100)).await.unwrap();
            let Polled::Batch { records, resume_at } = polled else { continue };
            assert_eq!(records.len(), 0);
            self.source.release(&resume_at).await.unwrap();
            last = resume_at.get(partition).cloned().or(last);
            if last.as_deref() == Some(at) {
                return;
            }
        }
    }

    /// Polls until nothing is waited for any more.
    pub async fn until_well(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Some(reason) = self.condition.reason() {
            assert!(Instant::now() < deadline, "{reason}");
            self.source.poll(Duration::from_millis(20)).await.unwrap();
        }
    }

    /// Polls until an error comes.
    pub async fn error(&mut self) -> Error {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline);
            match self.source.poll(Duration::from_millis(100)).await {
                Err(error) => return error,
                Ok(Polled::Batch { records, .. }) if !records.is_empty() => {
                    panic!("{} records", records.len())
                }
                Ok(_) => {}
            }
        }
    }

    /// Polls until an error comes, whatever comes before it.
    pub async fn failure(&mut self) -> Error {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline);
            if let Err(error) = self.source.poll(Duration::from_millis(100)).await {
                return error;
            }
        }
    }

    /// Polls for that long; nothing may come.
    pub async fn nothing(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            let polled = self.source.poll(Duration::from_millis(100)).await.unwrap();
            assert!(!matches!(&polled, Polled::Batch { records, .. } if !records.is_empty()), "{polled:?}");
        }
    }
}

/// The proof that the source has its partitions, once it is a member of its group.
pub async fn until_member(reader: &Reader) -> Proof {
    let (ownership, deadline) = (reader.source.ownership().unwrap(), Instant::now() + PATIENCE);
    loop {
        match ownership.proof() {
            Ok(proof) => return proof,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A sink as the runner opens it.
pub struct Writer {
    pub sink: Box<dyn Sink>,
    pub condition: Condition,
    next: u64,
    pub open: Vec<u64>,
    pub rejected: Vec<Rejected>,
}

pub async fn open_sink(brokers: &str, config: Value) -> Writer {
    open_sink_of(brokers, "writer", config, false).await
}

/// The same, with transactions or without.
pub async fn open_sink_of(brokers: &str, pipeline: &str, config: Value, transactional: bool) -> Writer {
    let config = with(json!({ "connection": { "brokers": brokers } }), config);
    let configured = Catalog::default().sink::<SinkConfig>().sinks["kafka"].configure(config).unwrap();
    let condition = Condition::default();
    let context = SinkContext { transactional, condition: condition.clone(), ..SinkContext::new(pipeline) };
    let sink = configured.open(context).await.unwrap();
    Writer { sink, condition, next: 0, open: Vec::new(), rejected: Vec::new() }
}

impl Writer {
    pub async fn write(&mut self, records: Vec<Record>) -> Result<(), Error> {
        let batch = Batch::new(BatchId(self.next), records.into(), None);
        self.open.push(self.next);
        self.next += 1;
        let written = self.sink.write(&batch).await?;
        self.take(written.durable, written.rejected);
        Ok(())
    }

    pub async fn flush(&mut self) -> Result<(), Error> {
        let written = self.sink.flush().await?;
        self.take(written.durable, written.rejected);
        assert!(self.open.is_empty(), "open after a flush: {:?}", self.open);
        Ok(())
    }

    fn take(&mut self, durable: Durable, rejected: Vec<Rejected>) {
        self.rejected.extend(rejected);
        match durable {
            Durable::All => self.open.clear(),
            Durable::Batches(ids) => self.open.retain(|open| !ids.contains(&BatchId(*open))),
        }
    }
}

pub fn record(topic: &str, key: Option<&str>, value: &str) -> Record {
    Record {
        topic: topic.into(),
        origin: Origin::default(),
        key: key.map_or(Payload::Absent, |key| Payload::from(key.to_owned())),
        value: Payload::from(value.to_owned()),
        headers: Default::default(),
        timestamp_us: Some(1_700_000_000_000_000),
    }
}

/// A record of now. A broker that starts again forgets a producer whose last record is older than
/// `producer.id.expiration.ms`, a day, and takes its batch a second time.
pub fn fresh(topic: &str, key: Option<&str>, value: &str) -> Record {
    Record { timestamp_us: None, ..record(topic, key, value) }
}

pub fn text(payload: &Payload) -> String {
    String::from_utf8(payload.bytes().unwrap().to_vec()).unwrap()
}

/// Values by partition, in the order in which they came.
pub fn by_partition(records: &[Record]) -> BTreeMap<i32, Vec<String>> {
    let mut all: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for record in records {
        all.entry(record.origin.partition).or_default().push(text(&record.value));
    }
    all
}

/// Every number from 0 to `count`, in this order; numbers that come again are left out.
pub fn assert_all_in_order(numbers: impl Iterator<Item = usize>, count: usize) {
    let mut next = 0;
    for number in numbers {
        assert!(number <= next, "{number} came before {next}");
        next = next.max(number + 1);
    }
    assert_eq!(next, count);
}
