//! A sink on a bucket, and records to write into it.

#![allow(clippy::unwrap_used)]
// Each test uses a part of it.
#![allow(dead_code)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_api::catalog::{SinkConnector, SinkContext};
use aqueduct_api::{Batch, BatchId, Condition, Origin, Payload, Record, Result, Sink};
use aqueduct_connector_s3::Config;
use serde_json::{Value, json};

pub(crate) fn config(endpoint: &str, more: Value) -> Arc<Config> {
    let mut config = json!({
        "connection": { "bucket": "lake", "endpoint": endpoint, "access_key": "test", "secret_key": "testtest" },
        "path": "{topic}/{partition}-{start_offset}",
        "format": "lines",
    });
    for (name, value) in more.as_object().unwrap() {
        match (config.get_mut(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            _ => config[name] = value.clone(),
        }
    }
    let config: Config = serde_json::from_value(config).unwrap();
    assert_eq!(config.check(), []);
    Arc::new(config)
}

pub(crate) async fn try_open(config: &Arc<Config>, condition: &Condition) -> Result<Box<dyn Sink>> {
    let context = SinkContext { condition: condition.clone(), ..SinkContext::new("orders-to-lake") };
    config.open(context).await
}

pub(crate) async fn open(config: &Arc<Config>) -> Box<dyn Sink> {
    try_open(config, &Condition::default()).await.unwrap()
}

/// A value of `bytes` characters that no compressor makes smaller than three quarters.
pub(crate) fn value(offset: i64, bytes: usize) -> String {
    let mut state = offset as u64;
    let mut text = format!("{offset}:");
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(char::from(b'0' + (state >> 58) as u8));
    }
    text
}

pub(crate) fn batch(id: u64, first: i64, count: i64, bytes: usize) -> Arc<Batch> {
    let record = |offset| Record {
        topic: "orders".into(),
        origin: Origin { partition: 0, offset },
        key: Payload::Absent,
        value: value(offset, bytes).into(),
        headers: Default::default(),
        timestamp_us: Some(0),
    };
    Batch::new(BatchId(id), (first..first + count).map(record).collect(), None)
}

pub(crate) fn lines(first: i64, count: i64, bytes: usize) -> Vec<u8> {
    (first..first + count).map(|offset| value(offset, bytes) + "\n").collect::<String>().into_bytes()
}

pub(crate) fn name(first: i64, suffix: &str) -> String {
    format!("orders/0-{first:020}{suffix}")
}

/// Everything that was said while waiting.
pub(crate) fn watch(condition: &Condition) -> Arc<Mutex<Vec<String>>> {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let (condition, heard) = (condition.clone(), Arc::clone(&said));
    tokio::spawn(async move {
        loop {
            if let Some(reason) = condition.reason() {
                let mut heard = heard.lock().unwrap();
                if heard.last() != Some(&reason) {
                    heard.push(reason);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    said
}
