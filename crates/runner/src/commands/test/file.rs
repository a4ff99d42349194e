//! A test file: which pipeline, and the cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aqueduct_api::Catalog;
use aqueduct_spec::{Diagnostic, Environment, Pipeline};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// One document of a `*.test.yaml` file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFile {
    /// The pipeline file, seen from the folder of this one.
    pipeline: PathBuf,
    /// Which pipeline of that file; needed only where it has several.
    #[serde(default)]
    name: Option<String>,
    /// Variables for `${env:...}`; they come before those of the process.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// The cases.
    pub(super) cases: Vec<Case>,
}

/// Records that go in, and what must come out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// What it shows, in words.
    pub(super) name: String,
    /// The input, as record lines.
    #[schemars(with = "Vec<Parts>")]
    pub(super) records: Vec<Value>,
    /// What must come out, in order; only the parts that are named are compared. Nothing, when it is left out.
    #[serde(default)]
    #[schemars(with = "Vec<Parts>")]
    pub(super) expect: Vec<Value>,
    /// What must be rejected, in order. Nothing, when it is left out.
    #[serde(default)]
    pub(super) expect_rejected: Vec<Rejected>,
}

/// The parts of a record, for the schema alone: records are read as record lines.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Parts {
    /// The topic; by default the first that the source names.
    topic: Option<String>,
    /// The partition.
    partition: Option<i32>,
    /// The offset.
    offset: Option<i64>,
    /// RFC 3339.
    timestamp: Option<String>,
    /// The key: text, JSON, `{ base64: ... }`, or null for none.
    key: Option<Value>,
    /// The value: text, JSON, `{ base64: ... }`, or null for a tombstone.
    value: Option<Value>,
    /// A map from name to value, or a list of `{ name, value }`.
    headers: Option<Value>,
}

/// A record that must not pass.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rejected {
    /// The stage that refuses it.
    pub(super) stage: Stage,
    /// Words that its error must contain.
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// Its key.
    #[serde(default)]
    pub(super) key: Option<Value>,
}

/// The stages that refuse records here; the sink is not opened.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The bytes are not of the format that the pipeline names.
    Decode,
    /// A transform refused it.
    Transform,
}

impl Stage {
    /// As the engine writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Transform => "transform",
        }
    }
}

/// Reads a test file and the pipelines it is about, or finds all that is wrong.
pub(super) fn read(path: &Path, catalog: &Catalog) -> Result<Vec<(TestFile, Pipeline)>, Vec<Diagnostic>> {
    let tests: Vec<TestFile> = aqueduct_spec::read_as(path, &Environment::of_process())?;
    if tests.is_empty() {
        return Err(vec![Diagnostic::of_file(path, "the file is empty", "write `pipeline:` and `cases:`")]);
    }
    let with_pipeline = |test: TestFile| pipeline(path, &test, catalog).map(|pipeline| (test, pipeline));
    tests.into_iter().map(with_pipeline).collect()
}

fn pipeline(path: &Path, test: &TestFile, catalog: &Catalog) -> Result<Pipeline, Vec<Diagnostic>> {
    let file = path.parent().unwrap_or(Path::new("")).join(&test.pipeline);
    let variable = |name: &str| test.environment.get(name).cloned().or_else(|| std::env::var(name).ok());
    let environment = Environment { variable: &variable, ..Environment::of_process() };
    let loaded = aqueduct_spec::load(&[file], catalog, &environment);
    if !loaded.diagnostics.is_empty() {
        return Err(loaded.diagnostics);
    }
    let mut found = loaded.pipelines.into_iter();
    let found = match &test.name {
        Some(name) => found.find(|pipeline| *pipeline.name == **name),
        None => found.next().filter(|_| found.next().is_none()),
    };
    found.ok_or_else(|| {
        let (says, remedy) = match &test.name {
            Some(name) => (format!("its pipeline file has no pipeline `{name}`"), "correct `name`"),
            None => ("its pipeline file has several pipelines".to_owned(), "say which one with `name`"),
        };
        vec![Diagnostic::of_file(path, says, remedy)]
    })
}
