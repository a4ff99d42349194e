//! Progress is a position, not a count of records: what a partition ends in may be no record at all.
use crate::ends;

use std::time::Duration;

use aqueduct_api::Polled;
use aqueduct_tests::Kafka;
use ends::{
    PATIENCE, Reader, broker, client, committed, create, open_source, open_source_kept, open_source_stored,
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::Instant;

fn producer(kafka: &Kafka, topic: &str) -> BaseProducer {
    let producer: BaseProducer = client(kafka, &[("transactional.id", topic)]).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

fn put(producer: &BaseProducer, topic: &str, partitions: &[i32], values: &[&str]) {
    producer.begin_transaction().unwrap();
    for (partition, value) in partitions.iter().flat_map(|it| values.iter().map(move |value| (it, value))) {
        let record = BaseRecord::<(), str>::to(topic).partition(*partition).payload(*value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Partition 0 ends in a commit marker, 1 in an aborted transaction, 2 has nothing but one, and 3 is empty.
fn endings(kafka: &Kafka, topic: &str) -> BaseProducer {
    let producer = producer(kafka, topic);
    put(&producer, topic, &[0, 1], &["kept"]);
    producer.commit_transaction(PATIENCE).unwrap();
    put(&producer, topic, &[1, 2], &["undone"; 5]);
    producer.abort_transaction(PATIENCE).unwrap();
    producer
}

const ENDS: [i64; 4] = [2, 8, 6, 0];

/// Releases everything that comes until all partitions are read to their ends.
async fn to_the_end(reader: &mut Reader, topic: &str) -> usize {
    let (mut records_read, deadline) = (0, Instant::now() + PATIENCE);
    let mut at = [None; 4];
    while (0..4).any(|n| at[n] != Some(ENDS[n])) {
        assert!(Instant::now() < deadline, "{at:?}");
        let polled = reader.source.poll(Duration::from_millis(100)).await.unwrap();
        let Polled::Batch { records, resume_at } = polled else { continue };
        records_read += records.len();
        for (name, position) in &resume_at {
            let partition: usize = name.strip_prefix(&format!("{topic}/")).unwrap().parse().unwrap();
            let position = Some(position.parse().unwrap());
            assert!(position > at[partition], "a position only grows");
            at[partition] = position;
        }
        reader.source.release(&resume_at).await.unwrap();
    }
    let lags = reader.source.lag();
    assert!(lags.len() == 4 && lags.iter().all(|lag| lag.unread == 0), "{lags:?}");
    records_read
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_and_undone_records_at_the_end_are_passed() {
    let kafka = broker();
    create(&kafka, "endings", 4, &[]).await;
    block_in_place(|| endings(&kafka, "endings"));
    let mut reader = open_source(&kafka.brokers(), "endings", json!({ "topics": ["endings"] })).await;
    assert_eq!(to_the_end(&mut reader, "endings").await, 2);
    reader.source.close().await.unwrap();
    assert_eq!(committed(&kafka, "endings", "endings", 4).await, ENDS.map(Some));
    assert_eq!(block_in_place(|| kafka.lag("endings", "endings")), 0, "as Kafka's own tool sees it");
    // The next one returns no position again, and reads on behind it.
    let mut reader = open_source(&kafka.brokers(), "endings", json!({ "topics": ["endings"] })).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let polled = reader.source.poll(Duration::from_millis(100)).await.unwrap();
        assert!(!matches!(polled, Polled::Batch { .. }), "{polled:?}");
    }
    let lags = reader.source.lag();
    assert!(lags.len() == 4 && lags.iter().all(|lag| (lag.records, lag.unread) == (0, 0)), "{lags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_known_whoever_keeps_the_offsets() {
    let kafka = broker();
    create(&kafka, "endings.kept", 4, &[]).await;
    block_in_place(|| endings(&kafka, "endings.kept"));
    let config = json!({ "topics": ["endings.kept"] });
    let mut reader = open_source_kept(&kafka.brokers(), "endings.kept", config, 1_000, true).await;
    assert_eq!(to_the_end(&mut reader, "endings.kept").await, 2);
    let lags = reader.source.lag();
    assert!(lags.iter().all(|lag| lag.records == 0), "{lags:?}");
    let config = json!({ "partitions": { "endings.kept": [0, 1, 2, 3] } });
    let mut reader = open_source_stored(&kafka.brokers(), "endings.stored", config).await;
    assert_eq!(to_the_end(&mut reader, "endings.kept").await, 2);
    let lags = reader.source.lag();
    assert!(lags.iter().all(|lag| lag.records == 0), "{lags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_decided_yet_is_not_passed() {
    let kafka = broker();
    create(&kafka, "undecided", 4, &[]).await;
    let producer = block_in_place(|| {
        let producer = producer(&kafka, "undecided");
        put(&producer, "undecided", &[0], &["first"]);
        producer.commit_transaction(PATIENCE).unwrap();
        put(&producer, "undecided", &[0], &["second", "third"]);
        producer
    });
    let mut reader = open_source(&kafka.brokers(), "undecided", json!({ "topics": ["undecided"] })).await;
    let (records, resume) = reader.read(1).await;
    assert_eq!((records.len(), &*resume["undecided/0"]), (1, "1"));
    reader.arrives("undecided/0", "2").await;
    reader.nothing(Duration::from_secs(2)).await;
    let lag = reader.source.lag().into_iter().find(|lag| &*lag.partition == "undecided/0").unwrap();
    assert_eq!(lag.unread, 2, "they are there, and cannot be read yet");
    block_in_place(|| producer.commit_transaction(PATIENCE)).unwrap();
    let (records, _) = reader.read(2).await;
    assert_eq!(records[0].origin.offset, 2);
    reader.arrives("undecided/0", "5").await;
}
