//! Members of a group: static ones, both protocols, all assignors, and partitions that come while they read.
use crate::ends;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::Polled;
use aqueduct_tests::Kafka;
use ends::{Reader, broker, by_partition, create, fill, open_source, with};
use serde_json::json;
use tokio::time::Instant;

/// Polls for that long: what is read, by partition, and whether anything was revoked.
async fn watch(reader: &mut Reader, time: Duration) -> (BTreeSet<i32>, bool) {
    let (deadline, mut read, mut revoked) = (Instant::now() + time, BTreeSet::new(), false);
    while Instant::now() < deadline {
        match reader.source.poll(Duration::from_millis(50)).await.unwrap() {
            Polled::Batch { records, resume_at } => {
                read.extend(records.iter().map(|record| record.origin.partition));
                reader.source.release(&resume_at).await.unwrap();
            }
            Polled::Revoked { .. } => revoked = true,
            _ => {}
        }
    }
    (read, revoked)
}

/// Polls both members until each partition is assigned to one of them, with a record in each.
async fn shared(kafka: &Kafka, topic: &str, members: &mut [Reader; 2]) -> [BTreeSet<i32>; 2] {
    let deadline = Instant::now() + ends::PATIENCE;
    loop {
        fill(kafka, topic, 0..200, 1_000).await;
        let [first, second] = members;
        let ((first, _), (second, _)) =
            tokio::join!(watch(first, Duration::from_secs(1)), watch(second, Duration::from_secs(1)));
        if first.len() == 2 && second.len() == 2 && first.is_disjoint(&second) {
            return [first, second];
        }
        assert!(Instant::now() < deadline, "{first:?}, {second:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_comes_back_and_the_others_notice_nothing() {
    let kafka = broker();
    for (topic, protocol) in [("static-classic", "classic"), ("static-kip848", "consumer")] {
        create(&kafka, topic, 4, &[]).await;
        let config = json!({ "topics": [topic], "group_protocol": protocol, "session_timeout": "20s" });
        let named = |name: &str| with(config.clone(), json!({ "instance_id": name }));
        let mut members = [
            open_source(&kafka.brokers(), topic, named("a")).await,
            open_source(&kafka.brokers(), topic, named("b")).await,
        ];
        let [before, others] = shared(&kafka, topic, &mut members).await;
        let [mut first, mut second] = members;
        first.source.close().await.unwrap();
        let away = watch(&mut second, Duration::from_secs(2)).await;
        let first = open_source(&kafka.brokers(), topic, named("a")).await;
        let (_, revoked) = watch(&mut second, Duration::from_secs(2)).await;
        assert!(!away.1 && !revoked, "{topic}: the other lost partitions");
        let mut members = [first, second];
        let [after, others_after] = shared(&kafka, topic, &mut members).await;
        assert_eq!((before, others), (after, others_after), "{topic}");
        for mut member in members {
            member.source.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_assignor_shares_the_topic() {
    let kafka = broker();
    for assignor in ["cooperative_sticky", "range", "roundrobin"] {
        let topic = format!("assignor-{assignor}");
        create(&kafka, &topic, 4, &[]).await;
        let config = json!({ "topics": [topic], "assignor": assignor, "rack": "r1" });
        let mut members = [
            open_source(&kafka.brokers(), &topic, config.clone()).await,
            open_source(&kafka.brokers(), &topic, config.clone()).await,
        ];
        shared(&kafka, &topic, &mut members).await;
        for mut member in members {
            member.source.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_partitions_are_found_and_read_from_their_beginning() {
    let kafka = broker();
    create(&kafka, "grows", 1, &[]).await;
    fill(&kafka, "grows", 0..100, 1_000).await;
    let quick = json!({ "topic.metadata.refresh.interval.ms": 2000 });
    let config = json!({ "topics": ["grows"], "start": "latest", "client": quick });
    let mut reader = open_source(&kafka.brokers(), "grows", config.clone()).await;
    reader.nothing(Duration::from_secs(2)).await;
    // Opened again, so that the group has offsets for all there is.
    reader.source.close().await.unwrap();
    let mut reader = open_source(&kafka.brokers(), "grows", config).await;
    reader.nothing(Duration::from_secs(2)).await;
    let admin: Arc<Kafka> = kafka.clone();
    tokio::task::spawn_blocking(move || admin.add_partitions("grows", 3)).await.unwrap();
    // Written before the new partitions are found: `latest` would leave them out.
    fill(&kafka, "grows", 100..400, 1_000).await;
    let (records, _) = reader.read(300).await;
    let found = by_partition(&records);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 300);
    reader.nothing(Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_a_pattern_finds_later_is_read_from_its_beginning() {
    let kafka = broker();
    create(&kafka, "later.a", 1, &[]).await;
    fill(&kafka, "later.a", 0..50, 1_000).await;
    let quick = json!({ "topic.metadata.refresh.interval.ms": 2000 });
    let config = json!({ "topics": { "pattern": "later\\..*" }, "start": "latest", "client": quick });
    let mut reader = open_source(&kafka.brokers(), "later", config).await;
    reader.nothing(Duration::from_secs(3)).await;
    create(&kafka, "later.b", 2, &[]).await;
    fill(&kafka, "later.b", 0..100, 1_000).await;
    let (records, _) = reader.read(100).await;
    assert!(records.iter().all(|record| &*record.topic == "later.b"));
    reader.nothing(Duration::from_millis(500)).await;
}
