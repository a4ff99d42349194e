//! The sink against a real broker: what arrives, in which order, and what is refused.
use crate::ends;

use std::collections::BTreeMap;

use aqueduct_api::murmur2::partition_for_key;
use aqueduct_api::{ErrorKind, Payload};
use aqueduct_tests::Kafka;
use bytes::Bytes;
use ends::{assert_all_in_order, broker, create, end_of, open_sink, open_source, record, text};
use serde_json::json;

/// Our own producer, and the library.
const WRITERS: [&str; 2] = ["own", "librdkafka"];

/// A sink that writes by one of them, to a topic that is its alone.
async fn open_sink_by(writer: &str, brokers: &str, topic: &str, mut rest: serde_json::Value) -> ends::Writer {
    rest["topic"] = format!("{topic}-{writer}").into();
    rest["producer"] = writer.into();
    open_sink(brokers, rest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_a_record_survives() {
    let kafka = broker();
    let mut sent = Vec::new();
    for number in 0..3_000 {
        let mut record = record("anything", Some(&format!("key-{number}")), &format!("value {number}"));
        record.timestamp_us = Some(1_700_000_000_000_000 + number * 1_000);
        match number % 5 {
            0 => record.value = Payload::Absent,
            1 => record.value = Payload::Raw(Bytes::new()),
            2 => {
                record.headers.push("a", Some(Bytes::from_static(b"\xff\x00")));
                record.headers.push("a", None);
                record.headers.push("", Some(Bytes::new()));
            }
            _ => {}
        }
        sent.push(record);
    }
    let compressions = ["lz4", "zstd", "none", "gzip", "snappy"];
    for (compression, by) in compressions.iter().flat_map(|it| WRITERS.map(|by| (*it, by))) {
        let topic = &*format!("{compression}-{by}");
        create(&kafka, topic, 6, &[]).await;
        let rest = json!({ "compression": compression });
        let mut writer = open_sink_by(by, &kafka.brokers(), compression, rest).await;
        for chunk in sent.chunks(700) {
            writer.write(chunk.to_vec()).await.unwrap();
        }
        writer.flush().await.unwrap();
        assert!(writer.rejected.is_empty());
        let mut reader = open_source(&kafka.brokers(), topic, json!({ "topics": [topic] })).await;
        let (mut read, _) = reader.read(3_000).await;
        read.sort_by_key(|record| record.timestamp_us);
        for (sent, read) in sent.iter().zip(read) {
            let key = sent.key.bytes().unwrap();
            assert_eq!(
                read.origin.partition as u32,
                partition_for_key(key, 6),
                "where the Java client puts it"
            );
            assert_eq!(&*read.topic, topic);
            assert_eq!(
                (&sent.key, &sent.value, &sent.headers, sent.timestamp_us),
                (&read.key, &read.value, &read.headers, read.timestamp_us)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_comes_from_the_record() {
    let kafka = broker();
    create(&kafka, "of.acme", 1, &[]).await;
    let mut writer = open_sink(&kafka.brokers(), json!({ "topic": "of.{header.tenant}" })).await;
    let of = |tenant: &'static str| {
        let mut record = record("t", None, tenant);
        record.headers.push("tenant", Some(Bytes::from_static(tenant.as_bytes())));
        record
    };
    writer.write(vec![of("acme"), record("t", None, "nobody"), of("a b")]).await.unwrap();
    writer.flush().await.unwrap();
    let rejected: Vec<String> = writer
        .rejected
        .iter()
        .map(|rejected| format!("{}: {}", text(&rejected.record.value), rejected.error))
        .collect();
    assert_eq!(rejected.len(), 2);
    assert!(rejected[0].starts_with("nobody: the record has no `tenant`"), "{rejected:?}");
    assert!(rejected[1].starts_with("a b: `of.a b` is not a topic name; "), "{rejected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_is_set_aside_and_the_rest_keeps_its_order() {
    let kafka = broker();
    for by in WRITERS {
        too_large_is_set_aside(&kafka, by, &format!("large-{by}")).await;
    }
}

async fn too_large_is_set_aside(kafka: &Kafka, by: &str, topic: &str) {
    create(kafka, topic, 1, &[]).await;
    let mut writer = open_sink_by(by, &kafka.brokers(), "large", json!({ "compression": "none" })).await;
    let large = "x".repeat(2 << 20);
    for batch in 0..100 {
        let mut records: Vec<_> =
            (0..100).map(|n| record("t", Some("k"), &format!("{}", batch * 100 + n))).collect();
        if batch % 10 == 5 {
            records.insert(50, record("t", Some("k"), &large));
        }
        writer.write(records).await.unwrap();
    }
    writer.flush().await.unwrap();
    assert_eq!(writer.rejected.len(), 10);
    let error = &writer.rejected[0].error;
    assert_eq!(error.kind(), ErrorKind::BadRecord);
    assert!(
        error.says().starts_with(&format!("the record of 2097153 bytes is too large for topic `{topic}`")),
        "{error}"
    );
    let mut reader = open_source(&kafka.brokers(), topic, json!({ "topics": [topic] })).await;
    let (read, _) = reader.read(10_000).await;
    assert_all_in_order(read.iter().map(|record| text(&record.value).parse().unwrap()), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_does_not_take_its_neighbours_along() {
    let kafka = broker();
    for by in WRITERS {
        neighbours_pass(&kafka, by, &format!("compacted-{by}")).await;
    }
}

async fn neighbours_pass(kafka: &Kafka, by: &str, topic: &str) {
    create(kafka, topic, 1, &[("cleanup.policy", "compact")]).await;
    let mut writer = open_sink_by(by, &kafka.brokers(), "compacted", json!({})).await;
    for batch in 0..20 {
        let key = |n: usize| if n % 25 == 7 { None } else { Some("k") };
        let records = (0..100).map(|n| record("t", key(n), &format!("{}", batch * 100 + n))).collect();
        writer.write(records).await.unwrap();
    }
    writer.flush().await.unwrap();
    assert_eq!(writer.rejected.len(), 20 * 4);
    let says = writer.rejected[0].error.to_string();
    assert!(says.starts_with(&format!("topic `{topic}` refuses the record: InvalidRecord")), "{says}");
    let stored = numbers_in(kafka, topic).await;
    assert_last_in_order(&stored, (0..2_000).filter(|n| n % 25 != 7));
    if by == "own" {
        assert_eq!(stored.len(), 2_000 - 80, "and nothing twice");
    }
}

/// The numbers with which the values in a topic begin, all of them.
async fn numbers_in(kafka: &Kafka, topic: &str) -> Vec<usize> {
    let mut reader = open_source(&kafka.brokers(), topic, json!({ "topics": [topic] })).await;
    let (read, _) = reader.read(end_of(kafka, topic, 1).await).await;
    reader.source.close().await.unwrap();
    read.iter().map(|record| text(&record.value).split(' ').next().unwrap().parse().unwrap()).collect()
}

/// What follows a refused record may have been under way already; it is written again behind what was refused along with
/// it, so that of each key the last copies are all there and in order.
fn assert_last_in_order(stored: &[usize], expected: impl Iterator<Item = usize>) {
    let last: BTreeMap<usize, usize> = stored.iter().enumerate().map(|(at, number)| (*number, at)).collect();
    assert_eq!(last.keys().copied().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let early = last.iter().zip(last.iter().skip(1)).find(|((_, at), (_, next))| at > next);
    assert_eq!(early, None, "a number and its place, and one before it that stands behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_small_batches_only_gets_them() {
    let kafka = broker();
    for by in WRITERS {
        small_batches_pass(&kafka, by, &format!("small-{by}")).await;
    }
}

async fn small_batches_pass(kafka: &Kafka, by: &str, topic: &str) {
    create(kafka, topic, 1, &[("max.message.bytes", "20000")]).await;
    let mut writer = open_sink_by(by, &kafka.brokers(), "small", json!({ "compression": "none" })).await;
    let pad = "v".repeat(100);
    let mut records: Vec<_> = (0..3_000).map(|n| record("t", Some("k"), &format!("{n} {pad}"))).collect();
    records.insert(1_700, record("t", Some("k"), &"x".repeat(30_000)));
    writer.write(records).await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(writer.rejected.len(), 1);
    let says = writer.rejected[0].error.says();
    assert!(
        says.starts_with(&format!("the record of 30001 bytes is too large for topic `{topic}`")),
        "{says}"
    );
    let stored = numbers_in(kafka, topic).await;
    assert_last_in_order(&stored, 0..3_000);
    if by == "own" {
        assert_eq!(stored.len(), 3_000, "and nothing twice");
    }
}

/// A broker takes any first number of a producer that it does not know: were the second batch under way with the first, it would
/// be stored while the first is refused for its size.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_batch_of_a_producer_is_not_overtaken_when_it_is_refused() {
    let kafka = broker();
    for round in 0..5 {
        let topic = &*format!("first-{round}");
        create(&kafka, topic, 1, &[("max.message.bytes", "500000")]).await;
        let config = json!({ "topic": topic, "compression": "none", "linger": "1ms" });
        let mut writer = open_sink(&kafka.brokers(), config).await;
        let pad = "v".repeat(1_000);
        let records = (0..900).map(|n| record("t", Some("k"), &format!("{n} {pad}"))).collect();
        writer.write(records).await.unwrap();
        for n in 900..950 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            writer.write(vec![record("t", Some("k"), &n.to_string())]).await.unwrap();
        }
        writer.flush().await.unwrap();
        assert!(writer.rejected.is_empty());
        assert_eq!(numbers_in(&kafka, topic).await, (0..950).collect::<Vec<_>>(), "in order, once");
    }
}
