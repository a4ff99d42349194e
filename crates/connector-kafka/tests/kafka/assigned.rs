//! Partitions that are assigned by the file: no group is joined, and offsets are committed to it all the same.
use crate::ends;

use std::time::Duration;

use aqueduct_api::{ErrorKind, Offsets};
use ends::{broker, by_partition, committed, create, fill, open_source};
use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use serde_json::json;

fn release(topic: &str, offsets: &[(i32, i64)]) -> Offsets {
    let name =
        |(partition, offset): &(i32, i64)| (format!("{topic}/{partition}").into(), offset.to_string().into());
    offsets.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_named_is_read_and_nobody_joins() {
    let kafka = broker();
    create(&kafka, "named", 3, &[]).await;
    fill(&kafka, "named", 0..300, 1_000).await;
    let config = json!({ "partitions": { "named": [0, 2] } });
    let mut reader = open_source(&kafka.brokers(), "named", config.clone()).await;
    let count =
        ends::end_of_partition(&kafka, "named", 0).await + ends::end_of_partition(&kafka, "named", 2).await;
    let (records, _) = reader.read(count).await;
    assert_eq!(by_partition(&records).keys().copied().collect::<Vec<_>>(), [0, 2]);
    reader.nothing(Duration::from_millis(500)).await;
    reader.source.release(&release("named", &[(0, 7), (2, 9)])).await.unwrap();
    reader.source.close().await.unwrap();
    assert_eq!(committed(&kafka, "named", "named", 3).await, [Some(7), None, Some(9)]);

    let mut reader = open_source(&kafka.brokers(), "named", config).await;
    let (records, _) = reader.read(count - 16).await;
    assert_eq!(records.iter().find(|it| it.origin.partition == 0).unwrap().origin.offset, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_again_while_nothing_moves() {
    let kafka = broker();
    create(&kafka, "idle", 1, &[]).await;
    fill(&kafka, "idle", 0..10, 1_000).await;
    let config = json!({ "partitions": { "idle": [0] }, "recommit_every": "1s" });
    let mut reader = open_source(&kafka.brokers(), "idle", config).await;
    let (_, resume) = reader.read(10).await;
    reader.source.release(&resume).await.unwrap();
    reader.nothing(Duration::from_millis(500)).await;
    assert_eq!(committed(&kafka, "idle", "idle", 1).await, [Some(10)]);
    // The cluster deletes offsets in time. Here another client moves the offset, and only a further commit corrects it.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", "idle")
        .create()
        .unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset("idle", 0, Offset::Offset(3)).unwrap();
    tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync).unwrap()).await.unwrap();
    reader.nothing(Duration::from_secs(3)).await;
    assert_eq!(committed(&kafka, "idle", "idle", 1).await, [Some(10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_not_there_is_named() {
    let kafka = broker();
    create(&kafka, "few", 2, &[]).await;
    fill(&kafka, "few", 0..10, 1_000).await;
    let mut reader = open_source(&kafka.brokers(), "few", json!({ "partitions": { "few": [7] } })).await;
    let error = reader.error().await;
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(error.says(), "topic `few` has 2 partitions, and no partition 7");
    assert_eq!(reader.condition.reason(), Some(error.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_members_is_not_for_named_partitions() {
    let kafka = broker();
    create(&kafka, "busy", 2, &[]).await;
    fill(&kafka, "busy", 0..100, 1_000).await;
    let mut member = open_source(&kafka.brokers(), "busy", json!({ "topics": ["busy"] })).await;
    member.read(100).await;
    let config = json!({ "partitions": { "busy": [0] } });
    let mut reader = open_source(&kafka.brokers(), "busy", config.clone()).await;
    let (_, resume) = reader.read(1).await;
    reader.source.release(&resume).await.unwrap();
    reader.nothing(Duration::from_secs(2)).await;
    let reason = reader.condition.reason().unwrap();
    let says =
        "offsets are not committed: group `busy` has members, and `partitions` are read without being one";
    assert!(reason.starts_with(says), "{reason}");
    member.source.close().await.unwrap();
    reader.nothing(Duration::from_secs(3)).await;
    assert_eq!(reader.condition.reason(), None);
}
