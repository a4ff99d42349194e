//! The blocks of a pipeline that name something of the catalog: source, sink, formats, transforms, offset store.

use std::collections::BTreeMap;
use std::path::Path;

use aqueduct_api::Catalog;
use aqueduct_api::catalog::Entry;
use serde_json::Value;

use crate::check;
use crate::dev::DevEnds;
use crate::interpolate::Environment;
use crate::mismatch;
use crate::names;
use crate::pipeline::Named;
use crate::place::Files;
use crate::report::Report;
use crate::settings::{FILE_NAME, Settings};
use crate::spot::Spot;
use crate::tree::{Kind, Node};

/// What one document is read with.
pub(crate) struct Reading<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) environment: &'a Environment<'a>,
    pub(crate) files: &'a Files,
    pub(crate) file: usize,
    pub(crate) settings: Option<&'a Settings>,
    pub(crate) dev: Option<&'a DevEnds>,
    pub(crate) registry_url: Option<&'a str>,
    pub(crate) report: &'a mut Report,
}

/// What a list of the catalog is called in messages.
pub(crate) struct Words {
    pub(crate) one: &'static str,
    pub(crate) many: &'static str,
    /// Keys that may stand beside the name.
    pub(crate) beside: &'static [&'static str],
}

pub(crate) const SOURCE: Words =
    Words { one: "a source", many: "sources", beside: &["key", "value", "headers", "registry"] };
pub(crate) const SINK: Words =
    Words { one: "a sink", many: "sinks", beside: &["key", "value", "headers", "registry", "when"] };
pub(crate) const FORMAT: Words = Words { one: "a format", many: "formats", beside: &[] };
pub(crate) const TRANSFORM: Words = Words { one: "a transform", many: "transforms", beside: &["when"] };
pub(crate) const STORE: Words = Words { one: "an offset store", many: "offset stores", beside: &[] };

/// A block that was read: what the catalog made of it, and what it was made from.
pub(crate) struct Block<T: ?Sized> {
    pub(crate) named: Named<T>,
    pub(crate) raw: Value,
}

impl Reading<'_> {
    pub(crate) fn folder(&self) -> &Path {
        self.files.path(self.file).parent().unwrap_or(Path::new(""))
    }

    /// Reads a block that is a name, or a map with one key, a name.
    pub(crate) fn block<T: ?Sized>(
        &mut self,
        node: &Node,
        spot: &Spot,
        known: &BTreeMap<&'static str, Entry<T>>,
        words: &Words,
    ) -> Option<Block<T>> {
        let (entry, body, spot) = self.choose(node, spot, known, words)?;
        self.configure(entry, body, &spot)
    }

    /// Reads the options of one name of the catalog; its connection may be the name of a shared one.
    pub(crate) fn configure<T: ?Sized>(
        &mut self,
        entry: &Entry<T>,
        mut body: Node,
        spot: &Spot,
    ) -> Option<Block<T>> {
        let schema = entry.schema().to_value();
        let shared = schema["properties"].get("connection").is_some();
        let connection = body.entry("connection").filter(|_| shared).cloned();
        if let Some(connection) = connection.filter(|c| !matches!(c.value.kind, Kind::Map(_) | Kind::Broken))
        {
            let at = spot.field("connection", connection.at);
            let resolved = self.connection(&connection.value, entry.name, &at);
            if let Some(place) = body.get_mut("connection") {
                *place = resolved.unwrap_or_else(|| Node::new(connection.value.at, Kind::Broken));
            }
        }
        let (configured, raw) =
            check::configured(&body, &schema, spot, self.report, |json| entry.configure(json))?;
        Some(Block { named: Named { kind: entry.name, configured }, raw })
    }

    /// What a shared connection's name stands for; reported when there is no such connection.
    fn connection(&mut self, node: &Node, kind: &str, spot: &Spot) -> Option<Node> {
        if let Some(replaced) = self.dev.and_then(|dev| dev.connection(kind, node)) {
            return Some(replaced);
        }
        if node.as_text().is_none() {
            let says = match mismatch::found(node) {
                found if found == "nothing" => "`connection` is empty".to_owned(),
                found => format!("`connection` takes a name or a map, not {found}"),
            };
            let remedy = format!("name a connection of {FILE_NAME}, or write its options here");
            self.report.say(node.place(spot.key), &spot.path, says).remedy(remedy);
            return None;
        }
        if let Some(settings) = self.settings {
            return settings.connection(node, kind, spot, self.environment, self.report);
        }
        let says = match mismatch::shown(node) {
            Some(name) => {
                format!("connection `{name}` is not known: there is no {FILE_NAME} beside this file")
            }
            None => format!("a shared connection is named, and there is no {FILE_NAME} beside this file"),
        };
        let name = mismatch::shown(node).unwrap_or_else(|| "name".into());
        let remedy = format!(
            "create {FILE_NAME} with `connections: {{ {name}: {{ {kind}: {{ ... }} }} }}`, or write the options here"
        );
        self.report.say(node.at, &spot.path, says).remedy(remedy);
        None
    }

    fn choose<'c, T: ?Sized>(
        &mut self,
        node: &Node,
        spot: &Spot,
        known: &'c BTreeMap<&'static str, Entry<T>>,
        words: &Words,
    ) -> Option<(&'c Entry<T>, Node, Spot)> {
        let at = node.place(spot.key);
        let all = names::quoted(known.keys().copied(), "and");
        match &node.kind {
            Kind::Broken => None,
            Kind::Text(name) => {
                let found = known.get(name.as_str());
                match (&found, mismatch::shown(node)) {
                    (Some(_), _) => {}
                    (None, Some(shown)) => self.unknown(&shown, at, &spot.path, known, words),
                    (None, None) => {
                        let says = format!("what {} holds is not {}", mismatch::origin(node), words.one);
                        self.report.say(at, &spot.path, says).remedy(format!("{} are {all}", words.many));
                    }
                }
                found.map(|entry| (entry, Node::new(node.at, Kind::Map(Vec::new())), spot.field(name, at)))
            }
            Kind::Map(_) => self.choose_key(node, spot, known, words),
            _ => {
                let says = match mismatch::found(node) {
                    found if found == "nothing" => format!("{} is empty", spot.label),
                    found => {
                        format!("{} takes a name or a map with one key, a name, not {found}", spot.label)
                    }
                };
                self.report.say(at, &spot.path, says).remedy(format!("{} are {all}", words.many));
                None
            }
        }
    }

    /// The one key that names something of the catalog.
    fn choose_key<'c, T: ?Sized>(
        &mut self,
        node: &Node,
        spot: &Spot,
        known: &'c BTreeMap<&'static str, Entry<T>>,
        words: &Words,
    ) -> Option<(&'c Entry<T>, Node, Spot)> {
        let beside = |key: &str| words.beside.contains(&key);
        let named: Vec<_> = node.entries().iter().filter(|entry| !beside(&entry.key)).collect();
        let listed: Vec<_> = named.iter().filter(|entry| known.contains_key(entry.key.as_str())).collect();
        let one = words.one.trim_start_matches("an ").trim_start_matches("a ");
        match (listed.as_slice(), named.as_slice()) {
            ([], []) => {
                let remedy = format!("{} are {}", words.many, names::quoted(known.keys().copied(), "and"));
                let says = format!("{} names no {one}", spot.label);
                self.report.say(node.place(spot.key), &spot.path, says).remedy(remedy);
                None
            }
            ([], [first, ..]) => {
                let path = spot.field(&first.key, first.at).path;
                self.unknown(&first.key, first.at, &path, known, words);
                None
            }
            ([first, second, ..], _) => {
                let says =
                    format!("{} takes one {one}, not `{}` and `{}`", spot.label, first.key, second.key);
                let remedy = "give the other one a pipeline of its own";
                self.report.say(second.at, &spot.path, says).remedy(remedy);
                None
            }
            ([entry], _) => {
                for stranger in named.iter().filter(|other| other.key != entry.key) {
                    let says = format!("{} has no option `{}`", spot.label, stranger.key);
                    let path = spot.field(&stranger.key, stranger.at).path;
                    let remedy = match names::nearest(&stranger.key, words.beside.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("options of `{0}` stand below it: `{0}: {{ ... }}`", entry.key),
                    };
                    self.report.say(stranger.at, &path, says).remedy(remedy);
                }
                let body = match entry.value.kind {
                    Kind::Null => Node::new(entry.at, Kind::Map(Vec::new())),
                    _ => entry.value.clone(),
                };
                Some((&known[entry.key.as_str()], body, spot.field(&entry.key, entry.at)))
            }
        }
    }

    fn unknown<T: ?Sized>(
        &mut self,
        name: &str,
        at: crate::place::Place,
        path: &str,
        known: &BTreeMap<&'static str, Entry<T>>,
        words: &Words,
    ) {
        let both = [
            (&SOURCE, self.catalog.sources.contains_key(name)),
            (&SINK, self.catalog.sinks.contains_key(name)),
        ];
        let other = both.iter().find(|(other, has)| *has && other.many != words.many);
        let says = match other.filter(|_| words.many == SOURCE.many || words.many == SINK.many) {
            Some((other, _)) => format!("`{name}` is {}, not {}", other.one, words.one),
            None => format!("`{name}` is not {}", words.one),
        };
        self.report.say(at, path, says).remedy(names::hint(name, words.many, known.keys().copied()));
    }
}
