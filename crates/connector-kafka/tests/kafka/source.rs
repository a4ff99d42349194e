//! The source against a real broker: where it starts, what it commits, and how partitions move.
use crate::ends;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_api::{ErrorKind, Offsets, Origin, Polled, Record};
use aqueduct_tests::Load;
use ends::{broker, committed, create, fill, open_source, text};
use serde_json::json;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn starts_where_the_file_says() {
    let kafka = broker();
    create(&kafka, "start", 1, &[]).await;
    fill(&kafka, "start", 0..10, 1_000).await;
    fill(&kafka, "start", 10..20, 2_000).await;
    let brokers = kafka.brokers();

    let mut reader = open_source(&brokers, "start-earliest", json!({ "topics": ["start"] })).await;
    let (records, resume) = reader.read(20).await;
    assert_eq!(records[0].origin.offset, 0);
    assert_eq!(resume, Offsets::from([("start/0".into(), "20".into())]));
    let lag = reader.source.lag().remove(0);
    assert_eq!((lag.unread, lag.records), (0, 20), "all is read, and nothing of it is stored");

    let at = json!({ "timestamp": "1970-01-01T00:00:01.500Z" });
    let mut reader = open_source(&brokers, "start-time", json!({ "topics": ["start"], "start": at })).await;
    assert_eq!(reader.read(10).await.0[0].origin.offset, 10);
    assert_eq!(committed(&kafka, "start-time", "start", 1).await, [Some(10)]);

    let at = json!({ "timestamp": "2100-01-01T00:00:00Z" });
    let mut reader = open_source(&brokers, "start-future", json!({ "topics": ["start"], "start": at })).await;
    reader.nothing(Duration::from_secs(2)).await;
    assert_eq!(committed(&kafka, "start-future", "start", 1).await, [Some(20)]);

    let mut reader =
        open_source(&brokers, "start-none", json!({ "topics": ["start"], "start": "none" })).await;
    let error = reader.error().await;
    assert_eq!(error.kind(), ErrorKind::Config);
    let says = "group `start-none` has no offset for partition 0 of `start`, and `start` is none";
    assert!(error.to_string().starts_with(says), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_waits_is_woken_by_a_single_record() {
    let kafka = broker();
    create(&kafka, "single", 1, &[]).await;
    fill(&kafka, "single", 0..1, 1_000).await;
    let mut reader = open_source(&kafka.brokers(), "single", json!({ "topics": ["single"] })).await;
    reader.read(1).await;
    let poll = reader.source.poll(Duration::from_secs(20));
    let (polled, ()) = tokio::join!(poll, fill(&kafka, "single", 1..2, 1_000));
    assert!(matches!(polled.unwrap(), Polled::Batch { records, .. } if records.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_committed_before_anything_is_settled() {
    let kafka = broker();
    create(&kafka, "latest", 2, &[]).await;
    fill(&kafka, "latest", 0..100, 1_000).await;
    let latest = json!({ "topics": ["latest"], "start": "latest" });
    let mut reader = open_source(&kafka.brokers(), "latest", latest.clone()).await;
    reader.nothing(Duration::from_secs(2)).await;
    let ends = committed(&kafka, "latest", "latest", 2).await;
    assert_eq!(ends.iter().map(|end| end.unwrap()).sum::<i64>(), 100);
    drop(reader);
    fill(&kafka, "latest", 100..150, 1_000).await;
    // What was produced while no source ran is read: the second start resumes, it does not begin at the end again.
    let mut reader = open_source(&kafka.brokers(), "latest", latest).await;
    let (records, _) = reader.read(50).await;
    let mut values: Vec<usize> = records.iter().map(|record| text(&record.value).parse().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (100..150).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn resumes_where_it_was_released() {
    let kafka = broker();
    create(&kafka, "resume", 1, &[]).await;
    fill(&kafka, "resume", 0..100, 1_000).await;
    let topics = json!({ "topics": ["resume"] });

    let mut reader = open_source(&kafka.brokers(), "resume", topics.clone()).await;
    reader.read(100).await;
    drop(reader);
    assert_eq!(committed(&kafka, "resume", "resume", 1).await, [None], "read is not done");

    let mut reader = open_source(&kafka.brokers(), "resume", topics.clone()).await;
    reader.read(100).await;
    let position =
        |offset: &str| Offsets::from([("resume/0".into(), offset.into()), ("other/7".into(), "9".into())]);
    reader.source.release(&position("50")).await.unwrap();
    reader.source.release(&position("40")).await.unwrap();
    reader.source.close().await.unwrap();
    assert_eq!(committed(&kafka, "resume", "resume", 1).await, [Some(50)]);

    // The group was left in good order, so the next member does not wait for a session to end.
    let begin = Instant::now();
    let mut reader = open_source(&kafka.brokers(), "resume", topics).await;
    let (records, _) = reader.read(50).await;
    assert_eq!(records[0].origin.offset, 50);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// What two members of a group have read.
#[derive(Default)]
struct Share {
    times: Mutex<HashMap<Origin, usize>>,
    of: [AtomicUsize; 2],
}

impl Share {
    /// The second one has got something.
    fn is_shared(&self) -> bool {
        self.of[1].load(Ordering::Relaxed) >= 5_000
    }

    fn add(&self, member: usize, records: &[Record]) {
        let mut times = self.times.lock().unwrap();
        records.iter().for_each(|record| *times.entry(record.origin).or_default() += 1);
        self.of[member].fetch_add(records.len(), Ordering::Relaxed);
    }
}

/// Reads as an engine does: what was read is released a good while later, and a revocation is drained first.
/// The first member takes its time until the second has got something.
async fn consume(mut reader: ends::Reader, member: usize, share: Arc<Share>, until: impl Fn(&Share) -> bool) {
    let mut held: VecDeque<Offsets> = VecDeque::new();
    let deadline = Instant::now() + ends::PATIENCE;
    while !until(&share) {
        assert!(Instant::now() < deadline, "{:?}, {:?}", share.of, reader.condition.reason());
        match reader.source.poll(Duration::from_millis(100)).await.unwrap() {
            Polled::Batch { records, resume_at } => {
                share.add(member, &records);
                held.push_back(resume_at);
                if held.len() > 40
                    && let Some(done) = held.pop_front()
                {
                    reader.source.release(&done).await.unwrap();
                }
                let hurry = member == 1 || share.is_shared() || share.of[0].load(Ordering::Relaxed) < 50_000;
                tokio::time::sleep(Duration::from_millis(if hurry { 1 } else { 200 })).await;
            }
            Polled::Revoked { partitions } => {
                assert!(!partitions.is_empty());
                tokio::time::sleep(Duration::from_millis(200)).await;
                for done in held.drain(..) {
                    reader.source.release(&done).await.unwrap();
                }
            }
            _ => {}
        }
    }
    for done in held {
        reader.source.release(&done).await.unwrap();
    }
    reader.source.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_change_hands_without_loss_or_repeats() {
    const RECORDS: usize = 200_000;
    let kafka = broker();
    create(&kafka, "hands", 8, &[]).await;
    let load = Load { topic: "hands".into(), ids: 0..RECORDS as u64, keys: 1_000, rate: 0 };
    let filler = kafka.clone();
    tokio::task::spawn_blocking(move || filler.produce(&load)).await.unwrap();
    for (group, client) in [
        ("hands-cooperative", json!({ "heartbeat.interval.ms": 300 })),
        ("hands-eager", json!({ "partition.assignment.strategy": "range", "heartbeat.interval.ms": 300 })),
        ("hands-kip848", json!({ "group.protocol": "consumer" })),
    ] {
        let share = Arc::new(Share::default());
        let config = json!({ "topics": ["hands"], "client": client, "session_timeout": "6s" });
        let first = open_source(&kafka.brokers(), group, config.clone()).await;
        let all = |share: &Share| share.times.lock().unwrap().len() == RECORDS;
        let first = tokio::spawn(consume(first, 0, share.clone(), all));
        while share.of[0].load(Ordering::Relaxed) < 20_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The second joins, reads a part, and leaves its partitions to the first again.
        let second = open_source(&kafka.brokers(), group, config.clone()).await;
        tokio::spawn(consume(second, 1, share.clone(), Share::is_shared)).await.unwrap();
        first.await.unwrap();
        let times = std::mem::take(&mut *share.times.lock().unwrap());
        let again = times.values().filter(|times| **times > 1).count();
        assert_eq!(again, 0, "{group}: {again} records came again, read were {:?}", share.of);
        let committed = committed(&kafka, group, "hands", 8).await;
        assert_eq!(committed.iter().map(|end| end.unwrap()).sum::<i64>(), RECORDS as i64, "{group}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_does_not_wait_for_ever() {
    let kafka = broker();
    create(&kafka, "stuck", 2, &[]).await;
    fill(&kafka, "stuck", 0..1_000, 1_000).await;
    let topics = json!({ "topics": ["stuck"], "client": { "heartbeat.interval.ms": 300 } });
    let mut first = open_source(&kafka.brokers(), "stuck", topics.clone()).await;
    let (_, resume) = first.read(1_000).await;
    // The first does not poll any more; the second gets its half all the same, after the drain's time is
    // over.
    let begin = Instant::now();
    let mut second = open_source(&kafka.brokers(), "stuck", topics).await;
    let (records, _) = second.read(1).await;
    let waited = begin.elapsed();
    assert!(waited > ends::DRAIN && waited < ends::DRAIN * 3, "{waited:?}");
    // What the first releases now is fenced off: the partition is not its own any more.
    let moved = records[0].origin.partition;
    first.source.release(&resume).await.unwrap();
    first.source.close().await.unwrap();
    let committed = committed(&kafka, "stuck", "stuck", 2).await;
    assert_eq!(committed[moved as usize], None);
    assert!(committed[1 - moved as usize].is_some(), "{committed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_a_topic_that_does_not_exist() {
    let kafka = broker();
    create(&kafka, "shop.orders", 1, &[]).await;
    let mut reader = open_source(&kafka.brokers(), "missing", json!({ "topics": ["shop.order"] })).await;
    let error = reader.error().await;
    assert_eq!(error.kind(), ErrorKind::Transient);
    let expected = format!(
        "topic `shop.order` does not exist on the cluster {}; create it, or did you mean `shop.orders`",
        kafka.brokers()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(reader.condition.reason(), Some(expected));
    create(&kafka, "shop.order", 1, &[]).await;
    fill(&kafka, "shop.order", 0..3, 1_000).await;
    assert_eq!(reader.read(3).await.0.len(), 3);
    // Cleared within a second or so of the topic being there.
    reader.nothing(Duration::from_secs(2)).await;
    assert_eq!(reader.condition.reason(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_the_topics_of_a_pattern() {
    let kafka = broker();
    let topics = json!({ "pattern": "pat\\..*", "except": ["pat.c"] });
    let mut reader = open_source(
        &kafka.brokers(),
        "pattern",
        json!({ "topics": topics, "client": { "topic.metadata.refresh.interval.ms": 2000 } }),
    )
    .await;
    let deadline = Instant::now() + ends::PATIENCE;
    loop {
        reader.nothing(Duration::from_millis(200)).await;
        let reason = reader.condition.reason().unwrap();
        if reason.contains("matches `pat\\..*`: waiting for one") {
            break;
        }
        assert!(Instant::now() < deadline, "{reason}");
    }
    for topic in ["pat.a", "pat.b", "pat.c", "xpat.d"] {
        create(&kafka, topic, 1, &[]).await;
        fill(&kafka, topic, 0..10, 1_000).await;
    }
    let (records, _) = reader.read(20).await;
    let mut topics: BTreeMap<String, usize> = BTreeMap::new();
    records.iter().for_each(|record| *topics.entry(record.topic.to_string()).or_default() += 1);
    assert_eq!(topics, BTreeMap::from([("pat.a".into(), 10), ("pat.b".into(), 10)]));
    reader.nothing(Duration::from_secs(1)).await;
    assert_eq!(reader.condition.reason(), None);
}
