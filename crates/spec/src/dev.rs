//! What `aqueduct dev` puts in place of the ends that it can embed, before anything is filled in or looked up: the file
//! runs unchanged where none of its variables is set.

use std::path::{Path, PathBuf};

use aqueduct_api::Catalog;

use crate::interpolate::{self, Environment};
use crate::place::Place;
use crate::report::Report;
use crate::settings::Settings;
use crate::tree::{Entry, Kind, Node};

/// The embedded ends.
#[derive(Clone, Debug)]
pub struct DevEnds {
    /// Address of the embedded broker: every connection of a `kafka` block becomes this one.
    pub kafka_brokers: String,
    /// Address of a second one, for a sink on another cluster than the source's: a mirror must not feed itself.
    pub other_brokers: String,
    /// A folder for each bucket stands below it: every `s3` sink becomes a `directory` sink.
    pub folder: PathBuf,
}

impl DevEnds {
    /// What a connection of that kind becomes.
    pub(crate) fn connection(&self, kind: &str, node: &Node) -> Option<Node> {
        let other = node.get("brokers").and_then(Node::as_text) == Some(&self.other_brokers);
        let brokers = if other { &self.other_brokers } else { &self.kafka_brokers };
        (kind == "kafka").then(|| map(node.at, [("brokers", brokers.clone())]))
    }

    /// Replaces the ends of one document.
    pub(crate) fn replace(
        &self,
        root: &mut Node,
        catalog: &Catalog,
        settings: Option<&Settings>,
        environment: &Environment,
    ) {
        let connection_of = |root: &Node, end: &str| {
            let connection = root.get(end)?.get("kafka")?.get("connection")?;
            let brokers = connection.get("brokers").unwrap_or(connection);
            Some(brokers.as_text()?.to_owned())
        };
        let source = connection_of(root, "source");
        let elsewhere = source.is_some() && source != connection_of(root, "sink");
        for (end, brokers) in [
            ("source", &self.kafka_brokers),
            ("sink", if elsewhere { &self.other_brokers } else { &self.kafka_brokers }),
        ] {
            let block = root.get_mut(end).and_then(|end| end.get_mut("kafka"));
            if let Some(connection) = block.and_then(|block| block.get_mut("connection")) {
                *connection = map(connection.at, [("brokers", brokers.clone())]);
            }
        }
        let dead_letter = root.get_mut("errors").and_then(|errors| errors.get_mut("on_bad_record"));
        let connection = dead_letter.and_then(|policy| policy.get_mut("dead_letter")?.get_mut("connection"));
        if let Some(connection) = connection {
            let brokers = connection.get("brokers").unwrap_or(connection).as_text();
            let brokers =
                if brokers == source.as_deref() { &self.kafka_brokers } else { &self.other_brokers };
            *connection = map(connection.at, [("brokers", brokers.clone())]);
        }
        let Some(sink) = root.get_mut("sink") else { return };
        if let Some(entry) = sink.take("s3") {
            let bucket = bucket(entry.value.get("connection"), settings, environment);
            let mut block = entry.value;
            let options = |name: &str| {
                catalog.sinks.get(name).map(|sink| sink.schema().to_value()["properties"].take())
            };
            // What only a bucket has means nothing to a folder; what neither knows is left to be reported.
            if let (Some(bucket), Some(folder)) = (options("s3"), options("directory")) {
                let bucket = bucket.as_object().into_iter().flatten().map(|(name, _)| name);
                for name in bucket.filter(|name| folder.get(name.as_str()).is_none()) {
                    block.take(name);
                }
            }
            if let Kind::Map(entries) = &mut block.kind {
                let folder = self.folder.join(bucket).display().to_string();
                entries.push(Entry {
                    key: "folder".into(),
                    at: entry.at,
                    value: Node::text(entry.at, folder),
                });
            }
            block.home = Some("sink.s3".into());
            if let Kind::Map(entries) = &mut sink.kind {
                entries.push(Entry { key: "directory".into(), at: entry.at, value: block });
            }
        }
    }
}

/// Puts a registry in place of every other one, before anything in them is filled in.
pub(crate) fn replace_registries(root: &mut Node, url: &str) {
    root.take("registry");
    for end in ["source", "sink"] {
        root.get_mut(end).and_then(|end| end.take("registry"));
    }
    let at = root.at;
    if let Kind::Map(entries) = &mut root.kind {
        entries.push(Entry { key: "registry".into(), at, value: map(at, [("url", url.to_owned())]) });
    }
}

/// The name of the bucket, or `bucket` where it hangs on something that is not set.
fn bucket(connection: Option<&Node>, settings: Option<&Settings>, environment: &Environment) -> String {
    let options = match connection {
        Some(node) => match node.as_text() {
            Some(name) => settings.and_then(|settings| settings.raw(name, "s3")),
            None => Some(node),
        },
        None => None,
    };
    let mut bucket = options.and_then(|options| options.get("bucket")).cloned();
    if let Some(bucket) = &mut bucket {
        interpolate::fill(bucket, environment, Path::new(""), "", &mut Report::default());
    }
    let name = bucket.as_ref().and_then(Node::as_text).map(|name| name.replace(['/', '\\'], "_"));
    name.filter(|name| !name.is_empty() && name != "." && name != "..").unwrap_or_else(|| "bucket".into())
}

fn map<const N: usize>(at: Place, entries: [(&str, String); N]) -> Node {
    let entry = |(key, text): (&str, String)| Entry { key: key.into(), at, value: Node::text(at, text) };
    Node::new(Place { inline: true, ..at }, Kind::Map(entries.into_iter().map(entry).collect()))
}
