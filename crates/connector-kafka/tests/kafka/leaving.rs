//! A source that is dropped, as that of a pipeline that failed is, leaves its group and commits nothing. A sink writes nothing
//! any more.
use crate::ends;

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{SinkContext, SourceContext};
use aqueduct_api::{Batch, BatchId, Catalog, Finishing, Unfinished};
use aqueduct_connector_kafka::{SinkConfig, SourceConfig};
use aqueduct_tests::Kafka;
use ends::{DRAIN, Reader, broker, committed, create, fill, fresh, open_source, until_member, values, with};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Far below a session of 45 s.
const SOON: Duration = Duration::from_secs(15);

/// A source, and what is notified of its end.
async fn open(kafka: &Kafka, pipeline: &str, config: Value) -> (Reader, Finishing) {
    let (unfinished, finishing) = Unfinished::new();
    let config = with(json!({ "connection": { "brokers": kafka.brokers() } }), config);
    let configured = Catalog::default().source::<SourceConfig>().sources["kafka"].configure(config).unwrap();
    let context = SourceContext { drain_timeout: DRAIN, unfinished, ..SourceContext::new(pipeline) };
    let condition = context.condition.clone();
    (Reader { source: configured.open(context).await.unwrap(), condition }, finishing)
}

fn members(kafka: &Kafka, group: &str) -> Vec<String> {
    tokio::task::block_in_place(|| kafka.members(group))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_dropped_leaves_its_group_and_commits_nothing() {
    let kafka = broker();
    for protocol in ["classic", "consumer"] {
        let topic = format!("dropped-{protocol}");
        create(&kafka, &topic, 2, &[]).await;
        fill(&kafka, &topic, 0..200, 1_000).await;
        let config = json!({ "topics": [topic], "group_protocol": protocol });
        let (mut reader, finishing) = open(&kafka, &topic, config.clone()).await;
        assert!(reader.condition.reason().unwrap().contains("the group gave no partitions yet"));
        reader.read(200).await;
        assert_eq!(reader.condition.reason(), None);
        drop(reader);
        assert!(finishing.within(SOON).await);
        assert_eq!(members(&kafka, &topic), Vec::<String>::new());
        assert_eq!(committed(&kafka, &topic, &topic, 2).await, [None, None]);
        let begun = Instant::now();
        let mut next = open_source(&kafka.brokers(), &topic, config).await;
        next.read(200).await;
        assert!(begun.elapsed() < SOON, "{protocol}: {:?}", begun.elapsed());
        next.source.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_dropped_while_it_joins_leaves_too() {
    let kafka = broker();
    create(&kafka, "hangs", 2, &[]).await;
    fill(&kafka, "hangs", 0..200, 1_000).await;
    // A member that hangs: the library's threads keep its session, and it never answers a rebalance.
    let hanging: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", "hangs")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .create()
        .unwrap();
    hanging.subscribe(&["hangs"]).unwrap();
    let deadline = Instant::now() + ends::PATIENCE;
    while hanging.assignment().unwrap().count() == 0 {
        assert!(Instant::now() < deadline);
        tokio::task::block_in_place(|| hanging.poll(Duration::from_millis(100)));
    }
    let before = members(&kafka, "hangs");
    assert_eq!(before.len(), 1);
    let (reader, finishing) = open(&kafka, "hangs", json!({ "topics": ["hangs"] })).await;
    while members(&kafka, "hangs").len() < 2 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Its request to join is sent, and not answered until the other member joins again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let waits = reader.condition.reason().unwrap();
    let says = "the group gave no partitions yet: this member waits for the next rebalance of `hangs`";
    assert!(waits.contains(says), "{waits}");
    drop(reader);
    assert!(finishing.within(SOON).await);
    assert_eq!(members(&kafka, "hangs"), before);
    std::mem::forget(hanging);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_closed_is_finished() {
    let kafka = broker();
    create(&kafka, "closed", 1, &[]).await;
    let (mut reader, finishing) = open(&kafka, "closed", json!({ "topics": ["closed"] })).await;
    until_member(&reader).await;
    reader.source.close().await.unwrap();
    assert!(finishing.within(Duration::from_secs(1)).await);
    assert_eq!(members(&kafka, "closed"), Vec::<String>::new());
}

/// A broker that hangs takes what is on its way to it, and the library has far more in its queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_dropped_writes_nothing_of_its_queue() {
    const RECORDS: usize = 20_000;
    let kafka = Kafka::start();
    create(&kafka, "queued", 1, &[]).await;
    let (unfinished, finishing) = Unfinished::new();
    // Requests of a few records, one at a time.
    let small = json!({ "batch.size": 4096, "max.in.flight.requests.per.connection": 1 });
    let config = json!({
        "connection": { "brokers": kafka.brokers() },
        "topic": "queued",
        "producer": "librdkafka",
        "compression": "none",
        "client": small,
    });
    let configured = Catalog::default().sink::<SinkConfig>().sinks["kafka"].configure(config).unwrap();
    let context = SinkContext { unfinished, ..SinkContext::new("queued") };
    let mut sink = configured.open(context).await.unwrap();
    let batch = |id, numbers: std::ops::Range<usize>| {
        let text = |number| format!("{number:01000}");
        let records: Vec<_> = numbers.map(|number| fresh("t", None, &text(number))).collect();
        Batch::new(BatchId(id), records.into(), None)
    };
    let first: Arc<Batch> = batch(0, 0..1);
    sink.write(&first).await.unwrap();
    sink.flush().await.unwrap();
    tokio::task::block_in_place(|| kafka.freeze_broker(0));
    sink.write(&batch(1, 1..RECORDS)).await.unwrap();
    // The cluster is being asked why it acknowledges nothing.
    tokio::time::sleep(Duration::from_millis(3_600)).await;
    drop(sink);
    kafka.thaw_broker(0);
    assert!(finishing.within(SOON).await);
    let at_the_end = tokio::task::block_in_place(|| values(&kafka, "queued", 1)).len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = tokio::task::block_in_place(|| values(&kafka, "queued", 1)).len();
    println!("{at_the_end} of {RECORDS} records were written");
    assert_eq!(at_the_end, later, "it was over");
    // The first, and those of the one request that was on its way.
    assert!(later <= 1 + 4, "{later} records");
}
