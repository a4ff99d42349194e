//! The files of `deploy/` and the image: checked by the tools of those who read them, and run as far as that goes
//! without a cluster.

mod compose;
mod dashboard;
mod image;
mod kubernetes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct_tests::{Aqueduct, Folder, root};
use serde_json::Value;

/// Of a pipeline that does not say.
const STOP_TIMEOUT_S: u64 = 25;

fn deploy(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}

/// What `aqueduct check` has to say against a folder of pipelines, nothing when they are fine.
fn check(folder: &Path, environment: &BTreeMap<String, String>) -> Option<String> {
    let scratch = Folder::new("check");
    let environment: Vec<_> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    let path = folder.display().to_string();
    let mut check = Aqueduct::spawn(scratch.path(), &["check", &path], &environment);
    (!check.wait(Duration::from_secs(20)).success()).then(|| check.output())
}

/// The longest time that one of these pipelines may take to stop, in seconds.
fn stop_timeout_s(pipelines: &[Value]) -> u64 {
    let seconds = |pipeline: &Value| match pipeline["stop_timeout"].as_str() {
        None => STOP_TIMEOUT_S,
        Some(text) => text.strip_suffix('s').and_then(|text| text.parse().ok()).expect("whole seconds"),
    };
    pipelines
        .iter()
        .filter(|document| document["pipeline"].is_string())
        .map(seconds)
        .max()
        .expect("a pipeline")
}

fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// A text of a JSON value, empty where there is none.
fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// What a list holds, or what a map does.
fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(items) => items.values().collect(),
        _ => Vec::new(),
    }
}
