//! What the tests share: a broker on its own runtime, librdkafka clients, and a client that speaks raw requests.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aqueduct_devserver::{DevBroker, Limits};
use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A broker under test.
pub(crate) struct Dev {
    pub(crate) broker: DevBroker,
    pub(crate) runtime: Runtime,
}

impl Dev {
    pub(crate) fn start(limits: Limits) -> Self {
        _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let runtime = Runtime::new().unwrap();
        let broker = runtime.block_on(DevBroker::start("127.0.0.1:0", limits)).unwrap();
        Self { broker, runtime }
    }

    pub(crate) fn with_topic(topic: &str, partitions: i32) -> Self {
        let dev = Self::start(Limits::default());
        dev.broker.create_topic(topic, partitions).unwrap();
        dev
    }

    pub(crate) fn address(&self) -> String {
        self.broker.address().to_string()
    }

    pub(crate) fn config(&self, more: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        more.iter().for_each(|(key, value)| _ = config.set(*key, *value));
        config
    }

    pub(crate) fn producer(&self, more: &[(&str, &str)]) -> BaseProducer {
        self.config(more).create().unwrap()
    }

    /// A member of `group` that starts at the earliest and commits only when told.
    pub(crate) fn consumer(&self, group: &str, more: &[(&str, &str)]) -> BaseConsumer {
        self.consumer_config(group, more).create().unwrap()
    }

    pub(crate) fn consumer_config(&self, group: &str, more: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.config(&[
            ("group.id", group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "200"),
            ("fetch.wait.max.ms", "50"),
        ]);
        more.iter().for_each(|(key, value)| _ = config.set(*key, *value));
        config
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config(&[]).create().unwrap()
    }

    /// Produces the values, one key for all, to one partition.
    pub(crate) fn produce(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
        let producer = self.producer(&[]);
        send(&producer, topic, partition, values);
        producer.flush(PATIENCE).unwrap();
    }

    /// Every value in the topic, by partition, as a new consumer reads it.
    pub(crate) fn read(&self, topic: &str, count: usize, more: &[(&str, &str)]) -> Vec<OwnedMessage> {
        let consumer = self.consumer("reader", more);
        consumer.subscribe(&[topic]).unwrap();
        take(&consumer, count)
    }
}

pub(crate) fn send(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    values: impl IntoIterator<Item = String>,
) {
    for value in values {
        let mut record = BaseRecord::to(topic).key("k").payload(&value).partition(partition);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(rdkafka::types::RDKafkaErrorCode::QueueFull),
                "{error}"
            );
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
}

/// Exactly `count` messages, and no more for a short while.
pub(crate) fn take(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let mut taken = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while taken.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} messages came", taken.len());
        taken.extend(consumer.poll(Duration::from_millis(100)).map(|message| message.unwrap().detach()));
    }
    assert!(consumer.poll(Duration::from_millis(300)).is_none(), "more than {count} messages came");
    taken
}

/// Polls until `done`; panics when it does not come to that.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it never came to: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Partition to count of the messages.
pub(crate) fn per_partition(messages: &[OwnedMessage]) -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    for message in messages {
        *counts.entry(rdkafka::Message::partition(message)).or_default() += 1;
    }
    counts
}

/// A connection on which requests are written by hand.
pub(crate) struct Raw {
    stream: TcpStream,
    correlation_id: i32,
}

impl Raw {
    pub(crate) fn connect(dev: &Dev) -> Self {
        let stream = TcpStream::connect(dev.broker.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, correlation_id: 0 }
    }

    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }

    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some("raw".into()));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        let mut bytes = BytesMut::new();
        bytes.put_u32(u32::try_from(frame.len()).unwrap());
        bytes.put_slice(&frame);
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).unwrap();
        let mut frame = bytes::Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        R::Response::decode(&mut frame, version).unwrap()
    }

    /// Writes bytes as they are, and says whether the broker then hangs up.
    pub(crate) fn hangs_up_on(mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).unwrap();
        matches!(self.stream.read(&mut [0; 16]), Ok(0) | Err(_))
    }
}
