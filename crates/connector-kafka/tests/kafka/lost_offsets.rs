//! Lost offsets against a real broker: deleted records, a recreated topic, a deleted group.
use crate::ends;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_api::{ErrorKind, Offsets};
use aqueduct_tests::Kafka;
use ends::{broker, by_partition, committed, create, fill, open_source, with};
use serde_json::{Value, json};

/// What an administrator does, off the runtime of the test.
async fn admin(kafka: &Arc<Kafka>, order: impl FnOnce(&Kafka) + Send + 'static) {
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || order(&kafka)).await.unwrap();
}

/// The group reads 100 records and commits this offset.
async fn commit(kafka: &Kafka, group: &str, config: Value, topic: &str, offset: &str) {
    let mut reader = open_source(&kafka.brokers(), group, config).await;
    reader.read(100).await;
    let offsets = Offsets::from([(format!("{topic}/0").into(), offset.into())]);
    reader.source.release(&offsets).await.unwrap();
    reader.source.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_stop_the_pipeline_and_say_which_and_what_to_do() {
    let kafka = broker();
    create(&kafka, "lost-records", 1, &[]).await;
    fill(&kafka, "lost-records", 0..60, 1_000).await;
    fill(&kafka, "lost-records", 60..100, 2_000).await;
    let topics = json!({ "topics": ["lost-records"] });
    commit(&kafka, "lost-records", topics.clone(), "lost-records", "50").await;
    admin(&kafka, |kafka| kafka.delete_records("lost-records", 0, 80)).await;

    let mut reader = open_source(&kafka.brokers(), "lost-records", topics).await;
    let error = reader.error().await;
    assert_eq!(error.kind(), ErrorKind::Config, "it is not started again in a loop");
    assert_eq!(
        error.to_string(),
        "records of partition 0 of `lost-records` were deleted before they were read: offsets 50 to 79, 30 records at \
         most; the oldest record left is at offset 80, of 1970-01-01T00:00:02Z; choose where to go on with one of: \
         `aqueduct offsets set lost-records --partition lost-records/0 --to earliest`, the same with `--to latest`, or \
         with a time as in `--to 1970-01-01T00:00:02Z`: it shows what would be skipped or repeated, and does it with \
         --apply; then start the pipeline again. `on_lost_offsets` decides it beforehand"
    );
    reader.source.close().await.unwrap();
    assert_eq!(committed(&kafka, "lost-records", "lost-records", 1).await, [Some(50)], "nothing was moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_left_behind_where_the_file_says_so() {
    let kafka = broker();
    // One partition loses records, the other does not.
    for (group, more) in [
        ("left-cooperative", json!({})),
        ("left-eager", json!({ "assignor": "range" })),
        ("left-kip848", json!({ "group_protocol": "consumer" })),
        ("left-assigned", json!({ "topics": [], "partitions": { "left-assigned": [0, 1] } })),
    ] {
        create(&kafka, group, 2, &[]).await;
        fill(&kafka, group, 0..200, 1_000).await;
        let config = with(with(json!({ "topics": [group] }), more), json!({ "on_lost_offsets": "earliest" }));
        let mut reader = open_source(&kafka.brokers(), group, config.clone()).await;
        let (records, _) = reader.read(200).await;
        let ends = by_partition(&records);
        let (zero, one) = (ends[&0].len() as i64, ends[&1].len() as i64);
        let offsets = Offsets::from([
            (format!("{group}/0").into(), "10".into()),
            (format!("{group}/1").into(), "10".into()),
        ]);
        reader.source.release(&offsets).await.unwrap();
        reader.source.close().await.unwrap();
        let topic = group.to_owned();
        admin(&kafka, move |kafka| kafka.delete_records(&topic, 0, 30)).await;

        let mut reader = open_source(&kafka.brokers(), group, config).await;
        let left = (zero - 30 + one - 10) as usize;
        let (mut records, _) = reader.read(left).await;
        // The eager protocol gives up what was read of the other partition too, and this reader releases nothing.
        let distinct = |records: &[aqueduct_api::Record]| {
            records.iter().map(|record| record.origin).collect::<BTreeSet<_>>().len()
        };
        while distinct(&records) < left && group == "left-eager" {
            records.extend(reader.read(1).await.0);
        }
        assert_eq!(distinct(&records), left, "{group}");
        let first = |partition| {
            records
                .iter()
                .find(|record| record.origin.partition == partition)
                .map(|record| record.origin.offset)
        };
        assert_eq!((first(0), first(1)), (Some(30), Some(10)), "{group}");
        if group != "left-eager" {
            reader.nothing(Duration::from_secs(1)).await;
        }
        reader.until_well().await;
        reader.source.close().await.unwrap();
        // The new offset is committed at once: after a crash the loss is not found again.
        assert_eq!(committed(&kafka, group, group, 2).await, [Some(30), Some(10)], "{group}");
    }
}

/// What is logged in this process from now on.
fn log() -> &'static Mutex<Vec<u8>> {
    struct Log;
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            WRITTEN.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false).without_time().init();
    &WRITTEN
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_left_behind_up_to_a_time_and_what_is_skipped_is_logged() {
    let log = log();
    let kafka = broker();
    create(&kafka, "since", 1, &[]).await;
    for (values, ms) in [(0..60, 1_000), (60..100, 2_000), (100..150, 3_000)] {
        fill(&kafka, "since", values, ms).await;
    }
    let to = |time: &str| json!({ "topics": ["since"], "on_lost_offsets": { "timestamp": time } });
    commit(&kafka, "since", to("1970-01-01T00:00:03Z"), "since", "50").await;
    admin(&kafka, |kafka| kafka.delete_records("since", 0, 80)).await;
    let mut reader = open_source(&kafka.brokers(), "since", to("1970-01-01T00:00:03Z")).await;
    let (records, _) = reader.read(50).await;
    let offsets: Vec<i64> = records.iter().map(|record| record.origin.offset).collect();
    assert_eq!(offsets, (100..150).collect::<Vec<_>>());
    assert_eq!(committed(&kafka, "since", "since", 1).await, [Some(100)], "kept at once");
    reader.source.release(&Offsets::from([("since/0".into(), "110".into())])).await.unwrap();
    reader.source.close().await.unwrap();
    let text = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    // Other tests of this process log losses of their own.
    let line = text
        .lines()
        .find(|line| line.contains("going on behind what is lost") && line.contains("topic=\"since\""))
        .unwrap();
    for part in [
        "topic=\"since\" partition=0 offset=100 skipped_records_max=50 goes_on_with=\"1970-01-01T00:00:03Z\"",
        "records of partition 0 of `since` were deleted before they were read: offsets 50 to 79, 30 records at most",
        "the oldest record left is at offset 80, of 1970-01-01T00:00:02Z",
    ] {
        assert!(line.contains(part), "expected {part}\nfound {line}");
    }

    // Nothing is that late: it goes on at the end.
    admin(&kafka, |kafka| kafka.delete_records("since", 0, 120)).await;
    let mut reader = open_source(&kafka.brokers(), "since", to("2000-01-01T00:00:00Z")).await;
    reader.nothing(Duration::from_secs(3)).await;
    assert_eq!(committed(&kafka, "since", "since", 1).await, [Some(150)]);
    reader.source.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_beyond_the_end_is_lost_too() {
    let kafka = broker();
    create(&kafka, "beyond", 1, &[]).await;
    fill(&kafka, "beyond", 0..100, 1_000).await;
    let topics = json!({ "topics": ["beyond"] });
    commit(&kafka, "beyond", topics.clone(), "beyond", "500").await;
    let mut reader = open_source(&kafka.brokers(), "beyond", topics.clone()).await;
    let error = reader.error().await;
    assert_eq!(error.kind(), ErrorKind::Config);
    let says = "the offset to go on from in partition 0 of `beyond` is 500, and the partition ends at 100: the topic \
                was made anew, or the cluster lost its last 400 records; the oldest record left is at offset 0, of \
                1970-01-01T00:00:01Z";
    assert_eq!(error.says(), says);
    reader.source.close().await.unwrap();

    let latest = with(topics.clone(), json!({ "on_lost_offsets": "latest" }));
    let mut reader = open_source(&kafka.brokers(), "beyond", latest).await;
    reader.nothing(Duration::from_secs(3)).await;
    assert_eq!(committed(&kafka, "beyond", "beyond", 1).await, [Some(100)]);
    fill(&kafka, "beyond", 100..110, 1_000).await;
    assert_eq!(reader.read(10).await.0[0].origin.offset, 100);
    reader.source.release(&Offsets::from([("beyond/0".into(), "500".into())])).await.unwrap();
    reader.source.close().await.unwrap();

    let earliest = with(topics, json!({ "on_lost_offsets": "earliest" }));
    let mut reader = open_source(&kafka.brokers(), "beyond", earliest).await;
    let (records, resume) = reader.read(110).await;
    assert_eq!(records[0].origin.offset, 0);
    assert_eq!(committed(&kafka, "beyond", "beyond", 1).await, [Some(0)], "an offset may move back here");
    reader.source.release(&resume).await.unwrap();
    reader.source.close().await.unwrap();
    assert_eq!(committed(&kafka, "beyond", "beyond", 1).await, [Some(110)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_go_while_it_reads_are_missed_with_their_time() {
    let kafka = broker();
    create(&kafka, "overtaken", 1, &[]).await;
    fill(&kafka, "overtaken", 0..100, 1_000).await;
    // Few are fetched ahead, and nothing is polled until retention has overtaken the reader.
    let slow = json!({
        "topics": ["overtaken"],
        "client": { "max.partition.fetch.bytes": 1, "queued.min.messages": 1 },
    });
    let mut reader = ends::open_source_with(&kafka.brokers(), "overtaken", slow, 1).await;
    reader.read(100).await;
    for value in 100..200 {
        fill(&kafka, "overtaken", value..value + 1, 2_000).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    admin(&kafka, |kafka| kafka.delete_records("overtaken", 0, 199)).await;
    let error = reader.failure().await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.says().contains("to 198,"), "{error}");
    assert!(error.says().contains("at most, later than 1970-01-01T00:00:0"), "{error}");
    assert!(
        error.says().contains("the oldest record left is at offset 199, of 1970-01-01T00:00:02Z"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_had_offsets_is_not_taken_for_a_new_one() {
    let kafka = broker();
    for (group, lose) in [("forgotten-group", true), ("forgotten-topic", false)] {
        create(&kafka, group, 1, &[]).await;
        fill(&kafka, group, 0..100, 1_000).await;
        let topics = json!({ "topics": [group], "start": "latest" });
        let first = with(topics.clone(), json!({ "start": "earliest" }));
        commit(&kafka, group, first, group, "70").await;
        let name = group.to_owned();
        admin(&kafka, move |kafka| {
            if lose {
                kafka.delete_group(&name);
            } else {
                // The cluster deletes the offsets of a topic with the topic.
                kafka.delete_topic(&name);
                std::thread::sleep(Duration::from_secs(1));
                kafka.create_topic(&name, 1);
            }
        })
        .await;
        let mut reader = open_source(&kafka.brokers(), group, topics.clone()).await;
        let error = reader.error().await;
        assert_eq!(error.kind(), ErrorKind::Config);
        let says = match lose {
            true => {
                format!("group `{group}` had offset 70 for partition 0 of `{group}` and has none any more")
            }
            false => format!(
                "topic `{group}` was deleted and made anew: offset 70 of partition 0 belongs to the topic before, and the \
                 new one ends at 0"
            ),
        };
        assert_eq!(error.says(), says);
        reader.source.close().await.unwrap();
        if !lose {
            fill(&kafka, group, 0..100, 1_000).await;
        }
        let earliest = with(topics, json!({ "on_lost_offsets": "earliest" }));
        let mut reader = open_source(&kafka.brokers(), group, earliest).await;
        assert_eq!(reader.read(100).await.0[0].origin.offset, 0);
    }
}
