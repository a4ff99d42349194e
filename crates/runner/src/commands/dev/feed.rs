//! What fills the topics of `aqueduct dev`: a pipeline of our own from `generate` to the embedded broker.

use aqueduct_api::Catalog;
use aqueduct_api::catalog::FormatKind;
use aqueduct_spec::Pipeline;
use aqueduct_spec::pipeline::{Formats, Named};
use serde_json::{Map, Value, json};

use crate::commands::pipeline_of;

/// Partitions of a topic that is created, where `dev.generate` does not say how many.
const PARTITIONS: i32 = 6;
/// Records a second, where `dev.generate` does not say: enough to watch, and a day of it fits the embedded broker.
const RATE: u64 = 1_000;

/// The topics that a Kafka source names; a pattern names none.
pub(super) fn topics(pipeline: &Pipeline) -> Vec<&str> {
    let topics = (pipeline.source.connector.kind == "kafka").then(|| &pipeline.source_raw["topics"]);
    topics.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// How many partitions its topics have.
pub(super) fn partitions(pipeline: &Pipeline) -> i32 {
    let wanted = options(pipeline).and_then(|options| options.get("partitions")?.as_u64());
    wanted.and_then(|wanted| i32::try_from(wanted).ok()).unwrap_or(PARTITIONS)
}

/// The pipeline that fills one topic; none where the file does not ask for it.
pub(super) fn plan(
    pipeline: &Pipeline,
    topic: &str,
    brokers: &str,
    catalog: &Catalog,
) -> Result<Option<Pipeline>, String> {
    let Some(mut options) = options(pipeline) else { return Ok(None) };
    options.insert("topic".to_owned(), json!(topic));
    options.entry("partitions").or_insert(json!(PARTITIONS));
    options.entry("rate").or_insert(json!(RATE));
    let sink = json!({ "connection": { "brokers": brokers }, "topic": "{topic}" });
    let name = format!("dev-generate-{topic}");
    let feed = pipeline_of(catalog, name, ("generate", Value::Object(options)), ("kafka", sink));
    let written_as_read = |mut feed: Pipeline| {
        let formats = &pipeline.source.formats;
        // Anything but JSON is made from orders with their structure.
        let typed =
            |value: &&Named<dyn FormatKind>| value.kind != "json" && value.configured.traits().structured;
        if let Some(value) = formats.value.as_ref().filter(typed) {
            feed.sink.formats = Formats { value: Some(value.clone()), ..Formats::default() };
            feed.sink.formats.registry = formats.registry.clone();
        }
        Some(feed)
    };
    feed.map(written_as_read).map_err(|problems| {
        let problems: Vec<_> =
            problems.iter().map(|it| format!("dev.generate.{}: {}", it.path, it.says)).collect();
        format!("{}: {}", pipeline.file.display(), problems.join("; "))
    })
}

/// `dev.generate` as options, also where it is a name alone.
fn options(pipeline: &Pipeline) -> Option<Map<String, Value>> {
    match pipeline.dev.as_ref()?.get("generate")? {
        Value::Object(options) => Some(options.clone()),
        kind => Some(Map::from_iter([("kind".to_owned(), kind.clone())])),
    }
}
