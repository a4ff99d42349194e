//! Batches of JSON into files with zstd, beside the same compressor alone: what the sink costs by itself.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{SinkConnector, SinkContext};
use aqueduct_api::{Batch, BatchId, Origin, Payload, Record};
use aqueduct_connector_directory::Config;
use serde_json::json;

const RECORDS: i64 = 4_000_000;
const BATCH: i64 = 1_000;
const PARTITIONS: i64 = 6;

fn batches() -> impl Iterator<Item = Arc<Batch>> {
    let topic: Arc<str> = "orders".into();
    // A few hundred different values, shared: making them is not what is measured.
    let values: Vec<bytes::Bytes> = (0..50_000_u64)
        .map(|n| {
            let n = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            format!(
                r#"{{"id":{},"customer_id":{},"product":"p-{}","amount":{}.{:02},"currency":"EUR","status":"paid","at":"2026-11-21T{:02}:{:02}:00Z"}}"#,
                n >> 30, n >> 50, n >> 54, n >> 52, n % 100, n % 24, n % 60
            )
            .into()
        })
        .collect();
    (0..RECORDS / BATCH).map(move |id| {
        let record = |n: i64| Record {
            topic: Arc::clone(&topic),
            origin: Origin { partition: (id % PARTITIONS) as i32, offset: id / PARTITIONS * BATCH + n },
            key: Payload::Absent,
            value: Payload::Raw(values[((id * BATCH + n) % 50_000) as usize].clone()),
            headers: Default::default(),
            timestamp_us: Some(1_700_000_000_000_000 + id * 1_000),
        };
        Batch::new(BatchId(id as u64), (0..BATCH).map(record).collect(), None)
    })
}

/// Processor time of all threads so far: other work on the machine does not count. In steps of 10 ms, so
/// batches are made outside the loop that is measured.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<i64> =
        stat.rsplit(')').next().unwrap().split(' ').filter_map(|field| field.parse().ok()).collect();
    // After the name and the state: user time is the 11th number from there, system time the 12th.
    Duration::from_millis((fields[10] + fields[11]).unsigned_abs() * 10)
}

fn main() {
    let folder = std::env::temp_dir().join(format!("aqueduct-bench-{}", std::process::id()));
    for (format, path) in [
        ("lines", "{topic}/{partition}-{start_offset}"),
        ("json_lines", "{topic}/{partition}-{start_offset}"),
        ("json_lines", "{topic}/{timestamp:%Y/%m/%d/%H}/{partition}-{start_offset}"),
    ] {
        let (alone, bytes) = compressor_alone();
        let format = json!({ format: { "compression": "zstd" } });
        let config = json!({ "folder": folder, "path": path, "format": format });
        let sink = through_the_sink(serde_json::from_value(config).unwrap());
        let _ = std::fs::remove_dir_all(&folder);
        let rate = |time: Duration| RECORDS as f64 / time.as_secs_f64() / 1e6;
        println!(
            "{path} {format}: compressor alone {:.2} M/CPU s ({:.0} MB), sink {:.2} M, {:.0} %, {:.0} ns a record more",
            rate(alone),
            bytes as f64 / alone.as_secs_f64() / 1e6,
            rate(sink),
            100.0 * alone.as_secs_f64() / sink.as_secs_f64(),
            (sink.as_secs_f64() - alone.as_secs_f64()) / RECORDS as f64 * 1e9,
        );
    }
}

/// The lines of each partition, in pieces of 128 KiB, through zstd with the level and window of the sink,
/// into nothing.
fn compressor_alone() -> (Duration, usize) {
    let encoder = || {
        let mut encoder = zstd::Encoder::new(std::io::sink(), 3).unwrap();
        encoder.set_parameter(zstd::stream::raw::CParameter::WindowLog(19)).unwrap();
        encoder
    };
    let mut encoders: Vec<_> = (0..PARTITIONS).map(|_| (Vec::<u8>::new(), encoder())).collect();
    let mut bytes = 0;
    let batches: Vec<_> = batches().collect();
    let started = cpu();
    for batch in batches {
        let (lines, encoder) = &mut encoders[batch.records[0].origin.partition as usize];
        for record in &batch.records {
            lines.extend_from_slice(record.value.bytes().unwrap());
            lines.push(b'\n');
        }
        if lines.len() >= 128 * 1024 {
            bytes += lines.len();
            encoder.write_all(lines).unwrap();
            lines.clear();
        }
    }
    (cpu() - started, bytes)
}

fn through_the_sink(config: Config) -> Duration {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let work = async move {
        let context = SinkContext::new("b");
        let mut sink = config.open(context).await.unwrap();
        let batches: Vec<_> = batches().collect();
        let started = cpu();
        for batch in batches {
            sink.write(&batch).await.unwrap();
        }
        sink.flush().await.unwrap();
        cpu() - started
    };
    runtime.block_on(async { tokio::spawn(work).await.unwrap() })
}
