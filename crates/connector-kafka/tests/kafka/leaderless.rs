//! Partitions without a leader: each end says which, the others go on, and so do they when a leader is back.
use crate::ends;

use std::collections::BTreeSet;
use std::time::Duration;

use aqueduct_api::Condition;
use aqueduct_tests::Kafka;
use ends::{create, open_sink, open_source, record};
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

async fn until_says(condition: &Condition, expected: Option<&str>) {
    let deadline = Instant::now() + ends::PATIENCE;
    while condition.reason().as_deref() != expected {
        assert!(Instant::now() < deadline, "expected {expected:?}\nfound {:?}", condition.reason());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Until the group has an offset for the only partition of a topic.
async fn until_committed(kafka: &Kafka, group: &str, topic: &str) {
    let deadline = Instant::now() + ends::PATIENCE;
    while ends::committed(kafka, group, topic, 1).await == [None] {
        assert!(Instant::now() < deadline, "{group} has no offset of {topic}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Ten records to each of the topics, past the ends under test.
async fn fill(brokers: &str, topics: &[&str], first: usize) {
    for topic in topics {
        let mut writer = open_sink(brokers, json!({ "topic": topic })).await;
        let records = (first..first + 10).map(|n| record("t", None, &n.to_string()));
        writer.write(records.collect()).await.unwrap();
        timeout(ends::PATIENCE, writer.flush()).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_leader_is_named_at_both_ends_and_holds_up_no_other() {
    let kafka = block_in_place(|| Kafka::cluster(3));
    // One partition each, without a second replica: their brokers differ.
    let (mut leaderless, mut other) = (None, None);
    for number in 0..12 {
        let topic = format!("lonely-{number}");
        create(&kafka, &topic, 1, &[]).await;
        let leader = ends::until_led(&kafka, &topic).await;
        match &leaderless {
            None => leaderless = Some((topic, leader)),
            Some((_, of)) if *of != leader => {
                other = Some(topic);
                break;
            }
            Some(_) => {}
        }
    }
    let ((leaderless, victim), other) = (leaderless.unwrap(), other.unwrap());
    let left: Vec<String> = (0..3)
        .filter(|broker| *broker != victim)
        .map(|broker| format!("127.0.0.1:{}", kafka.port_of(broker, 0)))
        .collect();
    let brokers = left.join(",");
    fill(&brokers, &[&leaderless, &other], 0).await;
    let mut reader = open_source(&brokers, "lonely", json!({ "topics": [leaderless, other] })).await;
    let (_, resume) = reader.read(20).await;
    reader.source.release(&resume).await.unwrap();
    let mut writer = open_sink(&brokers, json!({ "topic": leaderless })).await;
    block_in_place(|| kafka.kill_broker(victim));
    let condition = writer.condition.clone();
    let writing = tokio::spawn(async move {
        writer.write((10..20).map(|n| record("t", None, &n.to_string())).collect()).await.unwrap();
        timeout(ends::PATIENCE * 2, writer.flush()).await.unwrap().unwrap();
        writer
    });
    let says = format!("partition 0 of topic `{leaderless}` has no leader; bring one of its brokers back");
    until_says(&condition, Some(&says)).await;
    until_says(&reader.condition, Some(&says)).await;
    // It does not delay a source either that has read nothing yet and has to ask where to begin.
    let late = json!({ "topics": [leaderless, other], "start": "latest" });
    let mut late = open_source(&brokers, "late", late).await;
    until_says(&late.condition, Some(&says)).await;
    // The other one is read on.
    fill(&brokers, &[&other], 10).await;
    let (records, _) = late.read(10).await;
    assert!(records.iter().all(|it| *it.topic == *other), "a partition without a leader has records");
    let (records, _) = reader.read(10).await;
    assert_eq!(records.iter().map(|it| &*it.topic).collect::<BTreeSet<_>>(), BTreeSet::from([&*other]));
    assert_eq!(reader.condition.reason(), Some(says.clone()), "it still stands");

    block_in_place(|| kafka.start_broker(victim));
    let _writer = writing.await.unwrap();
    let (records, _) = reader.read(10).await;
    assert!(records.iter().all(|it| *it.topic == *leaderless), "what it had read was not read again");
    until_says(&reader.condition, None).await;
    until_says(&condition, None).await;
    goes_on_where_it_was_led_again(&kafka, &mut late, &brokers, &leaderless).await;
}

/// Where it begins was asked when there was a leader again: behind the ten records that had waited, or before them.
async fn goes_on_where_it_was_led_again(
    kafka: &Kafka,
    late: &mut ends::Reader,
    brokers: &str,
    leaderless: &str,
) {
    until_says(&late.condition, None).await;
    until_committed(kafka, "late", leaderless).await;
    fill(brokers, &[leaderless], 20).await;
    let values = |records: &[aqueduct_api::Record]| -> Vec<String> {
        records.iter().map(|it| String::from_utf8_lossy(it.value.bytes().unwrap()).into_owned()).collect()
    };
    let mut read = Vec::new();
    while !read.contains(&"29".to_owned()) {
        let (records, _) = late.read(1).await;
        assert!(records.iter().all(|it| *it.topic == *leaderless));
        read.extend(values(&records));
    }
    assert_eq!(read[read.len() - 10..], (20..30).map(|n| n.to_string()).collect::<Vec<_>>());
}
