//! A test file: which pipeline, and the cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aqueduct_api::config::file;
use aqueduct_api::registry::{Registering, SchemaKind};
use aqueduct_api::{Catalog, SchemaText};
use aqueduct_spec::{Diagnostic, Environment, LoadOptions, Pipeline};
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
    /// Avro schemas by subject, seen from the folder of this file: `shop.orders-value: order.avsc`.
    #[serde(default)]
    schemas: BTreeMap<String, PathBuf>,
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
    /// It cannot be written in the sink's format.
    Encode,
}

impl Stage {
    /// As the engine writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Transform => "transform",
            Stage::Encode => "encode",
        }
    }
}

/// Reads a test file and the pipelines it is about, or finds all that is wrong.
pub(super) async fn read(
    path: &Path,
    catalog: &Catalog,
    registry_url: &str,
) -> Result<Vec<(TestFile, Pipeline)>, Vec<Diagnostic>> {
    let tests: Vec<TestFile> = aqueduct_spec::read_as(path, &Environment::of_process())?;
    if tests.is_empty() {
        return Err(vec![Diagnostic::of_file(path, "the file is empty", "write `pipeline:` and `cases:`")]);
    }
    let mut read = Vec::new();
    for test in tests {
        let pipeline = pipeline(path, &test, catalog, registry_url)?;
        register(path, &test, &pipeline).await.map_err(|says| {
            vec![Diagnostic::of_file(
                path,
                says,
                "name Avro schemas by subject: `shop.orders-value: order.avsc`",
            )]
        })?;
        read.push((test, pipeline));
    }
    Ok(read)
}

/// Makes the schemas known to the registry that stands in for the pipeline's own.
async fn register(path: &Path, test: &TestFile, pipeline: &Pipeline) -> Result<(), String> {
    if test.schemas.is_empty() {
        return Ok(());
    }
    let registry = pipeline.source.formats.registry.as_ref().or(pipeline.sink.formats.registry.as_ref());
    let registry = registry.ok_or("`schemas` are given, and no format of the pipeline needs a registry")?;
    let registry = registry.open().map_err(|error| error.to_string())?;
    for (subject, file) in &test.schemas {
        let file = path.parent().unwrap_or(Path::new("")).join(file);
        let text = file::read_text(&file, file::FILE_BYTES_MAX)
            .map_err(|error| format!("the schema {} cannot be read: {error}", file.display()))?;
        let how = Registering { allowed: true, normalize: false };
        let schema = SchemaText::new(SchemaKind::Avro, text);
        registry.id(subject, &schema, how).await.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

fn pipeline(
    path: &Path,
    test: &TestFile,
    catalog: &Catalog,
    registry_url: &str,
) -> Result<Pipeline, Vec<Diagnostic>> {
    let file = path.parent().unwrap_or(Path::new("")).join(&test.pipeline);
    let variable = |name: &str| test.environment.get(name).cloned().or_else(|| std::env::var(name).ok());
    let environment = Environment { variable: &variable, ..Environment::of_process() };
    let options = LoadOptions { registry_url: Some(registry_url.to_owned()), ..LoadOptions::default() };
    let loaded = aqueduct_spec::load_with(&[file], catalog, &environment, &options);
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
