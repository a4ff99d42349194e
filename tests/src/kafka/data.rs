//! What a test puts into a cluster, and what it reads from it past the runner.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::time::Instant;

use super::{Kafka, TIMEOUT};
use crate::checker::Stored;
use crate::server;

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
            let value =
                format!(r#"{{"id":{id},"key":"{key}","note":"{:0>64}"}}"#, id.wrapping_mul(0x9E37_79B9));
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
        let consumer: BaseConsumer<DefaultConsumerContext> =
            self.client(&[("group.id", "outside-reader"), ("enable.auto.commit", "false")]);
        let mut stored = Vec::new();
        for partition in self.partitions(&consumer, topic) {
            let (low, high) = consumer.fetch_watermarks(topic, partition, TIMEOUT).expect("watermarks");
            let mut assignment = TopicPartitionList::new();
            assignment.add_partition_offset(topic, partition, Offset::Offset(low)).expect("an offset");
            consumer.assign(&assignment).expect("an assignment");
            let mut next = low;
            while next < high {
                let message = consumer.poll(TIMEOUT).expect("a record within 30 s").expect("a record");
                next = message.offset() + 1;
                stored.push(Stored::parse(
                    partition,
                    message.offset(),
                    message.payload().unwrap_or_default(),
                ));
            }
        }
        stored
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
        let consumer: BaseConsumer<DefaultConsumerContext> = self.client(&[("group.id", group)]);
        let mut wanted = TopicPartitionList::new();
        for partition in self.partitions(&consumer, topic) {
            wanted.add_partition(topic, partition);
        }
        // Just after a start the broker may not know yet who keeps the group's offsets.
        let ask = || consumer.committed_offsets(wanted.clone(), TIMEOUT).ok();
        let offsets = server::until("the broker tells committed offsets", TIMEOUT, ask);
        let mut progress = Vec::new();
        for element in offsets.elements() {
            let ends = consumer.fetch_watermarks(topic, element.partition(), TIMEOUT).expect("watermarks");
            let committed = element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(ends.0);
            progress.push((committed, ends.1));
        }
        progress
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
