//! What a test puts into a cluster, and what it reads from it past the runner.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::time::Instant;

use super::{Kafka, TIMEOUT};
use crate::checker::Stored;
use crate::server;

/// One look at a group's progress is given up after this, and made again.
const WATCH_TIMEOUT: Duration = Duration::from_secs(4);

/// What to produce: JSON values `{"id": .., "key": .., ..}` with ids from a range, dealt over keys. [`Kafka::produce`] makes
/// records of all shapes of them: values of 30 bytes to 900 KB, some keys null and some empty, a hot key, odd headers, and
/// another codec for each load.
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

/// See [`Kafka::read_parts`].
pub type Parts = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, Option<i64>);

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

/// A record to produce.
struct Shape {
    key: Option<String>,
    value: Vec<u8>,
    headers: OwnedHeaders,
}

/// A record of this number: what it is follows from that alone. Its value repeats the key by which its order is checked; of
/// records without a key none is compared with another.
fn awkward(load: &Load, id: u64) -> Shape {
    let mut dice = id.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut roll = |sides: u64| {
        dice ^= dice >> 29;
        dice = dice.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        dice ^= dice >> 32;
        dice % sides
    };
    let (key, name) = match roll(40) {
        0 => (None, format!("none-{id}")),
        1 => (Some(String::new()), "empty".to_owned()),
        2..=11 => (Some("key-0".to_owned()), "key-0".to_owned()),
        _ => {
            let key = format!("key-{}", id % load.keys);
            (Some(key.clone()), key)
        }
    };
    let pad = match roll(10_000) {
        0 => 900_000,
        1..=20 => roll(200_000),
        21..=1_000 => 500 + roll(7_500),
        1_001..=2_000 => 0,
        _ => roll(200),
    };
    let noise = (0..pad / 4).map(|_| char::from(b'a' + roll(26) as u8)).collect::<String>();
    let pad = "x".repeat(pad as usize - noise.len());
    let value = format!(r#"{{"id":{id},"key":"{name}","pad":"{noise}{pad}"}}"#);
    let header = |key, value: Option<&[u8]>| OwnedHeaders::new().insert(Header { key, value });
    let headers = match roll(20) {
        0 => header("null", None),
        1 => header("empty", Some(b"")),
        2 => header("twice", Some(b"1")).insert(Header { key: "twice", value: Some(b"2") }),
        3 => header("", Some(b"no name")),
        4 => header("binary", Some(&[0, 255, 10, 34])),
        _ => OwnedHeaders::new(),
    };
    Shape { key, value: value.into_bytes(), headers }
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
        self.send(load, awkward, go_on)
    }

    /// The same with small records that are all alike: for what is to be fast.
    ///
    /// # Panics
    /// As above.
    pub fn produce_uniform(&self, load: &Load) {
        let json = |id: u64, key: &str| {
            let note = id.wrapping_mul(0x9E37_79B9);
            format!(r#"{{"id":{id},"key":"{key}","note":"{note:0>64}"}}"#).into_bytes()
        };
        self.produce_values(load, json, || true);
    }

    /// Puts records into a topic whose parts are null, empty, or large: every kind of key beside every kind of value, each
    /// with headers. How many there are.
    ///
    /// # Panics
    /// When one is refused.
    pub fn produce_odd(&self, topic: &str) -> usize {
        let producer: BaseProducer = self.client(&[("compression.type", "snappy")]);
        let header = |key, value: Option<&[u8]>| OwnedHeaders::new().insert(Header { key, value });
        let many = (0..300).fold(OwnedHeaders::new(), |headers, _| {
            headers.insert(Header { key: "h", value: Some(b"v".as_slice()) })
        });
        let large = header("large", Some(&[7; 300_000]));
        let all = [header("trace", Some(b"7f")), header("none", None), header("", Some(b"")), many, large];
        let parts = [None, Some(&b""[..]), Some(&b"x"[..]), Some(&[0xff, 0, 10][..])];
        let mut count = 0;
        for headers in all.into_iter().map(Some).chain([None]) {
            for (key, value) in parts.iter().flat_map(|key| parts.iter().map(move |value| (key, value))) {
                let mut record = BaseRecord::<[u8], [u8]>::to(topic);
                (record.key, record.payload, record.headers) = (*key, *value, headers.clone());
                assert!(producer.send(record).is_ok(), "the queue is full");
                count += 1;
            }
        }
        producer.flush(TIMEOUT).expect("the cluster takes them");
        count
    }

    /// Leaves behind what a transaction leaves that was undone: records that nobody may see, and a marker at the end of each
    /// partition.
    ///
    /// # Panics
    /// When the cluster does not take part.
    pub fn abort_transaction(&self, topic: &str, records: usize) {
        let id = format!("undone-{topic}");
        let producer: BaseProducer = self.client(&[("transactional.id", &id)]);
        producer.init_transactions(TIMEOUT).expect("a transactional producer");
        producer.begin_transaction().expect("a transaction");
        let partitions = producer.client().fetch_metadata(Some(topic), TIMEOUT).expect("metadata");
        let count = partitions.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
        for partition in 0..count {
            for _ in 0..records {
                let partition = i32::try_from(partition).expect("a partition");
                let record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(b"undone");
                assert!(producer.send(record).is_ok(), "the queue is full");
            }
        }
        producer.flush(TIMEOUT).expect("the cluster takes them");
        producer.abort_transaction(TIMEOUT).expect("the cluster undoes them");
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
        let shape = |load: &Load, id: u64| {
            let key = format!("key-{}", id % load.keys);
            Shape { value: value(id, &key), key: Some(key), headers: OwnedHeaders::new() }
        };
        self.send(load, shape, go_on)
    }

    fn send(
        &self,
        load: &Load,
        shape: impl Fn(&Load, u64) -> Shape,
        go_on: impl Fn() -> bool,
    ) -> std::ops::Range<u64> {
        let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
        let codec = load.topic.bytes().map(u64::from).sum::<u64>() + load.ids.start;
        let refused = Arc::new(Mutex::new(None));
        let config = self.config(&[
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", "0"),
            ("linger.ms", "5"),
            ("compression.type", codecs[(codec % 5) as usize]),
        ]);
        let producer: ThreadedProducer<Refusals> =
            config.create_with_context(Refusals(refused.clone())).expect("a producer");
        let (begin, mut end) = (Instant::now(), load.ids.start);
        for id in load.ids.clone() {
            let Shape { key, value, headers } = shape(load, id);
            let mut record = BaseRecord::to(&load.topic).payload(&value).headers(headers);
            record.key = key.as_ref();
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

    /// Every part of each record that a copy has to keep: key, value, headers, time.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read_parts(&self, topic: &str) -> Vec<Parts> {
        let bytes = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        self.scan(topic, |message| {
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let headers = headers.map(|header| (header.key.to_owned(), bytes(header.value))).collect();
            (bytes(message.key()), bytes(message.payload()), headers, message.timestamp().to_millis())
        })
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
        server::until("the broker answers with committed offsets", TIMEOUT, || watch.progress())
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
