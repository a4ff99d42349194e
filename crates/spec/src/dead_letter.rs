//! `errors:`: what happens to records that will never pass, and where dead letters go.

use aqueduct_api::catalog::SinkConnector;
use serde_json::Value;

use crate::ends::{Block, Reading};
use crate::pipeline::{DeadLetter, Errors, OnBadRecord, SourceBlock};
use crate::place::Place;
use crate::spot::Spot;
use crate::tree::{Entry, Kind, Node};

const PATH: &str = "errors.on_bad_record.dead_letter";
const REMEDY: &str = "write `dead_letter: { topic: NAME }` or `dead_letter: { file: PATH }`";

/// The block as a whole; its keys have been checked already.
pub(crate) fn errors(
    reading: &mut Reading,
    root: &Node,
    source: Option<&(SourceBlock, Value)>,
) -> Option<Errors> {
    let block = root.get("errors");
    let policy = block.and_then(|block| block.get("on_bad_record"));
    let letters = policy.and_then(|policy| policy.entry("dead_letter"));
    let skip =
        policy.is_some_and(|policy| policy.as_text() == Some("skip") || policy.entry("skip").is_some());
    if let Some(policy) = policy.filter(|policy| policy.as_text() == Some("dead_letter")) {
        nowhere(reading, policy.at);
        return None;
    }
    let on_bad_record = match letters {
        Some(entry) => {
            OnBadRecord::DeadLetter(DeadLetter { sink: sink(reading, root, entry, source)?.named })
        }
        None if skip => OnBadRecord::Skip,
        None => OnBadRecord::Stop,
    };
    let stop_after = match block.and_then(|block| block.entry("stop_after")) {
        Some(entry) if entry.value.as_text().is_some() => {
            if matches!(on_bad_record, OnBadRecord::Stop)
                && !matches!(policy.map(|p| &p.kind), Some(Kind::Broken))
            {
                let says =
                    "`stop_after` counts bad records that are let pass, and the pipeline stops at the first";
                let remedy =
                    "leave it out, or add `on_bad_record: skip` or `on_bad_record: { dead_letter: ... }`";
                reading.report.say(entry.at, "errors.stop_after", says).remedy(remedy);
            }
            // Its form has been checked with the other keys.
            entry.value.as_text()?.parse().ok()
        }
        _ => None,
    };
    Some(Errors { on_bad_record, stop_after })
}

fn sink(
    reading: &mut Reading,
    root: &Node,
    entry: &Entry,
    source: Option<&(SourceBlock, Value)>,
) -> Option<Block<dyn SinkConnector>> {
    let node = &entry.value;
    let at = node.place(entry.at);
    let given = |key: &str| node.entry(key).filter(|entry| !matches!(entry.value.kind, Kind::Null));
    let wrong = |key: &str| given(key).is_some_and(|entry| entry.value.as_text().is_none());
    if wrong("topic") || wrong("file") || !matches!(node.kind, Kind::Map(_) | Kind::Null) {
        return None;
    }
    match (given("topic"), given("file"), given("connection")) {
        (Some(topic), None, connection) => to_topic(reading, root, topic, connection, source),
        (None, Some(file), None) => {
            let Some(sink) = reading.catalog.sinks.get("file") else {
                reading.report.say(at, PATH, "this build has no sink `file`").remedy("name a topic");
                return None;
            };
            let path = Entry { key: "path".into(), at: file.at, value: home(&file.value, "file") };
            let spot = Spot::new(file.at, PATH, "`dead_letter`");
            reading.configure(&sink.clone(), Node::new(at, Kind::Map(vec![path])), &spot)
        }
        (topic, file, connection) => {
            let (place, says) = match (topic, file, connection) {
                (Some(_), Some(file), _) => (file.at, "dead letters go to a topic or to a file, not to both"),
                (None, Some(_), Some(connection)) => {
                    (connection.at, "a file of dead letters has no connection")
                }
                _ => {
                    // A key that is not known has been reported, and may have been meant to say it.
                    if node.entries().iter().all(|entry| entry.key == "connection") {
                        nowhere(reading, at);
                    }
                    return None;
                }
            };
            reading.report.say(place, PATH, says).remedy(REMEDY);
            None
        }
    }
}

fn nowhere(reading: &mut Reading, at: Place) {
    reading.report.say(at, PATH, "`dead_letter` does not say where dead letters go").remedy(REMEDY);
}

fn to_topic(
    reading: &mut Reading,
    root: &Node,
    topic: &Entry,
    connection: Option<&Entry>,
    source: Option<&(SourceBlock, Value)>,
) -> Option<Block<dyn SinkConnector>> {
    let (source, source_raw) = source?;
    let own = source.connector.kind;
    let shared = connection.and_then(|entry| reading.settings?.kind_of(entry.value.as_text()?));
    let takes_topics = |name: &str| {
        let sink = reading.catalog.sinks.get(name)?;
        let schema = sink.schema().to_value();
        let has = |option: &str| schema["properties"].get(option).is_some();
        (has("topic") && has("connection")).then(|| sink.clone())
    };
    let Some(sink) = shared.and_then(takes_topics).or_else(|| takes_topics(own)) else {
        let says = format!("the source `{own}` has no cluster that could take a topic of dead letters");
        let remedy = "name one with `connection`, or write `dead_letter: { file: PATH }`";
        reading.report.say(topic.at, PATH, says).remedy(remedy);
        return None;
    };
    let mut entries = vec![Entry { key: "topic".into(), at: topic.at, value: home(&topic.value, "topic") }];
    let of_source = || root.get("source")?.get(own)?.entry("connection");
    entries.extend(connection.or_else(of_source).cloned());
    let spot = Spot::new(topic.at, PATH, "`dead_letter`");
    let block = reading.configure(&sink, Node::new(topic.value.at, Kind::Map(entries)), &spot)?;
    if block.raw["connection"] == source_raw["connection"]
        && source_raw["topics"]["pattern"].is_string()
        && topic.value.as_text()?.contains('{')
    {
        let says = "with a pattern of topics, dead letters need one fixed topic";
        let remedy = "write its name without braces, one that the pattern does not match";
        reading.report.say(topic.value.at, &format!("{PATH}.topic"), says).remedy(remedy);
        return None;
    }
    Some(block)
}

/// The value keeps the path under which the user wrote it.
fn home(node: &Node, key: &str) -> Node {
    Node { home: Some(format!("{PATH}.{key}").into()), ..node.clone() }
}
