//! A broker that goes away and comes back, under a source and a sink that both wait for it.
use crate::ends;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{Condition, ErrorKind, Offsets};
use aqueduct_tests::Kafka;
use ends::{assert_all_in_order, create, fill, fresh, open_sink, open_source, text};
use serde_json::json;
use tokio::time::Instant;

/// Waits until both ends say that they wait, or that they do not.
async fn both(ends: &[Condition; 2], waiting: bool) {
    let deadline = Instant::now() + ends::PATIENCE;
    while ends.iter().any(|end| end.reason().is_some() != waiting) {
        let reasons = ends.each_ref().map(Condition::reason);
        assert!(Instant::now() < deadline, "expected waiting = {waiting}: {reasons:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_wait_for_a_broker_that_is_away() {
    let kafka = Arc::new(Kafka::new());
    let brokers = kafka.brokers();
    // Opened before there is any broker.
    let mut reader = open_source(&brokers, "outage", json!({ "topics": ["outage"] })).await;
    let mut writer = open_sink(&brokers, json!({ "topic": "outage" })).await;
    let conditions = [reader.condition.clone(), writer.condition.clone()];
    both(&conditions, true).await;
    let says = format!("nothing listens at {brokers}: the connection was refused");
    let deadline = Instant::now() + ends::PATIENCE;
    for end in &conditions {
        // Both wait from the first moment, and say for what as soon as it is known.
        while !end.reason().unwrap().starts_with(&says) {
            assert!(Instant::now() < deadline, "{:?}", end.reason());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    reader.nothing(Duration::from_millis(300)).await;

    restart(&kafka).await;
    create(&kafka, "outage", 2, &[]).await;
    both(&conditions, false).await;

    // Long enough for both outages.
    const BATCHES: usize = 1_000;
    let writing = tokio::spawn(async move {
        for batch in 0..BATCHES {
            let records = (0..100).map(|n| fresh("t", Some("k"), &format!("{}", batch * 100 + n))).collect();
            writer.write(records).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        writer.flush().await.unwrap();
        assert!(writer.rejected.is_empty());
    });
    let reading = tokio::spawn(async move {
        let (mut all, deadline) = (Vec::new(), Instant::now() + ends::PATIENCE * 2);
        let mut offsets = BTreeSet::new();
        while offsets.len() < BATCHES * 100 {
            assert!(Instant::now() < deadline, "{} records, {:?}", all.len(), reader.condition.reason());
            match reader.source.poll(Duration::from_millis(100)).await {
                Ok(aqueduct_api::Polled::Batch { records, resume_at }) => {
                    offsets.extend(records.iter().map(|record| record.origin));
                    all.extend(records);
                    reader.source.release(&resume_at).await.unwrap();
                }
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), aqueduct_api::ErrorKind::Transient, "{error}"),
            }
        }
        reader.source.close().await.unwrap();
        all
    });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let of_thread = kafka.clone();
        tokio::task::spawn_blocking(move || of_thread.kill()).await.unwrap();
        both(&conditions, true).await;
        restart(&kafka).await;
        both(&conditions, false).await;
    }
    writing.await.unwrap();
    let read = reading.await.unwrap();
    assert_all_in_order(read.iter().map(|record| text(&record.value).parse().unwrap()), BATCHES * 100);
    // A broker that forgets its group has the source read again what was not committed; the sink writes
    // nothing twice.
    let stored: BTreeMap<_, _> = read.iter().map(|record| (record.origin, text(&record.value))).collect();
    assert_eq!(stored.values().collect::<BTreeSet<_>>().len(), stored.len());
    let committed = ends::committed(&kafka, "outage", "outage", 2).await;
    assert_eq!(committed.into_iter().flatten().max(), Some(BATCHES as i64 * 100));
}

/// The offsets reported as stored are those that the broker has confirmed, and no release waits for that.
#[tokio::test(flavor = "multi_thread")]
async fn an_offset_counts_as_stored_when_the_broker_has_said_so() {
    let kafka = Arc::new(Kafka::start());
    create(&kafka, "confirmed", 1, &[]).await;
    fill(&kafka, "confirmed", 0..100, 1_000).await;
    let mut reader = open_source(&kafka.brokers(), "confirmed", json!({ "topics": ["confirmed"] })).await;
    reader.read(100).await;
    let at = |offset: &str| Some(Offsets::from([("confirmed/0".into(), offset.into())]));
    assert_eq!(reader.source.stored(), Some(Offsets::new()), "the group has nothing yet");
    kafka.freeze_broker(0);
    let begun = Instant::now();
    reader.source.release(&at("60").unwrap()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500), "it waited {:?}", begun.elapsed());
    reader.nothing(Duration::from_secs(2)).await;
    assert_eq!(reader.source.stored(), Some(Offsets::new()), "sent, and not confirmed");
    kafka.thaw_broker(0);
    let deadline = Instant::now() + ends::PATIENCE;
    while reader.source.stored() != at("60") {
        assert!(Instant::now() < deadline, "{:?}, {:?}", reader.source.stored(), reader.condition.reason());
        reader.nothing(Duration::from_millis(100)).await;
    }
    reader.source.release(&at("100").unwrap()).await.unwrap();
    reader.source.close().await.unwrap();
    assert_eq!(reader.source.stored(), at("100"), "the last commit is known at the end");
}

/// Its controller gives it up meanwhile, and so it names no brokers at all when it goes on: clients that believe it have
/// nobody left to ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_lone_broker_that_stood_still_for_long_is_found_again() {
    let kafka = Arc::new(Kafka::start());
    create(&kafka, "stood-still", 1, &[]).await;
    let mut reader = open_source(&kafka.brokers(), "stood-still", json!({ "topics": ["stood-still"] })).await;
    let mut writer = open_sink(&kafka.brokers(), json!({ "topic": "stood-still" })).await;
    writer.write(vec![fresh("t", None, "1")]).await.unwrap();
    writer.flush().await.unwrap();
    reader.read(1).await;
    for round in 0..3 {
        kafka.freeze_broker(0);
        reader.nothing(Duration::from_secs(12)).await;
        kafka.thaw_broker(0);
        writer.write(vec![fresh("t", None, &round.to_string())]).await.unwrap();
        tokio::time::timeout(ends::PATIENCE, writer.flush()).await.unwrap().unwrap();
        reader.read(1).await;
    }
    let begun = Instant::now();
    reader.source.close().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
}

/// A cluster that was made anew behind the same address: the same records under another id.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_behind_the_same_address_stops_both_ends() {
    let kafka = Arc::new(Kafka::start());
    let brokers = kafka.brokers();
    create(&kafka, "replaced", 1, &[]).await;
    let mut reader = open_source(&brokers, "replaced", json!({ "topics": ["replaced"] })).await;
    let mut writer = open_sink(&brokers, json!({ "topic": "replaced" })).await;
    writer.write(vec![fresh("t", None, "1")]).await.unwrap();
    writer.flush().await.unwrap();
    reader.read(1).await;
    kafka.kill();
    let identity = kafka.folder_of(0).join("data/meta.properties");
    let text = std::fs::read_to_string(&identity).unwrap();
    std::fs::write(&identity, text.replace("MkU3OEVBNTcwNTJENDM2Qk", "AkU3OEVBNTcwNTJENDM2Qk")).unwrap();
    restart(&kafka).await;
    let says = format!(
        "{brokers} is another cluster now: its id was MkU3OEVBNTcwNTJENDM2Qk and is AkU3OEVBNTcwNTJENDM2Qk"
    );
    let error = reader.error().await;
    assert_eq!((error.kind(), error.says()), (ErrorKind::Config, &*says));
    // The library tells it a moment after the first answer, so a record may have passed.
    let deadline = Instant::now() + ends::PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline);
        if let Err(error) = writer.sink.tick().await {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((error.kind(), error.says()), (ErrorKind::Config, &*says));
}

async fn restart(kafka: &Arc<Kafka>) {
    let of_thread = kafka.clone();
    tokio::task::spawn_blocking(move || of_thread.start_again()).await.unwrap();
}
