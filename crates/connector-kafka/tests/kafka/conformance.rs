//! The suites that every connector passes, against the real broker.

use crate::ends;

use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_api::catalog::Duplicates;
use aqueduct_api::{Offsets, Sink, Source};
use aqueduct_testkit::conformance::{self, SinkUnderTest, SourceUnderTest};
use aqueduct_tests::Kafka;
use async_trait::async_trait;
use ends::{broker, create, end_of, open_sink, open_source, open_source_with, record, text};
use serde_json::json;

struct Topic {
    kafka: Arc<Kafka>,
    name: &'static str,
}

#[async_trait]
impl SinkUnderTest for Topic {
    async fn open(&self) -> Box<dyn Sink> {
        open_sink(&self.kafka.brokers(), json!({ "topic": self.name })).await.sink
    }

    async fn stored(&self) -> BTreeMap<i32, Vec<String>> {
        let count = end_of(&self.kafka, self.name, 1).await;
        let group = format!("reader-{count}");
        let mut reader = open_source(&self.kafka.brokers(), &group, json!({ "topics": [self.name] })).await;
        let (records, _) = reader.read(count).await;
        reader.source.close().await.unwrap();
        let mut stored: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for record in records {
            // The partition where the suite had it, not the one to which its key belongs here.
            let value = text(&record.value);
            let fields: serde_json::Value = serde_json::from_str(&value).unwrap();
            stored.entry(fields["partition"].as_i64().unwrap() as i32).or_default().push(value);
        }
        stored
    }

    fn topic(&self) -> String {
        self.name.into()
    }

    fn duplicates(&self) -> Duplicates {
        Duplicates::Visible
    }
}

#[async_trait]
impl SourceUnderTest for Topic {
    /// The group keeps the offsets: the second life finds what the first one released.
    async fn open(&self, _: Offsets, batch_records_max: usize) -> Box<dyn Source> {
        let config = json!({ "topics": [self.name] });
        open_source_with(&self.kafka.brokers(), self.name, config, batch_records_max).await.source
    }

    fn count(&self) -> usize {
        200
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_keeps_the_contract() {
    let topic = Topic { kafka: broker(), name: "conformance-sink" };
    // Some records of the suite are from the year 9999.
    let settings = [("message.timestamp.after.max.ms", "9223372036854775807")];
    // One partition: there keys do not part what the suite has in order.
    create(&topic.kafka, topic.name, 1, &settings).await;
    conformance::sink(&topic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_keeps_the_contract() {
    let topic = Topic { kafka: broker(), name: "conformance-source" };
    create(&topic.kafka, topic.name, 3, &[]).await;
    let mut writer = open_sink(&topic.kafka.brokers(), json!({ "topic": topic.name })).await;
    let records = (0..200).map(|id| record(topic.name, Some(&format!("k{}", id % 17)), &id.to_string()));
    writer.write(records.collect()).await.unwrap();
    writer.flush().await.unwrap();
    conformance::source(&topic).await;
}
