//! Records through librdkafka: what goes in comes out, whatever the codec, and what the limits do to it.

#![allow(clippy::unwrap_used)]

mod probe;

use std::time::Duration;

use aqueduct_devserver::Limits;
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use probe::{Dev, PATIENCE, Raw, per_partition, take};
use rdkafka::admin::{
    AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn records_come_back_whole_under_every_codec() {
    for codec in CODECS {
        let dev = Dev::with_topic("t", 3);
        let producer = dev.producer(&[("compression.codec", codec), ("linger.ms", "50")]);
        for i in 0..500 {
            let (key, value) = (format!("key-{i}"), format!("value {i} ").repeat(20));
            let header = |key, value| OwnedHeaders::new().insert(Header { key, value });
            let headers =
                header("n", Some(&i.to_string())).insert(Header { key: "null", value: None::<&str> });
            let record = BaseRecord::to("t").partition(i % 3).timestamp(1_700_000_000_000 + i64::from(i));
            let record = record.headers(headers);
            match i {
                0 => producer.send(record.key(&key)).unwrap(), // a tombstone
                3 => producer.send(record.payload(&value)).unwrap(), // no key
                _ => producer.send(record.key(&key).payload(&value)).unwrap(),
            }
        }
        producer.flush(PATIENCE).unwrap();
        let read = dev.read("t", 500, &[]);
        assert_eq!(per_partition(&read), [(0, 167), (1, 167), (2, 166)].into(), "{codec}");
        for message in &read {
            let i = message.offset() * 3 + i64::from(message.partition());
            assert_eq!(message.timestamp().to_millis(), Some(1_700_000_000_000 + i));
            let (key, value) = (format!("key-{i}"), format!("value {i} ").repeat(20));
            assert_eq!(message.key(), (i != 3).then_some(key.as_bytes()));
            assert_eq!(message.payload(), (i != 0).then_some(value.as_bytes()));
            let headers = message.headers().unwrap();
            assert_eq!(headers.get(0).value, Some(i.to_string().as_bytes()));
            assert_eq!((headers.get(1).key, headers.get(1).value), ("null", None));
        }
    }
}

#[test]
fn reading_starts_at_any_offset_and_time() {
    let dev = Dev::with_topic("t", 1);
    let producer = dev.producer(&[("batch.num.messages", "10"), ("linger.ms", "20")]);
    for i in 0..100_i64 {
        producer
            .send(BaseRecord::<(), _>::to("t").payload(&format!("{i}")).timestamp(1_000 + i * 10))
            .unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let consumer = dev.consumer("g", &[]);
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("t", 0, Offset::Offset(55)).unwrap();
    consumer.assign(&from).unwrap();
    assert_eq!(take(&consumer, 45)[0].payload(), Some(&b"55"[..]));

    let offset_at = |timestamp: i64| {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset("t", 0, Offset::Offset(timestamp)).unwrap();
        consumer.offsets_for_times(asked, PATIENCE).unwrap().elements()[0].offset()
    };
    assert_eq!(offset_at(1_055), Offset::Offset(6)); // the records at 1,050 and 1,060 share a batch
    assert_eq!(offset_at(0), Offset::Offset(0));
    assert_eq!(offset_at(5_000), Offset::End);
    assert_eq!(consumer.fetch_watermarks("t", 0, PATIENCE).unwrap(), (0, 100));
}

#[test]
fn the_memory_limit_drops_the_oldest_of_the_largest() {
    let limits = Limits { memory_bytes_max: 4 << 20, ..Limits::default() };
    let dev = Dev::start(limits);
    dev.broker.create_topic("large", 1).unwrap();
    dev.broker.create_topic("small", 1).unwrap();
    dev.produce("small", 0, (0..100).map(|i| i.to_string()));
    dev.produce("large", 0, (0..20_000).map(|i| format!("{i:01000}")));

    let consumer = dev.consumer("g", &[]);
    let (low, high) = consumer.fetch_watermarks("large", 0, PATIENCE).unwrap();
    assert_eq!(high, 20_000);
    assert!((15_000..18_000).contains(&low), "log starts at {low}");
    assert_eq!(consumer.fetch_watermarks("small", 0, PATIENCE).unwrap(), (0, 100));
    let read = dev.read("large", usize::try_from(high - low).unwrap(), &[]);
    let offsets: Vec<i64> = read.iter().map(OwnedMessage::offset).collect();
    assert_eq!(offsets, (low..high).collect::<Vec<_>>());
    assert_eq!(read[0].payload().unwrap(), format!("{low:01000}").as_bytes());
}

#[test]
fn a_record_too_large_is_refused_and_the_rest_goes_on() {
    let dev = Dev::with_topic("t", 1);
    let producer = dev.producer(&[("message.max.bytes", "5000000")]);
    producer.send(BaseRecord::<(), _>::to("t").payload(&"x".repeat(900_000))).unwrap();
    producer.flush(PATIENCE).unwrap();
    producer.send(BaseRecord::<(), _>::to("t").payload(&"x".repeat(2_000_000))).unwrap();
    producer.flush(PATIENCE).unwrap();
    producer.send(BaseRecord::<(), _>::to("t").payload("small")).unwrap();
    producer.flush(PATIENCE).unwrap();
    let sizes: Vec<usize> =
        dev.read("t", 2, &[]).iter().map(|message| message.payload().unwrap().len()).collect();
    assert_eq!(sizes, [900_000, 5]);
}

#[test]
fn topics_are_made_grown_emptied_configured_and_deleted() {
    let dev = Dev::start(Limits { partitions_max: 10, auto_create_partitions: 2, ..Limits::default() });
    let (admin, options) = (dev.admin(), AdminOptions::new());
    let wait = |future| dev.runtime.block_on::<_>(future);
    let topic = NewTopic::new("t", 3, TopicReplication::Fixed(1)).set("retention.ms", "1000");
    assert_eq!(wait(admin.create_topics([&topic], &options)).unwrap(), [Ok("t".to_owned())]);
    let again = wait(admin.create_topics([&topic], &options)).unwrap();
    assert_eq!(again, [Err(("t".to_owned(), RDKafkaErrorCode::TopicAlreadyExists))]);
    let many = NewTopic::new("u", 8, TopicReplication::Fixed(1));
    let many = wait(admin.create_topics([&many], &options)).unwrap();
    assert_eq!(many, [Err(("u".to_owned(), RDKafkaErrorCode::InvalidPartitions))]);

    let grown = dev.runtime.block_on(admin.create_partitions([&NewPartitions::new("t", 4)], &options));
    assert_eq!(grown.unwrap(), [Ok("t".to_owned())]);
    dev.produce("t", 3, (0..10).map(|i| i.to_string()));
    dev.produce("auto", 1, ["x".to_owned()]);
    let consumer = dev.consumer("g", &[]);
    let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
    let counts: Vec<_> = metadata.topics().iter().map(|t| (t.name(), t.partitions().len())).collect();
    assert_eq!(counts, [("auto", 2), ("t", 4)]);

    let mut until = TopicPartitionList::new();
    until.add_partition_offset("t", 3, Offset::Offset(7)).unwrap();
    dev.runtime.block_on(admin.delete_records(&until, &options)).unwrap();
    assert_eq!(consumer.fetch_watermarks("t", 3, PATIENCE).unwrap(), (7, 10));

    let altered = AlterConfig::new(ResourceSpecifier::Topic("t")).set("max.message.bytes", "2000");
    dev.runtime.block_on(admin.alter_configs([&altered], &options)).unwrap()[0].as_ref().unwrap();
    let described =
        dev.runtime.block_on(admin.describe_configs([&ResourceSpecifier::Topic("t")], &options)).unwrap();
    let described = described[0].as_ref().unwrap();
    let setting = |name: &str| described.get(name).unwrap().value.clone().unwrap();
    assert_eq!(setting("max.message.bytes"), "2000");
    assert_eq!(setting("retention.ms"), "604800000"); // AlterConfigs resets what it does not name
    let producer = dev.producer(&[]);
    producer.send(BaseRecord::<(), _>::to("t").partition(0).payload(&"x".repeat(3_000))).unwrap();
    producer.flush(PATIENCE).unwrap();
    assert_eq!(consumer.fetch_watermarks("t", 0, PATIENCE).unwrap(), (0, 0));

    dev.runtime.block_on(admin.delete_topics(&["t"], &options)).unwrap()[0].as_ref().unwrap();
    let gone = consumer.fetch_watermarks("t", 0, PATIENCE);
    assert!(matches!(gone, Err(KafkaError::MetadataFetch(_))), "{gone:?}");
}

#[test]
fn settings_are_changed_one_by_one_or_refused() {
    let dev = Dev::with_topic("t", 1);
    let mut raw = Raw::connect(&dev);
    let mut change = |operation: i8, name: &'static str, value: &'static str| {
        let change = AlterableConfig::default().with_name(name.into()).with_value(Some(value.into()));
        let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name("t".into());
        let resource = resource.with_configs(vec![change.with_config_operation(operation)]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        raw.call(1, &request).responses[0].error_code.err()
    };
    assert_eq!(change(0, "retention.ms", "1000"), None);
    assert_eq!(change(2, "cleanup.policy", "compact"), None);
    assert_eq!(change(0, "no.such.setting", "1"), Some(ResponseError::InvalidConfig));
    assert_eq!(change(0, "retention.bytes", "many"), Some(ResponseError::InvalidConfig));
    let asked = ResourceSpecifier::Topic("t");
    let described = dev.runtime.block_on(dev.admin().describe_configs([&asked], &AdminOptions::new()));
    let described = described.unwrap().remove(0).unwrap();
    let setting = |name: &str| described.get(name).unwrap().value.clone().unwrap();
    assert_eq!(setting("retention.ms"), "1000");
    assert_eq!(setting("cleanup.policy"), "delete,compact");
    assert_eq!(setting("retention.bytes"), "-1");
}

#[test]
fn a_stopped_broker_closes_its_connections_and_frees_its_port() {
    let dev = Dev::with_topic("t", 1);
    let (address, runtime) = (dev.broker.address(), dev.runtime);
    let mut held = std::net::TcpStream::connect(address).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    runtime.block_on(dev.broker.stop());
    assert!(matches!(std::io::Read::read(&mut held, &mut [0; 1]), Ok(0) | Err(_)));
    assert!(std::net::TcpStream::connect(address).is_err());
}
