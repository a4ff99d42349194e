//! Topics that are deleted and made anew under their names: their offsets begin at 0 again, and name other records.
use crate::ends;

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{ErrorKind, Offsets};
use aqueduct_tests::Kafka;
use ends::{Reader, broker, client, committed, create, fill, open_source, with};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use tokio::task::block_in_place;

async fn make_anew(kafka: &Arc<Kafka>, topic: &str) {
    block_in_place(|| {
        kafka.delete_topic(topic);
        std::thread::sleep(Duration::from_secs(1));
    });
    create(kafka, topic, 1, &[]).await;
}

async fn release(reader: &mut Reader, topic: &str, offset: i64) {
    let offsets = Offsets::from([(format!("{topic}/0").into(), offset.to_string().into())]);
    reader.source.release(&offsets).await.unwrap();
}

fn says(topic: &str, offset: i64, end: i64) -> String {
    format!(
        "topic `{topic}` was deleted and made anew: offset {offset} of partition 0 belongs to the topic before, and the new \
         one ends at {end}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_while_it_is_read_stops_the_pipeline() {
    let kafka = broker();
    create(&kafka, "anew.running", 1, &[]).await;
    fill(&kafka, "anew.running", 0..100, 1_000).await;
    let topics = json!({ "topics": ["anew.running"] });
    let mut reader = open_source(&kafka.brokers(), "anew.running", topics.clone()).await;
    reader.read(100).await;
    release(&mut reader, "anew.running", 40).await;
    // Longer than before at once: the library reads on from offset 100, and 100 records would be left out.
    make_anew(&kafka, "anew.running").await;
    fill(&kafka, "anew.running", 1_000..1_300, 1_000).await;
    let error = reader.failure().await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.says().starts_with("topic `anew.running` was deleted and made anew: offset "), "{error}");
    assert!(
        error
            .to_string()
            .contains("aqueduct offsets set anew.running --partition anew.running/0 --to earliest")
    );
    reader.source.close().await.unwrap();
    // The next one fails in the same way, until the offsets are set.
    let mut reader = open_source(&kafka.brokers(), "anew.running", topics).await;
    let error = reader.error().await;
    assert!(error.says().starts_with("topic `anew.running` was deleted and made anew: offset "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_lost_offsets_decides_beforehand() {
    let kafka = broker();
    create(&kafka, "anew.earliest", 1, &[]).await;
    fill(&kafka, "anew.earliest", 0..100, 1_000).await;
    let topics = json!({ "topics": ["anew.earliest"], "on_lost_offsets": "earliest" });
    let mut reader = open_source(&kafka.brokers(), "anew.earliest", topics).await;
    let (_, resume) = reader.read(100).await;
    reader.source.release(&resume).await.unwrap();
    make_anew(&kafka, "anew.earliest").await;
    fill(&kafka, "anew.earliest", 1_000..1_300, 1_000).await;
    // Some may have come from behind the old offset before it was found out; then all of it comes, in order.
    let (mut all, mut begun) = (Vec::new(), false);
    while all.last() != Some(&299) || !begun {
        for record in reader.read(1).await.0 {
            if record.origin.offset == 0 {
                (all, begun) = (Vec::new(), true);
            }
            all.push(record.origin.offset);
        }
    }
    assert_eq!(all, (0..300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_is_kept_with_the_topic_that_it_belongs_to() {
    let kafka = broker();
    for topic in ["anew.stored", "anew.moved"] {
        create(&kafka, topic, 1, &[]).await;
        fill(&kafka, topic, 0..100, 1_000).await;
        let topics = json!({ "topics": [topic] });
        let mut reader = open_source(&kafka.brokers(), topic, topics.clone()).await;
        reader.read(100).await;
        make_anew(&kafka, topic).await;
        fill(&kafka, topic, 1_000..1_300, 1_000).await;
        // The cluster deletes the offsets with the topic; this one comes behind that.
        release(&mut reader, topic, 100).await;
        reader.source.close().await.unwrap();
        assert_eq!(committed(&kafka, topic, topic, 1).await, [Some(100)]);
        if topic == "anew.moved" {
            // Another tool moves the group on purpose.
            let consumer: BaseConsumer = client(&kafka, &[("group.id", topic)]).create().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, 0, Offset::Offset(7)).unwrap();
            block_in_place(|| consumer.commit(&list, CommitMode::Sync)).unwrap();
            let mut reader = open_source(&kafka.brokers(), topic, topics).await;
            assert_eq!(reader.read(293).await.0[0].origin.offset, 7, "it is taken as it is");
            continue;
        }
        let mut reader = open_source(&kafka.brokers(), topic, topics.clone()).await;
        assert_eq!(reader.error().await.says(), says(topic, 100, 300));
        reader.source.close().await.unwrap();
        assert_eq!(committed(&kafka, topic, topic, 1).await, [Some(100)], "nothing was moved");
        let earliest = with(topics, json!({ "on_lost_offsets": "earliest" }));
        let mut reader = open_source(&kafka.brokers(), topic, earliest).await;
        assert_eq!(reader.read(300).await.0[0].origin.offset, 0);
        assert_eq!(committed(&kafka, topic, topic, 1).await, [Some(0)], "kept at once");
    }
}
