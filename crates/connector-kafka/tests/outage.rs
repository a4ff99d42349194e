//! A broker that goes away and comes back, under a source and a sink that both wait for it.
#![allow(missing_docs, clippy::unwrap_used)]

mod ends;

use std::sync::Arc;
use std::time::Duration;

use aqueduct_tests::Kafka;
use ends::{assert_all_in_order, create, open_sink, open_source, record, text};
use serde_json::json;
use tokio::time::Instant;

async fn wait_for(what: impl Fn() -> bool) {
    let deadline = Instant::now() + ends::PATIENCE;
    while !what() {
        assert!(Instant::now() < deadline);
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
    let (at_source, at_sink) = (reader.condition.clone(), writer.condition.clone());
    wait_for(|| at_source.reason().is_some() && at_sink.reason().is_some()).await;
    let says = format!("no broker of {brokers} answers: waiting for one");
    assert!(
        at_source.reason().unwrap().starts_with(&says),
        "{:?}",
        at_source.reason()
    );
    assert!(
        at_sink.reason().unwrap().starts_with(&says),
        "{:?}",
        at_sink.reason()
    );
    reader.nothing(Duration::from_millis(300)).await;

    restart(&kafka).await;
    create(&kafka, "outage", 2, &[]).await;
    wait_for(|| at_sink.reason().is_none()).await;

    const BATCHES: usize = 400;
    let writing = tokio::spawn(async move {
        for batch in 0..BATCHES {
            let records = (0..100)
                .map(|n| record("t", Some("k"), &format!("{}", batch * 100 + n)))
                .collect();
            writer.write(records).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        writer.flush().await.unwrap();
        assert!(writer.rejected.is_empty());
    });
    let reading = tokio::spawn(async move {
        let (mut all, deadline) = (Vec::new(), Instant::now() + ends::PATIENCE * 2);
        while all.len() < BATCHES * 100 {
            assert!(
                Instant::now() < deadline,
                "{} records, {:?}",
                all.len(),
                reader.condition.reason()
            );
            match reader.source.poll(Duration::from_millis(100)).await {
                Ok(aqueduct_api::Polled::Batch { records, resume_at }) => {
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
        tokio::task::spawn_blocking(move || of_thread.kill())
            .await
            .unwrap();
        wait_for(|| at_source.reason().is_some() && at_sink.reason().is_some()).await;
        restart(&kafka).await;
        wait_for(|| at_source.reason().is_none() && at_sink.reason().is_none()).await;
    }
    writing.await.unwrap();
    let read = reading.await.unwrap();
    assert_all_in_order(
        read.iter().map(|record| text(&record.value).parse().unwrap()),
        BATCHES * 100,
    );
    assert_eq!(read.len(), BATCHES * 100, "nothing is written twice");
    let committed = ends::committed(&kafka, "outage", "outage", 2).await;
    assert_eq!(committed.into_iter().flatten().max(), Some(BATCHES as i64 * 100));
}

async fn restart(kafka: &Arc<Kafka>) {
    let of_thread = kafka.clone();
    tokio::task::spawn_blocking(move || of_thread.start_again())
        .await
        .unwrap();
}
