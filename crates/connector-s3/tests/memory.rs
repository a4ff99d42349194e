//! The memory of the sink at full speed does not depend on the size of its objects. Alone in its process, to
//! be measured.

#![allow(clippy::unwrap_used)]

// This file uses a part of what the server offers.
#[allow(dead_code)]
mod server;

use std::sync::Arc;

use aqueduct_api::catalog::{SinkConnector, SinkContext};
use aqueduct_api::{Batch, BatchId, Origin, Payload, Record};
use aqueduct_connector_s3::Config;
use serde_json::json;
use server::Server;

/// The most memory that was resident so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A batch of 200 KB that hardly compresses.
fn batch(id: u64) -> Arc<Batch> {
    let partition = (id % 6) as i32;
    let mut state = id;
    let record = |n: i64| {
        let text = (0..1_000).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b'0' + (state >> 58) as u8
        });
        Record {
            topic: "orders".into(),
            origin: Origin { partition, offset: id as i64 / 6 * 200 + n },
            key: Payload::Absent,
            value: Payload::Raw(text.collect::<Vec<u8>>().into()),
            headers: Default::default(),
            timestamp_us: Some(0),
        }
    };
    Batch::new(BatchId(id), (0..200).map(record).collect(), None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stays_small_with_six_partitions_at_full_speed() {
    let server = Server::start("memory").await;
    let config: Config = serde_json::from_value(json!({
        "connection": { "bucket": "lake", "endpoint": server.endpoint(), "access_key": "test", "secret_key": "testtest" },
        "path": "{topic}/{partition}-{start_offset}",
        "format": { "lines": { "compression": "zstd" } },
    }))
    .unwrap();
    let context = SinkContext::new("p");
    let mut sink = config.open(context).await.unwrap();
    sink.write(&batch(0)).await.unwrap();
    let before = peak_kib();
    let mut peaks = Vec::new();
    for id in 1..1_500 {
        sink.write(&batch(id)).await.unwrap();
        if id % 300 == 0 {
            peaks.push(peak_kib() - before);
        }
    }
    sink.flush().await.unwrap();
    peaks.push(peak_kib() - before);
    println!("before {before} KiB, more after each 60 MB: {peaks:?} KiB");
    // Of 300 MB. What the allocator of a debug build keeps back depends on how busy the machine is.
    assert!(peaks.iter().all(|peak| *peak < 80_000), "{peaks:?}");
}
