//! Records of all shapes, as a real broker gives them: headers beside empty, absent and full parts, under every codec, and odd
//! times. What comes out is what was put in.
use crate::ends;

use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_api::{Header, Payload, Record};
use aqueduct_tests::Kafka;
use ends::{broker, client, create, open_sink, open_source};
use rdkafka::message::{Header as Sent, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

type Parts = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, Option<i64>);

/// Every combination of an absent, an empty and a full key and value with no, one and odd headers.
fn combinations() -> Vec<Parts> {
    let part = [None, Some(Vec::new()), Some(b"full".to_vec())];
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let lists = [
        vec![],
        vec![header("trace", Some(b"7f"))],
        vec![header("", None), header("twice", Some(b"")), header("twice", Some(&[0, 255]))],
    ];
    let mut all = Vec::new();
    for key in &part {
        for value in &part {
            all.extend(
                lists.iter().map(|headers| (key.clone(), value.clone(), headers.clone(), Some(1_000))),
            );
        }
    }
    all
}

/// Shapes of their own: many headers, a large one, unusual names, values that end in zero bytes, times.
fn oddities() -> Vec<Parts> {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let one = |name: &str, value: Option<Vec<u8>>| vec![(name.to_owned(), value)];
    let plain = |value: Vec<u8>, time| (text("k"), Some(value), Vec::new(), Some(time));
    vec![
        (text("k"), text("v"), (0..300).map(|n| (format!("h{n}"), text("v"))).collect(), Some(1)),
        (text("k"), text("v"), one("big", Some(vec![b'x'; 300_000])), Some(1)),
        (text("k"), text(""), one("big", Some(vec![0; 300_000])), Some(1)),
        (text("k"), text("v"), one("ünï", Some((0..=255).collect())), Some(1)),
        (Some(vec![255]), Some(vec![254]), one("aqueduct.error", text("mine")), Some(1)),
        (text("k"), Some(vec![0; 3]), one("zeros", Some(vec![0; 3])), Some(1)),
        plain(vec![0], 1),
        plain(vec![7; 100_000], 1),
        plain(b"end of time".to_vec(), 253_402_300_799_999),
        plain(b"odd".to_vec(), i64::MAX),
    ]
}

fn send(kafka: &Kafka, topic: &str, codec: &str, all: &[Parts]) {
    let properties = [("compression.type", codec), ("linger.ms", "100"), ("message.max.bytes", "2000000")];
    let producer: BaseProducer = client(kafka, &properties).create().unwrap();
    for (key, value, headers, time) in all {
        let mut sent = OwnedHeaders::new();
        for (key, value) in headers {
            sent = sent.insert(Sent { key, value: value.as_ref() });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).headers(sent);
        record.timestamp = *time;
        (record.key, record.payload) = (key.as_deref(), value.as_deref());
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

fn parts(record: &Record) -> Parts {
    let bytes = |payload: &Payload| payload.bytes().map(|bytes| bytes.to_vec());
    let header =
        |Header { name, value }: &Header| (name.to_string(), value.as_ref().map(|value| value.to_vec()));
    let headers = record.headers.into_iter().map(header).collect();
    (bytes(&record.key), bytes(&record.value), headers, record.timestamp_us.map(|us| us / 1_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_come_with_every_key_and_value_under_every_codec() {
    let kafka = broker();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let (topic, copy) = (format!("shapes.{codec}"), format!("shapes.{codec}.copy"));
        for name in [&topic, &copy] {
            create(&kafka, name, 1, &[("message.timestamp.after.max.ms", &i64::MAX.to_string())]).await;
        }
        let mut all = combinations();
        all.extend(oddities());
        tokio::task::block_in_place(|| send(&kafka, &topic, codec, &all));
        let mut reader = open_source(&kafka.brokers(), &topic, json!({ "topics": [topic] })).await;
        let (records, _) = reader.read(all.len()).await;
        for (record, put) in records.iter().zip(&mut all) {
            // What has so late a time that microseconds cannot say it is as late as can be said.
            put.3 = put.3.map(|ms| ms.min(i64::MAX / 1_000));
            assert!(parts(record) == *put, "{codec}: {:?} of {:?}", record.headers, put.2);
        }
        let mut writer = open_sink(&kafka.brokers(), json!({ "topic": copy, "compression": codec })).await;
        writer.write(records).await.unwrap();
        writer.flush().await.unwrap();
        let mut reader = open_source(&kafka.brokers(), &copy, json!({ "topics": [copy] })).await;
        let (records, _) = reader.read(all.len()).await;
        let copied: Vec<Parts> = records.iter().map(parts).collect();
        assert!(copied == all, "{codec}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_large_and_small_records_keep_their_bounds_and_their_order() {
    let kafka = broker();
    create(&kafka, "bounds", 3, &[]).await;
    let producer: BaseProducer = client(&kafka, &[("linger.ms", "50")]).create().unwrap();
    let large = |n: usize| if n.is_multiple_of(40) { 300_000 } else { n % 50 };
    for n in 0..600 {
        let headers =
            OwnedHeaders::new().insert(Sent { key: "big", value: Some(&vec![1_u8; large(n + 20)]) });
        let payload = vec![b'x'; large(n)];
        let record = BaseRecord::<(), [u8]>::to("bounds").partition(n as i32 % 3).payload(&payload);
        producer.send(record.headers(headers)).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
    tokio::task::block_in_place(|| producer.flush(Duration::from_secs(20))).unwrap();
    let mut reader = open_source(&kafka.brokers(), "bounds", json!({ "topics": ["bounds"] })).await;
    let (mut read, mut next) = (0, BTreeMap::new());
    while read < 600 {
        let polled = reader.source.poll(Duration::from_millis(100)).await.unwrap();
        let aqueduct_api::Polled::Batch { records, .. } = polled else { continue };
        let held = records.memory_bytes();
        let bytes: usize = records.iter().map(Record::memory_bytes).sum();
        // A megabyte, and one record that is larger than what is left of it, with a quarter of it empty at most.
        assert!(bytes < (1 << 20) + 700_000, "{bytes} bytes in {} records", records.len());
        assert!(held < bytes + bytes / 2 + 4_096, "{held} bytes are held for {bytes}");
        for record in &records {
            let next = next.entry(record.origin.partition).or_insert(0);
            assert_eq!(record.origin.offset, *next);
            *next += 1;
        }
        read += records.len();
    }
}
