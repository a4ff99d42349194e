//! How much memory open files take. The whole process is measured, so the test stands alone in it.

#![allow(clippy::unwrap_used)]

mod scratch;

use std::fs;

use aqueduct_api::catalog::{SinkConnector, SinkContext};
use scratch::{Scratch, batch_of, config};
use serde_json::json;

/// What is open counts, with its compressor: many partitions share the bound, and nothing is lost by it.
#[tokio::test]
async fn open_files_keep_within_their_memory() {
    let scratch = Scratch::new("memory");
    let config = config(&scratch.0, json!({ "format": { "lines": { "compression": "zstd" } } }));
    let mut context = SinkContext::new("p");
    context.buffer_max_bytes = 8 << 20;
    let mut sink = config.open(context).await.unwrap();
    let values: Vec<String> = (0..200).map(|n| format!("{n}{}", "v".repeat(1_000))).collect();
    let (before, mut most) = (resident_kib(), 0);
    for round in 0..5 {
        for partition in 0..200 {
            let id = round * 200 + partition;
            sink.write(&batch_of(id, "orders", partition as i32, round as i64 * 200, &values)).await.unwrap();
            most = most.max(resident_kib().saturating_sub(before));
        }
    }
    sink.flush().await.unwrap();
    println!("{most} KiB more, {} files", scratch.names().len());
    // Were the compressors not counted, it would be 23 MB; and 400 MB, had each one of the usual size.
    assert!(most < 16_000, "{most} KiB");
    let mut lines = 0;
    for bytes in scratch.files().values() {
        lines += zstd::decode_all(&bytes[..]).unwrap().iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(lines, 200 * 5 * 200);
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
