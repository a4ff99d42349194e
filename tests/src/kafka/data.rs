//! What a test puts into a cluster, and what it reads from it past the runner.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Headers};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::time::Instant;

use super::{Kafka, TIMEOUT};
use crate::checker::Stored;
use crate::server;

/// One look at a group's progress is given up after this, and made again.
const WATCH_TIMEOUT: Duration = Duration::from_secs(4);

/// What to produce: JSON values `{"id": .., "key": .., ..}` with ids from a range, dealt over keys.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub topic: String,
    /// Every id once, in this order.
    pub ids: std::ops::Range<u64>,
    /// How many keys there are.
    pub keys: u64,
    /// Records a second at the most; 0 is as fast as it goes.
    pub rate: u64,
}

/// Keeps the first refusal.
struct Refusals(Arc<Mutex<Option<KafkaError>>>);

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
        }
    }
}

impl Kafka {
    /// Puts a load into its topic and returns when the cluster has it all. It stands broker restarts.
    ///
    /// # Panics
    /// When a record is refused.
    pub fn produce(&self, load: &Load) {
        self.produce_while(load, || true);
    }

    /// The same, as long as the answer is yes: the ids that were produced.
    ///
    /// # Panics
    /// As above.
    pub fn produce_while(&self, load: &Load, go_on: impl Fn() -> bool) -> std::ops::Range<u64> {
        let json = |id: u64, key: &str| {
            let note = id.wrapping_mul(0x9E37_79B9);
            format!(r#"{{"id":{id},"key":"{key}","note":"{note:0>64}"}}"#).into_bytes()
        };
        self.produce_values(load, json, go_on)
    }

    /// The same with values of another form: what a record says, by its id and its key.
    ///
    /// # Panics
    /// As above.
    pub fn produce_values(
        &self,
        load: &Load,
        value: impl Fn(u64, &str) -> Vec<u8>,
        go_on: impl Fn() -> bool,
    ) -> std::ops::Range<u64> {
        let refused = Arc::new(Mutex::new(None));
        let config = self.config(&[
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", "0"),
            ("linger.ms", "5"),
        ]);
        let producer: ThreadedProducer<Refusals> =
            config.create_with_context(Refusals(refused.clone())).expect("a producer");
        let (begin, mut end) = (Instant::now(), load.ids.start);
        for id in load.ids.clone() {
            let key = format!("key-{}", id % load.keys);
            let value = value(id, &key);
            let mut record = BaseRecord::to(&load.topic).key(&key).payload(&value);
            while let Err((error, again)) = producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                assert_eq!(error, full, "record {id} was refused");
                std::thread::sleep(Duration::from_millis(5));
                record = again;
            }
            end = id + 1;
            let sent = end - load.ids.start;
            let due = Duration::from_secs_f64(sent as f64 / load.rate.max(1) as f64);
            if load.rate > 0 && sent.is_multiple_of(100) {
                std::thread::sleep(due.saturating_sub(begin.elapsed()));
            }
            if sent.is_multiple_of(100) && !go_on() {
                break;
            }
        }
        producer.flush(Duration::from_secs(120)).expect("the cluster takes every record");
        let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert_eq!(refused, None, "a record was refused");
        load.ids.start..end
    }

    /// Everything in a topic, partition by partition in order.
    ///
    /// # Panics
    /// When it cannot be read, or holds what no `Load` put there.
    pub fn read(&self, topic: &str) -> Vec<Stored> {
        let stored = |message: &BorrowedMessage<'_>| {
            let value = message.payload().unwrap_or_default();
            Stored::parse(message.partition(), message.offset(), value)
        };
        self.scan(topic, stored)
    }

    /// The same of values of another form: the key and the value of each record, with partition and offset.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read_values(&self, topic: &str) -> Vec<(i32, i64, Option<Vec<u8>>)> {
        let value = |message: &BorrowedMessage<'_>| {
            (message.partition(), message.offset(), message.payload().map(<[u8]>::to_vec))
        };
        self.scan(topic, value)
    }

    /// The headers of each record, as text.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read_headers(&self, topic: &str) -> Vec<Vec<(String, String)>> {
        self.scan(topic, |message| {
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            headers.map(|header| (header.key.to_owned(), text(header.value))).collect()
        })
    }

    /// The partition and the timestamp of each record, in milliseconds: when it was appended, if the topic says so.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn times(&self, topic: &str) -> Vec<(i32, i64)> {
        let time =
            |message: &BorrowedMessage<'_>| message.timestamp().to_millis().expect("every record has a time");
        self.scan(topic, |message| (message.partition(), time(message)))
    }

    /// Reads what is committed, once no transaction is open.
    fn scan<T>(&self, topic: &str, look: impl Fn(&BorrowedMessage<'_>) -> T) -> Vec<T> {
        let client = |isolation| -> BaseConsumer<DefaultConsumerContext> {
            self.client(&[
                ("group.id", "outside-reader"),
                ("enable.auto.commit", "false"),
                ("enable.partition.eof", "true"),
                ("isolation.level", isolation),
            ])
        };
        let (consumer, all) = (client("read_committed"), client("read_uncommitted"));
        let partitions = self.partitions(&consumer, topic);
        let mut seen: Vec<Vec<T>> = partitions.iter().map(|_| Vec::new()).collect();
        let mut assignment = TopicPartitionList::new();
        for partition in &partitions {
            let low = server::until("what is written is committed or undone", TIMEOUT, || {
                let (low, end) = all.fetch_watermarks(topic, *partition, TIMEOUT).ok()?;
                (consumer.fetch_watermarks(topic, *partition, TIMEOUT).ok()?.1 >= end).then_some(low)
            });
            assignment.add_partition_offset(topic, *partition, Offset::Offset(low)).expect("an offset");
        }
        consumer.assign(&assignment).expect("an assignment");
        let mut left: BTreeSet<i32> = partitions.iter().copied().collect();
        while !left.is_empty() {
            match consumer.poll(TIMEOUT).expect("a record or the end within 30 s") {
                Ok(message) => {
                    let at = partitions.iter().position(|id| *id == message.partition());
                    seen[at.expect("an assigned partition")].push(look(&message));
                }
                Err(KafkaError::PartitionEOF(partition)) => drop(left.remove(&partition)),
                Err(error) => panic!("topic {topic} cannot be read: {error}"),
            }
        }
        seen.into_iter().flatten().collect()
    }

    /// Records of a topic that a group has not committed yet.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub fn lag(&self, group: &str, topic: &str) -> i64 {
        self.progress(group, topic).iter().map(|(committed, end)| end - committed).sum()
    }

    /// Records of a topic that a group has committed.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub fn committed(&self, group: &str, topic: &str) -> i64 {
        self.progress(group, topic).iter().map(|(committed, _)| committed).sum()
    }

    /// What a group has committed of each partition, or where the partition begins, and where it ends.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub fn progress(&self, group: &str, topic: &str) -> Vec<(i64, i64)> {
        let watch = self.watch(group, topic);
        // Just after a start the broker may not know yet who keeps the group's offsets.
        server::until("the broker tells committed offsets", TIMEOUT, || watch.progress())
    }

    /// Looks at a group's progress in a topic again and again.
    pub fn watch(&self, group: &str, topic: &str) -> Watch {
        let consumer: BaseConsumer<DefaultConsumerContext> = self.client(&[("group.id", group)]);
        let partitions = self.partitions(&consumer, topic);
        Watch { consumer, topic: topic.to_owned(), partitions }
    }

    fn partitions(&self, consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("metadata");
        metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.id())
            .collect()
    }
}

/// What [`Kafka::watch`] gives.
pub struct Watch {
    consumer: BaseConsumer<DefaultConsumerContext>,
    topic: String,
    partitions: Vec<i32>,
}

impl Watch {
    /// What is committed of each partition, or where it begins, and where it ends; nothing while the cluster does not
    /// answer.
    pub fn progress(&self) -> Option<Vec<(i64, i64)>> {
        let mut wanted = TopicPartitionList::new();
        for partition in &self.partitions {
            wanted.add_partition(&self.topic, *partition);
        }
        let offsets = self.consumer.committed_offsets(wanted, WATCH_TIMEOUT).ok()?;
        let mut progress = Vec::new();
        for element in offsets.elements() {
            element.error().ok()?;
            let ends =
                self.consumer.fetch_watermarks(&self.topic, element.partition(), WATCH_TIMEOUT).ok()?;
            let committed = element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(ends.0);
            progress.push((committed, ends.1));
        }
        Some(progress)
    }
}
