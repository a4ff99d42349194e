//! Poison for the consumer itself: a batch whose bytes were changed on the broker's disk, and one larger than any buffer.
use crate::ends;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_tests::Kafka;
use ends::{by_partition, create, open_sink, open_source, record};
use serde_json::json;

async fn blocking(kafka: &Arc<Kafka>, order: impl FnOnce(&Kafka) + Send + 'static) {
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || order(&kafka)).await.unwrap();
}

/// Ten records in one batch: it is sent when all are there.
async fn fill(kafka: &Kafka, topic: &str, first: usize) {
    fill_as(kafka, topic, "lz4", first).await;
}

async fn fill_as(kafka: &Kafka, topic: &str, compression: &str, first: usize) {
    let config = json!({ "topic": topic, "compression": compression, "linger": "900ms" });
    let mut writer = open_sink(&kafka.brokers(), config).await;
    let records = (first..first + 10).map(|value| record(topic, Some("key"), &value.to_string()));
    writer.write(records.collect()).await.unwrap();
    writer.flush().await.unwrap();
}

/// The first segment of a partition.
fn segment(kafka: &Kafka, topic: &str, partition: i32) -> PathBuf {
    kafka.folder_of(0).join("data").join(format!("{topic}-{partition}")).join("00000000000000000000.log")
}

/// Changes a byte near the end of the n-th batch: base offset (8), length (4), then that many bytes (KIP-98).
fn damage(path: &PathBuf, batch: usize) {
    let mut bytes = fs::read(path).unwrap();
    let mut start = 0;
    for _ in 0..batch {
        start += 12 + length(&bytes, start);
    }
    let last = start + 12 + length(&bytes, start) - 5;
    bytes[last] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

fn length(bytes: &[u8], start: usize) -> usize {
    u32::from_be_bytes(bytes[start + 8..start + 12].try_into().unwrap()) as usize
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_stops_its_partition_and_no_other() {
    let kafka = Arc::new(Kafka::start());
    create(&kafka, "damaged", 1, &[]).await;
    create(&kafka, "sound", 1, &[]).await;
    // Three batches of ten records in each; the second of one is damaged.
    for batch in 0..3 {
        for topic in ["damaged", "sound"] {
            fill(&kafka, topic, batch * 10).await;
        }
    }
    blocking(&kafka, |kafka| {
        kafka.stop_broker(0);
        damage(&segment(kafka, "damaged", 0), 1);
        kafka.start_again();
    })
    .await;
    let config = json!({ "topics": ["damaged", "sound"] });
    let mut reader = open_source(&kafka.brokers(), "damaged", config.clone()).await;
    let (records, resume) = reader.read(40).await;
    let of = |topic: &str| -> Vec<i64> {
        records.iter().filter(|it| &*it.topic == topic).map(|it| it.origin.offset).collect()
    };
    assert_eq!(of("damaged"), (0..10).collect::<Vec<_>>());
    assert_eq!(of("sound"), (0..30).collect::<Vec<_>>());
    assert_eq!(&*resume["damaged/0"], "10");
    reader.nothing(Duration::from_secs(2)).await;
    let reason = reader.condition.reason().unwrap();
    assert!(
        reason.starts_with("the batch at offset 10 of partition 0 of `damaged` cannot be read: ")
            && reason.contains("failed CRC32C check")
            && reason.contains("aqueduct offsets set damaged --partition damaged/0 --to OFFSET --apply"),
        "{reason}"
    );
    // The others go on.
    fill(&kafka, "sound", 30).await;
    let (records, _) = reader.read(10).await;
    assert_eq!(by_partition(&records)[&0].len(), 10);
    // What it says helps: behind the batch it goes on.
    reader.source.release(&[("damaged/0".into(), "20".into())].into()).await.unwrap();
    reader.source.close().await.unwrap();
    let mut reader = open_source(&kafka.brokers(), "damaged", config).await;
    let (records, _) = reader.read(10).await;
    assert!(records.iter().any(|record| &*record.topic == "damaged" && record.origin.offset == 20));
    reader.until_well().await;
}

/// The same, as a producer would that compresses badly: the checksum is that of the damaged bytes. It covers all from the
/// attributes on (KIP-98), and the compressed records begin behind the head of 61 bytes.
fn compress_badly(path: &PathBuf, batch: usize) {
    let mut bytes = fs::read(path).unwrap();
    let mut start = 0;
    for _ in 0..batch {
        start += 12 + length(&bytes, start);
    }
    let end = start + 12 + length(&bytes, start);
    assert_ne!(bytes[start + 22] & 7, 0, "it is compressed");
    bytes[start + 61..end].iter_mut().for_each(|byte| *byte ^= 0x55);
    let checksum = crc32c::crc32c(&bytes[start + 21..end]);
    bytes[start + 17..start + 21].copy_from_slice(&checksum.to_be_bytes());
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_decompressed_stops_its_partition_and_no_other() {
    const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];
    let kafka = Arc::new(Kafka::start());
    for codec in CODECS {
        create(&kafka, codec, 1, &[]).await;
        for batch in 0..3 {
            fill_as(&kafka, codec, codec, batch * 10).await;
        }
        let sound = format!("sound-{codec}");
        create(&kafka, &sound, 1, &[]).await;
        fill(&kafka, &sound, 0).await;
    }
    blocking(&kafka, |kafka| {
        kafka.stop_broker(0);
        CODECS.iter().for_each(|codec| compress_badly(&segment(kafka, codec, 0), 1));
        kafka.start_again();
    })
    .await;
    for codec in CODECS {
        let sound = format!("sound-{codec}");
        let config = json!({ "topics": [codec, sound] });
        let mut reader = open_source(&kafka.brokers(), codec, config).await;
        let (records, resume) = reader.read(20).await;
        let whole = records.iter().filter(|record| *record.topic == *sound).count();
        assert_eq!((whole, records.len()), (10, 20), "{codec}");
        assert_eq!(&*resume[&*format!("{codec}/0")], "10");
        reader.nothing(Duration::from_secs(2)).await;
        let reason = reader.condition.reason().unwrap();
        let says = format!("the batch at offset 10 of partition 0 of `{codec}` cannot be read: ");
        assert!(reason.starts_with(&says), "{reason}");
        assert!(!reason.contains("CRC"), "the checksum is right: {reason}");
        println!("{reason}");
        fill(&kafka, &sound, 10).await;
        let (records, _) = reader.read(10).await;
        assert!(records.iter().all(|record| *record.topic == *sound), "{codec}");
        reader.source.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_whole_again_is_read() {
    let kafka = Arc::new(Kafka::start());
    create(&kafka, "repaired", 1, &[]).await;
    for batch in 0..3 {
        fill(&kafka, "repaired", batch * 10).await;
    }
    let change = |kafka: &Kafka| {
        kafka.stop_broker(0);
        damage(&segment(kafka, "repaired", 0), 1);
        kafka.start_again();
    };
    blocking(&kafka, change).await;
    let mut reader = open_source(&kafka.brokers(), "repaired", json!({ "topics": ["repaired"] })).await;
    reader.read(10).await;
    reader.nothing(Duration::from_secs(2)).await;
    assert!(reader.condition.reason().is_some());
    // The same bytes changed again are the old ones.
    blocking(&kafka, change).await;
    let (records, _) = reader.read(20).await;
    let offsets: Vec<i64> = records.iter().map(|record| record.origin.offset).collect();
    assert_eq!(offsets, (10..30).collect::<Vec<_>>());
    reader.nothing(Duration::from_secs(1)).await;
    reader.until_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_far_larger_than_a_batch_passes() {
    let kafka = Arc::new(Kafka::start());
    create(&kafka, "large", 1, &[("max.message.bytes", "30000000")]).await;
    let mut writer = open_sink(&kafka.brokers(), json!({ "topic": "large" })).await;
    // Sixteen times what a batch of the engine may hold, ten times what is fetched at once.
    let large = "x".repeat(20_000_000);
    writer.write(vec![record("t", None, &large), record("t", None, "small")]).await.unwrap();
    writer.flush().await.unwrap();
    assert!(writer.rejected.is_empty(), "{:?}", writer.rejected);
    let mut reader = open_source(&kafka.brokers(), "large", json!({ "topics": ["large"] })).await;
    let (records, _) = reader.read(2).await;
    assert_eq!(records[0].value.bytes().unwrap().len(), 20_000_000);
}
