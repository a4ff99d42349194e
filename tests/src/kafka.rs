//! A real Kafka, what a test puts into it, and what it reads from it past the runner.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::checker::Stored;
use crate::folder::Folder;
use crate::server;

const TIMEOUT: Duration = Duration::from_secs(30);

/// One broker on loopback.
#[derive(Debug)]
pub struct Kafka {
    folder: Folder,
    /// Where it listens in plain text.
    pub port: u16,
}

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

impl Kafka {
    /// A running broker without topics.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        let kafka = Self::new();
        kafka.start_again();
        kafka
    }

    /// A place for a broker that does not run yet.
    pub fn new() -> Self {
        Self { folder: Folder::new("kafka"), port: server::free_ports(4) }
    }

    /// Starts it again on its old data.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_again(&self) {
        server::start("kafka.sh", self.folder.path(), self.port);
    }

    /// Kills it, as a machine that loses power would.
    pub fn kill(&self) {
        server::end(self.folder.path(), Signal::KILL);
    }

    /// `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client(&[]);
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        let made = runtime.block_on(admin.create_topics([&topic], &options)).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "topic {name}: {made:?}");
    }

    /// Puts a load into its topic and returns when the broker has it all. It stands broker restarts.
    ///
    /// # Panics
    /// When a record is refused.
    pub fn produce(&self, load: &Load) {
        let producer: ThreadedProducer<DefaultProducerContext> = self.client(&[
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", "0"),
            ("linger.ms", "5"),
        ]);
        let (begin, mut sent) = (Instant::now(), 0);
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
            sent += 1;
            let due = Duration::from_secs_f64(sent as f64 / load.rate.max(1) as f64);
            if load.rate > 0 && sent % 100 == 0 {
                std::thread::sleep(due.saturating_sub(begin.elapsed()));
            }
        }
        producer.flush(Duration::from_secs(120)).expect("the broker takes every record");
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
        let (committed, end) = self.progress(group, topic);
        end - committed
    }

    /// Records of a topic that a group has committed.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub fn committed(&self, group: &str, topic: &str) -> i64 {
        self.progress(group, topic).0
    }

    /// Committed offsets and ends, summed over the partitions.
    fn progress(&self, group: &str, topic: &str) -> (i64, i64) {
        let consumer: BaseConsumer<DefaultConsumerContext> = self.client(&[("group.id", group)]);
        let mut wanted = TopicPartitionList::new();
        for partition in self.partitions(&consumer, topic) {
            wanted.add_partition(topic, partition);
        }
        // Just after a start the broker may not know yet who keeps the group's offsets.
        let ask = || consumer.committed_offsets(wanted.clone(), TIMEOUT).ok();
        let offsets = server::until("the broker tells committed offsets", TIMEOUT, ask);
        let (mut committed, mut end) = (0, 0);
        for element in offsets.elements() {
            let ends = consumer.fetch_watermarks(topic, element.partition(), TIMEOUT).expect("watermarks");
            committed += element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(ends.0);
            end += ends.1;
        }
        (committed, end)
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

    fn client<T: FromClientConfig>(&self, properties: &[(&str, &str)]) -> T {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers()).set("log_level", "2");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config.create().expect("a client")
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}
