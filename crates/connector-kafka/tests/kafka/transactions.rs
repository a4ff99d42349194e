//! Exactly once: data and offsets are seen together or not at all, whatever happens to a transaction.
use crate::ends;

use std::time::Duration;

use aqueduct_api::catalog::ProbeContext;
use aqueduct_api::{Catalog, Error, ErrorKind, Offsets, Polled};
use aqueduct_connector_kafka::SinkConfig;
use aqueduct_tests::Kafka;
use ends::{
    PATIENCE, Reader, Writer, broker, committed, create, fill, open_sink_of, open_source_kept, record, text,
    until_member, with,
};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout};

async fn transactional(brokers: &str, pipeline: &str, config: Value) -> Writer {
    open_sink_of(brokers, pipeline, with(config, json!({ "compression": "none" })), true).await
}

async fn source(kafka: &Kafka, group: &str, topic: &str, more: Value) -> Reader {
    let config = with(json!({ "topics": [topic] }), more);
    open_source_kept(&kafka.brokers(), group, config, 1_000, true).await
}

async fn take_over(writer: &mut Writer) -> Result<(), Error> {
    let stored = timeout(PATIENCE, writer.sink.transactional().unwrap().stored()).await.unwrap()?;
    assert_eq!(stored, None, "the group has the offsets");
    Ok(())
}

/// As the engine commits: with the proof of this moment.
async fn commit(writer: &mut Writer, reader: &Reader, offsets: &Offsets) -> Result<(), Error> {
    let proof = until_member(reader).await;
    timeout(PATIENCE, writer.sink.transactional().unwrap().commit(offsets, Some(proof))).await.unwrap()
}

/// What a consumer that reads committed records gets.
fn seen(kafka: &Kafka, topic: &str) -> Vec<String> {
    let values = block_in_place(|| kafka.read_values(topic));
    values.into_iter().map(|(_, _, value)| String::from_utf8(value.unwrap()).unwrap()).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_and_offsets_are_committed_together() {
    let kafka = broker();
    create(&kafka, "both.in", 1, &[]).await;
    create(&kafka, "both.out", 1, &[]).await;
    fill(&kafka, "both.in", 0..200, 1_000).await;
    let mut writer = transactional(&kafka.brokers(), "both", json!({ "topic": "both.out" })).await;
    take_over(&mut writer).await.unwrap();
    let mut reader = source(&kafka, "both", "both.in", json!({})).await;
    let (records, offsets) = reader.read(200).await;
    writer.write(records[..150].to_vec()).await.unwrap();
    writer.write(records[150..].to_vec()).await.unwrap();
    writer.flush().await.unwrap();
    // The records are written, and no offset is committed yet.
    assert_eq!(committed(&kafka, "both", "both.in", 1).await, [None]);
    commit(&mut writer, &reader, &offsets).await.unwrap();
    assert_eq!(committed(&kafka, "both", "both.in", 1).await, [Some(200)]);
    assert_eq!(seen(&kafka, "both.out"), numbers(0..200));
    // Positions alone are committed as well, and a source to which it is released commits nothing itself.
    let further = Offsets::from([("both.in/0".into(), "180".into())]);
    commit(&mut writer, &reader, &further).await.unwrap();
    reader.source.release(&offsets).await.unwrap();
    reader.source.close().await.unwrap();
    assert_eq!(committed(&kafka, "both", "both.in", 1).await, [Some(180)]);
}

/// One record in the middle of a request is refused, and with it the whole transaction: it is found out which.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_is_set_aside_and_the_rest_committed_once() {
    let kafka = broker();
    create(&kafka, "poison.in", 1, &[]).await;
    create(
        &kafka,
        "poison.out",
        1,
        &[("max.message.bytes", "20000"), ("message.timestamp.after.max.ms", "60000")],
    )
    .await;
    let mut writer = transactional(&kafka.brokers(), "poison", json!({ "topic": "poison.out" })).await;
    take_over(&mut writer).await.unwrap();
    let reader = source(&kafka, "poison", "poison.in", json!({})).await;
    let batch = |range: std::ops::Range<usize>| -> Vec<_> {
        range.map(|number| record("t", Some("k"), &number.to_string())).collect()
    };
    let mut records = batch(0..100);
    let large = "x".repeat(30_000);
    records.insert(40, record("t", Some("k"), &large));
    writer.write(records).await.unwrap();
    let mut records = batch(100..200);
    let mut late = record("t", Some("k"), "late");
    late.timestamp_us = Some(4_000_000_000_000_000);
    records.insert(70, late);
    writer.write(records).await.unwrap();
    timeout(PATIENCE, writer.flush()).await.unwrap().unwrap();
    let mut refused: Vec<String> = writer.rejected.iter().map(|it| it.error.to_string()).collect();
    refused.sort();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused[0].starts_with("the record of 30001 bytes is too large for topic `poison.out`"),
        "{refused:?}"
    );
    assert!(refused[1].starts_with("topic `poison.out` refuses the record for its timestamp"), "{refused:?}");
    assert_eq!(text(&writer.rejected[0].record.value), large);
    commit(&mut writer, &reader, &Offsets::from([("poison.in/0".into(), "0".into())])).await.unwrap();
    assert_eq!(seen(&kafka, "poison.out"), numbers(0..200));
    // It goes on as if nothing had been.
    writer.write(batch(200..300)).await.unwrap();
    writer.flush().await.unwrap();
    commit(&mut writer, &reader, &Offsets::from([("poison.in/0".into(), "0".into())])).await.unwrap();
    assert_eq!(seen(&kafka, "poison.out"), numbers(0..300));
    assert_eq!(writer.rejected.len(), 2);
}

/// Between the proof and the commit the partitions move to another member.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_for_partitions_that_moved_is_undone() {
    let kafka = broker();
    create(&kafka, "moved.in", 1, &[]).await;
    create(&kafka, "moved.out", 1, &[]).await;
    fill(&kafka, "moved.in", 0..50, 1_000).await;
    let mut writer = transactional(&kafka.brokers(), "moved", json!({ "topic": "moved.out" })).await;
    take_over(&mut writer).await.unwrap();
    let mut early = source(&kafka, "moved", "moved.in", json!({})).await;
    let (records, offsets) = early.read(50).await;
    writer.write(records).await.unwrap();
    writer.flush().await.unwrap();
    let old = early.source.ownership().unwrap().proof().unwrap();
    early.source.close().await.unwrap();
    let mut late = source(&kafka, "moved", "moved.in", json!({})).await;
    late.read(50).await;
    let error = writer.sink.transactional().unwrap().commit(&offsets, Some(old)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.says().starts_with("a transaction was undone and is written again: "), "{error}");
    assert!(early.source.ownership().unwrap().proof().is_err());
    assert_eq!(committed(&kafka, "moved", "moved.in", 1).await, [None]);
    writer.flush().await.unwrap();
    commit(&mut writer, &late, &offsets).await.unwrap();
    assert_eq!(seen(&kafka, "moved.out"), numbers(0..50));
    assert_eq!(committed(&kafka, "moved", "moved.in", 1).await, [Some(50)]);
}

/// A pipeline that starts again in its process undoes what it had left open, and the earlier one is fenced off.
#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_producer_of_the_same_id_is_fenced() {
    let kafka = broker();
    create(&kafka, "fenced.in", 1, &[]).await;
    create(&kafka, "fenced.out", 1, &[]).await;
    let reader = source(&kafka, "fenced", "fenced.in", json!({})).await;
    let config = json!({ "topic": "fenced.out" });
    let mut early = transactional(&kafka.brokers(), "fenced", config.clone()).await;
    take_over(&mut early).await.unwrap();
    early.write(vec![record("t", None, "early")]).await.unwrap();
    early.flush().await.unwrap();
    let mut late = transactional(&kafka.brokers(), "fenced", config).await;
    take_over(&mut late).await.unwrap();
    let nowhere = Offsets::from([("fenced.in/0".into(), "0".into())]);
    let error = commit(&mut early, &reader, &nowhere).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fatal);
    let says = "the cluster has fenced off the producer of the transactional id `fenced-";
    assert!(error.says().starts_with(says), "{error}");
    late.write(vec![record("t", None, "late")]).await.unwrap();
    late.flush().await.unwrap();
    commit(&mut late, &reader, &nowhere).await.unwrap();
    assert_eq!(seen(&kafka, "fenced.out"), ["late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transactional_id_needs_a_right() {
    let kafka = broker();
    create(&kafka, "ids.out", 1, &[]).await;
    let tls = json!({ "ca": kafka.certificate("ca.crt"), "certificate": kafka.certificate("client.crt"),
        "key": kafka.certificate("client.key") });
    let connection = json!({ "brokers": kafka.tls_brokers(), "tls": tls });
    let config = json!({ "connection": connection, "topic": "ids.out", "transactional_id_prefix": "team." });
    block_in_place(|| kafka.allow("User:client", "topic:ids.out", &["Write"]));
    let mut writer = open_sink_of("", "ids", config.clone(), true).await;
    let error = take_over(&mut writer).await.unwrap_err();
    let says = "the user of certificate `CN=client` may not use the transactional id `team.ids-";
    assert!(error.says().starts_with(says), "{error}");
    let probed = async || {
        let sink = Catalog::default().sink::<SinkConfig>().sinks["kafka"].configure(config.clone()).unwrap();
        let context =
            ProbeContext { pipeline: "ids".into(), transactional: true, patience: Duration::from_secs(10) };
        sink.probe(context).await.last().unwrap().to_string()
    };
    let found = probed().await;
    assert!(
        found.starts_with(says)
            && found.contains("--transactional-id team.ids- --resource-pattern-type prefixed"),
        "{found}"
    );
    block_in_place(|| kafka.allow("User:client", "transactional-id:team.ids-*", &["Write", "Describe"]));
    assert_eq!(probed().await, "transactional ids that begin with `team.ids-` may be used");
    let mut writer = open_sink_of("", "ids", config.clone(), true).await;
    take_over(&mut writer).await.unwrap();
}

/// A position that would be found differently next time is stored before anything is read behind it, by the sink.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_partition_begins_is_given_to_the_engine_first() {
    let kafka = broker();
    create(&kafka, "begins", 1, &[]).await;
    fill(&kafka, "begins", 0..7, 1_000).await;
    let mut reader = source(&kafka, "begins", "begins", json!({ "start": "latest" })).await;
    let deadline = Instant::now() + PATIENCE;
    let resume_at = loop {
        assert!(Instant::now() < deadline);
        if let Polled::Batch { records, resume_at } =
            reader.source.poll(Duration::from_millis(100)).await.unwrap()
        {
            assert_eq!(records.len(), 0);
            break resume_at;
        }
    };
    assert_eq!(resume_at, Offsets::from([("begins/0".into(), "7".into())]));
    assert_eq!(committed(&kafka, "begins", "begins", 1).await, [None]);
    fill(&kafka, "begins", 7..9, 1_000).await;
    let (records, _) = reader.read(2).await;
    assert_eq!(records.iter().map(|record| text(&record.value)).collect::<Vec<_>>(), numbers(7..9));
}

/// Requests are refused for their size, although hardly a record is too large; and a topic has several partitions.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_too_large_are_made_smaller() {
    let kafka = broker();
    create(&kafka, "sizes.in", 1, &[]).await;
    create(&kafka, "sizes.out", 4, &[("max.message.bytes", "20000")]).await;
    let mut writer = transactional(&kafka.brokers(), "sizes", json!({ "topic": "sizes.out" })).await;
    take_over(&mut writer).await.unwrap();
    let reader = source(&kafka, "sizes", "sizes.in", json!({})).await;
    let begun = Instant::now();
    for batch in 0..8 {
        let records = (batch * 1_000..(batch + 1) * 1_000).map(|number: usize| {
            let value = if number % 400 == 7 {
                format!("{number}:{}", "x".repeat(30_000))
            } else {
                number.to_string()
            };
            let value = if number % 400 == 7 { value } else { format!("{value:0>100}") };
            record("t", Some(&(number % 97).to_string()), &value)
        });
        writer.write(records.collect()).await.unwrap();
    }
    timeout(PATIENCE, writer.flush()).await.unwrap().unwrap();
    println!("{} records refused after {:?}", writer.rejected.len(), begun.elapsed());
    commit(&mut writer, &reader, &Offsets::from([("sizes.in/0".into(), "0".into())])).await.unwrap();
    assert_eq!(writer.rejected.len(), 20);
    assert!(writer.rejected.iter().all(|it| it.error.says().contains("is too large for topic `sizes.out`")));
    let mut written: Vec<usize> =
        seen(&kafka, "sizes.out").iter().map(|value| value.parse().unwrap()).collect();
    let in_order =
        written.windows(2).filter(|pair| pair[0] % 97 == pair[1] % 97).all(|pair| pair[0] < pair[1]);
    assert!(in_order);
    written.sort_unstable();
    assert_eq!(written, (0..8_000).filter(|number| number % 400 != 7).collect::<Vec<_>>());
}

/// The engine does not give partitions up in time, and another member has them: nothing of them may be committed any more, not even
/// under the membership that begins then.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_were_not_drained_in_time_are_lost() {
    let kafka = broker();
    create(&kafka, "late.in", 2, &[]).await;
    fill(&kafka, "late.in", 0..100, 1_000).await;
    let mut slow = source(&kafka, "late", "late.in", json!({})).await;
    slow.read(100).await;
    drop(until_member(&slow).await);
    let mut other = source(&kafka, "late", "late.in", json!({})).await;
    // The slow one is not polled meanwhile.
    let deadline = Instant::now() + PATIENCE;
    let mut seen = 0;
    while seen == 0 {
        assert!(Instant::now() < deadline, "the other got nothing");
        if let Polled::Batch { records, .. } = other.source.poll(Duration::from_millis(100)).await.unwrap() {
            seen = records.len();
        }
    }
    let says = "group `late` took partitions away while a transaction was open: it is not committed";
    for _ in 0..10 {
        let error = slow.source.ownership().unwrap().proof().err().unwrap();
        assert_eq!((error.kind(), error.says()), (ErrorKind::Fatal, says));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(slow.failure().await.says(), says);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_length_of_a_transaction_is_bounded_by_the_cluster() {
    let kafka = broker();
    create(&kafka, "long.out", 1, &[]).await;
    let config = |ms: u32| json!({ "topic": "long.out", "client": { "transaction.timeout.ms": ms } });
    let mut writer = transactional(&kafka.brokers(), "long", config(999_999_999)).await;
    let error = take_over(&mut writer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let says = "the cluster takes no transactions that may last as long as `client: { transaction.timeout.ms }` says";
    assert_eq!(error.says(), says);
    // A short one is possible, whatever the library asks for beside it.
    let mut writer = transactional(&kafka.brokers(), "long", config(4_000)).await;
    take_over(&mut writer).await.unwrap();
}
