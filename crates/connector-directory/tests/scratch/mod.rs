//! Folders that are gone after a test, and records to write into them.

#![allow(clippy::unwrap_used)]
// Each test uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqueduct_api::catalog::{SinkConnector, SinkContext};
use aqueduct_api::{Batch, BatchId, Condition, Origin, Payload, Record, Sink};
use aqueduct_connector_directory::Config;
use serde_json::json;

/// A folder that is gone after the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("aqueduct-directory-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// All files below, hidden ones too, by their name from here.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&self.0).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
        files
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn config(folder: &Path, more: serde_json::Value) -> Arc<Config> {
    let mut config =
        json!({ "folder": folder, "path": "{topic}/{partition}-{start_offset}", "format": "lines" });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config: Config = serde_json::from_value(config).unwrap();
    assert_eq!(config.check(), []);
    Arc::new(config)
}

pub(crate) fn context(condition: &Condition) -> SinkContext {
    SinkContext { condition: condition.clone(), ..SinkContext::new("orders-to-folder") }
}

pub(crate) async fn open(config: &Arc<Config>) -> Box<dyn Sink> {
    config.open(context(&Condition::default())).await.unwrap()
}

/// A batch of `count` records of `orders/0` from this offset on.
pub(crate) fn batch(id: u64, first: i64, count: i64) -> Arc<Batch> {
    let values: Vec<String> = (first..first + count).map(|offset| format!("record {offset}")).collect();
    batch_of(id, "orders", 0, first, &values)
}

/// A batch of these values.
pub(crate) fn batch_of(
    id: u64,
    topic: &str,
    partition: i32,
    first: i64,
    values: &[impl AsRef<str>],
) -> Arc<Batch> {
    let record = |(index, value): (usize, _)| Record {
        topic: topic.into(),
        origin: Origin { partition, offset: first + index as i64 },
        key: Payload::Absent,
        value: str::to_owned(AsRef::as_ref(value)).into(),
        headers: Default::default(),
        timestamp_us: Some(0),
    };
    Batch::new(BatchId(id), values.iter().enumerate().map(record).collect(), None)
}

pub(crate) fn lines(first: i64, count: i64) -> Vec<u8> {
    (first..first + count).map(|offset| format!("record {offset}\n")).collect::<String>().into_bytes()
}
