//! Topics that cannot be written, for each reason there is, and what the sink says and does about it.
use crate::ends;

use std::time::Duration;

use aqueduct_api::{Condition, Error, ErrorKind};
use aqueduct_tests::Kafka;
use bytes::Bytes;
use ends::{Writer, broker, create, end_of, open_sink, record, text, with};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

/// Waits until this end says that it waits, and for what.
async fn waits(condition: &Condition) -> String {
    let deadline = Instant::now() + ends::PATIENCE;
    loop {
        if let Some(reason) = condition.reason() {
            return reason;
        }
        assert!(Instant::now() < deadline, "it does not wait for anything");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Writes and flushes in the background; the writer comes back when all is durable.
fn writing(mut writer: Writer, records: Vec<aqueduct_api::Record>) -> tokio::task::JoinHandle<Writer> {
    tokio::spawn(async move {
        writer.write(records).await.unwrap();
        timeout(ends::PATIENCE, writer.flush()).await.unwrap().unwrap();
        writer
    })
}

fn some(count: usize) -> Vec<aqueduct_api::Record> {
    (0..count).map(|n| record("t", Some("k"), &n.to_string())).collect()
}

fn of(tenant: &str, value: &str) -> aqueduct_api::Record {
    let mut record = record("t", Some("k"), value);
    record.headers.push("tenant", Some(Bytes::from(tenant.to_owned())));
    record
}

fn refusals(writer: &Writer) -> Vec<String> {
    let line =
        |rejected: &aqueduct_api::Rejected| format!("{}: {}", text(&rejected.record.value), rejected.error);
    writer.rejected.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_waited_for() {
    let kafka = broker();
    let writer = open_sink(&kafka.brokers(), json!({ "topic": "awaited" })).await;
    let condition = writer.condition.clone();
    let writing = writing(writer, some(100));
    let says = format!(
        "topic `awaited` does not exist on the cluster {}; create it, or correct the name",
        kafka.brokers()
    );
    assert_eq!(waits(&condition).await, says);
    create(&kafka, "awaited", 1, &[]).await;
    let writer = writing.await.unwrap();
    assert_eq!((condition.reason(), writer.rejected.len()), (None, 0));
    assert_eq!(end_of(&kafka, "awaited", 1).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_stops_the_pipeline_where_the_file_says_so() {
    let kafka = broker();
    let mut writer =
        open_sink(&kafka.brokers(), json!({ "topic": "nowhere", "on_missing_topic": "stop" })).await;
    let error = writer.write(some(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.says().starts_with("topic `nowhere` does not exist on the cluster"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_created_as_the_file_says() {
    let kafka = broker();
    let create =
        json!({ "create": { "partitions": 3, "replication": 1, "config": { "retention.ms": 7_200_000 } } });
    let config = json!({ "topic": "made.{header.tenant}", "on_missing_topic": create });
    let mut writer = open_sink(&kafka.brokers(), config).await;
    writer.write(vec![of("a", "1"), of("b", "2"), of("a", "3")]).await.unwrap();
    writer.flush().await.unwrap();
    assert!(writer.rejected.is_empty());
    assert_eq!((end_of(&kafka, "made.a", 3).await, end_of(&kafka, "made.b", 3).await), (2, 1));
    let arguments = ["--describe", "--topic", "made.a"];
    let described = block_in_place(|| kafka.tool("org.apache.kafka.tools.TopicCommand", &arguments));
    assert!(
        described.contains("PartitionCount: 3") && described.contains("retention.ms=7200000"),
        "{described}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_cannot_be_created_says_why() {
    let kafka = broker();
    let create = json!({ "create": { "replication": 5 } });
    let config = json!({ "topic": "beyond", "on_missing_topic": create });
    let mut writer = open_sink(&kafka.brokers(), config.clone()).await;
    let condition = writer.condition.clone();
    let waiting = tokio::spawn(async move { writer.write(some(1)).await });
    let says = "topic `beyond` does not exist and cannot be created: InvalidReplicationFactor (Broker: Invalid replication factor); \
                grant CREATE on it, correct on_missing_topic.create, or create the topic yourself";
    assert_eq!(waits(&condition).await, says);
    waiting.abort();
    let mut writer = open_sink(&kafka.brokers(), with(config, json!({ "topic": "{header.tenant}" }))).await;
    writer.write(vec![of("beyond", "1")]).await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(refusals(&writer), [format!("1: {says}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_of_some_records_does_not_hold_up_the_others() {
    let kafka = broker();
    create(&kafka, "there", 1, &[]).await;
    let mut writer = open_sink(&kafka.brokers(), json!({ "topic": "{header.tenant}" })).await;
    let begun = Instant::now();
    for n in 0..50 {
        writer.write(vec![of("there", &n.to_string()), of("away", "x")]).await.unwrap();
    }
    writer.flush().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "asked for each of them: {:?}", begun.elapsed());
    assert_eq!(writer.rejected.len(), 50);
    let says = format!("x: topic `away` does not exist on the cluster {}; ", kafka.brokers());
    assert!(refusals(&writer).iter().all(|line| line.starts_with(&says)), "{:?}", refusals(&writer)[0]);
    assert_eq!(end_of(&kafka, "there", 1).await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_meanwhile_is_waited_for_and_nothing_else_comes_twice() {
    let kafka = broker();
    create(&kafka, "brief", 1, &[]).await;
    create(&kafka, "lasting", 1, &[]).await;
    let config = json!({ "topic": "{header.tenant}", "on_missing_topic": "wait" });
    let mut writer = open_sink(&kafka.brokers(), config).await;
    writer.write(vec![of("brief", "0"), of("lasting", "0")]).await.unwrap();
    writer.flush().await.unwrap();
    block_in_place(|| kafka.delete_topic("brief"));
    let condition = writer.condition.clone();
    let records =
        (1..51).flat_map(|n| [of("brief", &n.to_string()), of("lasting", &n.to_string())]).collect();
    let writing = writing(writer, records);
    let says = waits(&condition).await;
    assert!(says.starts_with("topic `brief` does not exist"), "{says}");
    create(&kafka, "brief", 1, &[]).await;
    let writer = writing.await.unwrap();
    assert_eq!((condition.reason(), writer.rejected.len()), (None, 0));
    assert_eq!((end_of(&kafka, "brief", 1).await, end_of(&kafka, "lasting", 1).await), (50, 51));
}

/// A connection with a login.
fn known(kafka: &Kafka) -> Value {
    let path = |name| kafka.certificate(name).display().to_string();
    let tls = json!({ "ca": path("ca.crt"), "certificate": path("client.crt"), "key": path("client.key") });
    json!({ "connection": { "brokers": kafka.tls_brokers(), "tls": tls } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_lacking_is_waited_for() {
    let kafka = broker();
    create(&kafka, "forbidden", 1, &[]).await;
    // A user without any right to write does not even get a producer id.
    create(&kafka, "permitted", 1, &[]).await;
    block_in_place(|| kafka.allow("User:client", "topic:permitted", &["Write"]));
    let config = with(json!({ "topic": "forbidden" }), known(&kafka));
    let writer = open_sink(&kafka.brokers(), config).await;
    let condition = writer.condition.clone();
    let writing = writing(writer, some(1_000));
    let says = format!(
        "the user of certificate `CN=client` may not Write topic `forbidden`; grant it: kafka-acls.sh \
         --bootstrap-server {} --add --allow-principal User:CN=client --operation Write --topic forbidden",
        kafka.tls_brokers()
    );
    // First it may not even know of the topic, then not write to it. On a slow machine the broker is waited for before.
    let deadline = Instant::now() + ends::PATIENCE;
    while condition.reason().as_ref() != Some(&says) {
        assert!(Instant::now() < deadline, "{:?}", condition.reason());
        sleep(Duration::from_millis(50)).await;
    }
    block_in_place(|| kafka.allow("User:client", "topic:forbidden", &["Describe"]));
    // Until every thread of a busy broker goes by the new right.
    sleep(Duration::from_secs(6)).await;
    for _ in 0..30 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(condition.reason().as_ref(), Some(&says), "said without a break");
    }
    assert!(!writing.is_finished());
    block_in_place(|| kafka.allow("User:client", "topic:forbidden", &["Write"]));
    let writer = writing.await.unwrap();
    assert_eq!((condition.reason(), writer.rejected.len()), (None, 0));
    assert_eq!(end_of(&kafka, "forbidden", 1).await, 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_any_right_to_write_reads_what_to_grant() {
    // A broker of its own: rights to any other topic would do.
    let kafka = Kafka::start();
    create(&kafka, "unwritable", 1, &[]).await;
    block_in_place(|| kafka.allow("User:client", "topic:unwritable", &["Describe"]));
    let config = with(json!({ "topic": "unwritable" }), known(&kafka));
    let mut writer = open_sink(&kafka.brokers(), config).await;
    let error = match writer.write(some(10)).await {
        Ok(()) => timeout(ends::PATIENCE, writer.flush()).await.unwrap().unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert_eq!(
        error.to_string(),
        format!(
            "the user of certificate `CN=client` may write to no topic of the cluster; grant it: kafka-acls.sh \
             --bootstrap-server {} --add --allow-principal User:CN=client --operation Write --topic unwritable; before \
             2.8 also --operation IdempotentWrite --cluster",
            kafka.tls_brokers()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_lacking_for_some_records_does_not_hold_up_the_others() {
    let kafka = broker();
    create(&kafka, "ours", 1, &[]).await;
    create(&kafka, "theirs", 1, &[]).await;
    block_in_place(|| {
        kafka.allow("User:client", "topic:ours", &["Describe", "Write"]);
        kafka.allow("User:client", "topic:theirs", &["Describe"]);
    });
    let config = with(json!({ "topic": "{header.tenant}" }), known(&kafka));
    let mut writer = open_sink(&kafka.brokers(), config).await;
    for n in 0..100 {
        writer.write(vec![of("ours", &n.to_string()), of("theirs", "x")]).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    timeout(ends::PATIENCE, writer.flush()).await.unwrap().unwrap();
    assert_eq!(writer.rejected.len(), 100);
    assert!(refusals(&writer)[0].starts_with("x: "), "{:?}", refusals(&writer)[0]);
    assert_eq!((end_of(&kafka, "ours", 1).await, end_of(&kafka, "theirs", 1).await), (100, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_out_of_bounds_is_set_aside() {
    let kafka = broker();
    let bounds =
        [("message.timestamp.before.max.ms", "3600000"), ("message.timestamp.after.max.ms", "3600000")];
    create(&kafka, "timely", 1, &bounds).await;
    let now_us = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as i64;
    let at = |value: &str, hours: i64| {
        let mut record = record("t", Some("k"), value);
        record.timestamp_us = Some(now_us + hours * 3_600_000_000);
        record
    };
    let mut writer = open_sink(&kafka.brokers(), json!({ "topic": "timely" })).await;
    writer.write(vec![at("1", 0), at("old", -2), at("2", 0)]).await.unwrap();
    writer.flush().await.unwrap();
    writer.write(vec![at("old", -5), at("3", 0), at("early", 3), at("4", 0)]).await.unwrap();
    writer.flush().await.unwrap();
    let refused = refusals(&writer);
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(
        refused[0].starts_with("old: topic `timely` refuses the record for its timestamp; "),
        "{refused:?}"
    );
    assert!(
        refused[1].starts_with("old: topic `timely` refuses the record for its timestamp; "),
        "{refused:?}"
    );
    assert!(
        refused[2].starts_with("early: topic `timely` refuses the record for its timestamp; "),
        "{refused:?}"
    );
    assert_eq!(end_of(&kafka, "timely", 1).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_shown_and_waited_for() -> Result<(), Error> {
    let kafka = broker();
    create(&kafka, "metered", 1, &[]).await;
    block_in_place(|| kafka.configure("clients", "aqueduct-writer-0-0", "producer_byte_rate=200000"));
    let mut writer = open_sink(&kafka.brokers(), json!({ "topic": "metered", "compression": "none" })).await;
    let value = "x".repeat(10_000);
    let mut slowed = None;
    for _ in 0..50 {
        writer.write((0..10).map(|_| record("t", None, &value)).collect()).await?;
        sleep(Duration::from_millis(300)).await;
        assert_eq!(writer.condition.reason(), None, "a pipeline that is slowed down is ready");
        slowed = slowed.or(writer.condition.slowed_by());
    }
    block_in_place(|| kafka.unconfigure("clients", "aqueduct-writer-0-0", "producer_byte_rate"));
    timeout(ends::PATIENCE, writer.flush()).await.unwrap()?;
    assert!(slowed.unwrap().starts_with("the brokers slow this pipeline down by a quota; "));
    assert_eq!(end_of(&kafka, "metered", 1).await, 500);
    let deadline = Instant::now() + Duration::from_secs(20);
    while writer.condition.slowed_by().is_some() {
        assert!(Instant::now() < deadline, "it is over");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
