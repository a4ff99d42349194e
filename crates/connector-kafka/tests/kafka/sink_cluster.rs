//! The sink while brokers die and leaders move: nothing lost, nothing twice, nothing out of order.
use crate::ends;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_tests::Kafka;
use ends::{fresh, open_sink};
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

const PARTITIONS: i32 = 6;
const KEYS: usize = 50;
const BATCHES: usize = 1_500;
const RECORDS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn order_and_uniqueness_survive_kills_of_leaders() {
    let kafka = Arc::new(block_in_place(|| Kafka::cluster(3)));
    // Its records are from 2023, and a broker that starts looks for expired ones at once.
    block_in_place(|| kafka.create_topic_with("moved", PARTITIONS, &[("retention.ms", "-1")]));
    let mut writer = open_sink(&kafka.brokers(), json!({ "topic": "moved" })).await;
    let writing = tokio::spawn(async move {
        for batch in 0..BATCHES {
            let one = |n| {
                let number: usize = batch * RECORDS + n;
                fresh("t", Some(&format!("key-{}", number % KEYS)), &number.to_string())
            };
            timeout(ends::PATIENCE, writer.write((0..RECORDS).map(one).collect())).await.unwrap().unwrap();
            sleep(Duration::from_millis(20)).await;
        }
        timeout(ends::PATIENCE, writer.flush()).await.unwrap().unwrap();
        assert!(writer.rejected.is_empty(), "{:?}", writer.rejected);
    });
    let mut kills = 0;
    while !writing.is_finished() {
        let victim = kills % 3;
        block_in_place(|| kafka.kill_broker(victim));
        sleep(Duration::from_secs(3)).await;
        block_in_place(|| kafka.start_broker(victim));
        // Leaders go back to it, which moves them once more.
        sleep(Duration::from_secs(2)).await;
        block_in_place(|| kafka.elect_preferred());
        kills += 1;
    }
    writing.await.unwrap();
    assert!(kills >= 2, "only {kills} kills");
    let read = block_in_place(|| ends::values(&kafka, "moved", PARTITIONS));
    println!("{kills} kills, {} records", read.len());
    let mut next: BTreeMap<usize, usize> = (0..KEYS).map(|key| (key, key)).collect();
    for number in &read {
        let due = next.get_mut(&(number % KEYS)).unwrap();
        assert_eq!(number, due, "in the order of its key, and once");
        *due += KEYS;
    }
    assert_eq!(read.len(), BATCHES * RECORDS, "nothing lost after {kills} kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_replicas_are_waited_for() {
    let kafka = Arc::new(block_in_place(|| Kafka::cluster(3)));
    block_in_place(|| {
        kafka.create_topic_with("careful", 1, &[("min.insync.replicas", "3"), ("retention.ms", "-1")])
    });
    let mut writer = open_sink(&kafka.brokers(), json!({ "topic": "careful" })).await;
    writer.write(vec![fresh("t", None, "0")]).await.unwrap();
    writer.flush().await.unwrap();
    let follower = (block_in_place(|| kafka.leader("careful", 0)).unwrap() + 1) % 3;
    block_in_place(|| kafka.kill_broker(follower));
    // Until the cluster has seen it, a record would be acknowledged never, and refused from then on.
    let condition = writer.condition.clone();
    let writing = tokio::spawn(async move {
        writer.write((1..101).map(|n| fresh("t", None, &n.to_string())).collect()).await.unwrap();
        timeout(ends::PATIENCE * 2, writer.flush()).await.unwrap().unwrap();
        assert!(writer.rejected.is_empty());
        writer
    });
    let says = "topic `careful` takes no records: 2 of 3 replicas of partition 0 are in sync, and min.insync.replicas \
                asks for 3; bring the missing brokers back, or correct min.insync.replicas of the topic";
    let deadline = Instant::now() + ends::PATIENCE;
    while condition.reason().as_deref() != Some(says) {
        assert!(Instant::now() < deadline && !writing.is_finished(), "{:?}", condition.reason());
        sleep(Duration::from_millis(100)).await;
    }
    block_in_place(|| kafka.start_broker(follower));
    let _writer = writing.await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while condition.reason().is_some() {
        assert!(Instant::now() < deadline, "{:?}", condition.reason());
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(block_in_place(|| ends::values(&kafka, "careful", 1)), (0..101).collect::<Vec<_>>());
}

/// A replica that hangs and still counts as in sync: the leader waits for it, and answers every request but this one.
#[tokio::test(flavor = "multi_thread")]
async fn silence_without_a_visible_reason_is_reported() {
    let patient = "broker.session.timeout.ms=120000\nreplica.lag.time.max.ms=120000";
    let kafka = Kafka::of(3).set(patient);
    block_in_place(|| kafka.start_again());
    block_in_place(|| kafka.create_topic_with("silent", 1, &[("retention.ms", "-1")]));
    let leader = ends::until_led(&kafka, "silent").await;
    let brokers = format!("127.0.0.1:{}", kafka.port_of(leader, 0));
    let mut writer = open_sink(&brokers, json!({ "topic": "silent" })).await;
    writer.write(vec![fresh("t", None, "0")]).await.unwrap();
    writer.flush().await.unwrap();
    let follower = (leader + 1) % 3;
    kafka.freeze_broker(follower);
    let condition = writer.condition.clone();
    let writing = tokio::spawn(async move {
        writer.write((1..101).map(|n| fresh("t", None, &n.to_string())).collect()).await.unwrap();
        timeout(ends::PATIENCE * 2, writer.flush()).await.unwrap().unwrap();
        writer
    });
    let says = "the brokers have acknowledged nothing for a while; see the logs and the load of the brokers, and the \
                network in between";
    // On a slow machine the frozen broker may be noticed and named before that.
    let address = format!("127.0.0.1:{}", kafka.port_of(follower, 0));
    let names = format!("broker {follower} is advertised at {address} and cannot be reached there: ");
    let silent = "takes the connection and says nothing; ";
    let is_told = |reason: &str| reason == says || (reason.starts_with(&names) && reason.contains(silent));
    let deadline = Instant::now() + ends::PATIENCE;
    while !condition.reason().as_deref().is_some_and(is_told) {
        assert!(Instant::now() < deadline && !writing.is_finished(), "{:?}", condition.reason());
        sleep(Duration::from_millis(100)).await;
    }
    kafka.thaw_broker(follower);
    let writer = writing.await.unwrap();
    assert!(writer.rejected.is_empty());
    let deadline = Instant::now() + Duration::from_secs(5);
    while condition.reason().is_some() {
        assert!(Instant::now() < deadline, "{:?}", condition.reason());
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(block_in_place(|| ends::values(&kafka, "silent", 1)), (0..101).collect::<Vec<_>>());
}
