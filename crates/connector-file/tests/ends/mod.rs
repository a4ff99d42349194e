//! What the tests of the source and the sink share: both ends through the catalog, records, a fresh folder.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{SinkContext, SourceContext};
use aqueduct_api::{
    Batch, BatchId, Catalog, Headers, Offsets, Origin, Polled, Record, Result, Rows, Sink, Source,
};
use aqueduct_connector_file::{SinkConfig, SourceConfig};
use serde_json::Value;

pub(crate) async fn source(config: Value, resume: Offsets) -> Result<Box<dyn Source>> {
    source_of(config, resume, 100).await
}

pub(crate) async fn source_of(
    config: Value,
    resume: Offsets,
    batch_records_max: usize,
) -> Result<Box<dyn Source>> {
    source_with(config, resume, batch_records_max, None).await
}

pub(crate) async fn source_with(
    config: Value,
    resume: Offsets,
    batch_records_max: usize,
    rows: Option<Rows>,
) -> Result<Box<dyn Source>> {
    let context = SourceContext {
        rows,
        has_store: true,
        resume,
        batch_records_max,
        drain_timeout: Duration::from_secs(1),
        ..SourceContext::new("p")
    };
    let catalog = Catalog::default().source::<SourceConfig>();
    catalog.sources["file"].configure(config).unwrap_or_else(|p| panic!("{p:?}")).open(context).await
}

pub(crate) async fn sink(path: &Path, pipeline: &str) -> Result<Box<dyn Sink>> {
    let config = serde_json::json!({ "path": path });
    let context = SinkContext::new(pipeline);
    let catalog = Catalog::default().sink::<SinkConfig>();
    catalog.sinks["file"].configure(config).unwrap_or_else(|p| panic!("{p:?}")).open(context).await
}

/// All records up to the end, and the place to resume after each batch.
pub(crate) async fn read_all(source: &mut dyn Source) -> Result<Vec<(Vec<Record>, Offsets)>> {
    let mut batches = Vec::new();
    loop {
        match source.poll(Duration::from_secs(5)).await? {
            Polled::Batch { records, resume_at } => batches.push((records.into_vec(), resume_at)),
            Polled::End => return Ok(batches),
            other => panic!("{other:?}"),
        }
    }
}

/// Records of all shapes.
pub(crate) fn records(offsets: std::ops::Range<i64>) -> Vec<Record> {
    let record = |offset: i64| {
        let mut headers = Headers::default();
        if offset % 3 == 0 {
            headers.push("n", Some(vec![0xff, offset as u8].into()));
            headers.push("n", None);
        }
        Record {
            topic: "shop.orders".into(),
            origin: Origin { partition: (offset % 4) as i32, offset },
            key: if offset % 5 == 0 { Default::default() } else { format!("key \"{offset}\"\n").into() },
            value: if offset % 7 == 0 {
                Default::default()
            } else {
                vec![b'x'; offset as usize % 900].into()
            },
            headers,
            timestamp_us: (offset % 2 == 0).then_some(1_767_225_600_000_000 + offset),
        }
    };
    offsets.map(record).collect()
}

pub(crate) fn batch(records: Vec<Record>) -> Arc<Batch> {
    Batch::new(BatchId(1), records.into(), None)
}

pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", env!("CARGO_CRATE_NAME")));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}
