//! `aqueduct.yaml`: what the pipelines beside it share.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::check;
use crate::head::{LogHead, SettingsHead};
use crate::interpolate::{self, Environment};
use crate::names;
use crate::pipeline::Runtime;
use crate::place::{Files, Place};
use crate::report::Report;
use crate::spot::Spot;
use crate::tree::{Entry, Kind, Node};
use crate::{hide, mismatch, tree};

/// The name of the file that pipelines beside it share.
pub(crate) const FILE_NAME: &str = "aqueduct.yaml";

/// The shortest token of the listener.
const TOKEN_BYTES_MIN: usize = 16;

/// One `aqueduct.yaml`. Its connections are filled in when they are used, so that one which nobody uses needs nothing.
pub(crate) struct Settings {
    pub(crate) path: PathBuf,
    connections: Node,
    registry: Option<Entry>,
    /// Where `runtime` stands, if it does.
    pub(crate) runtime_at: Option<Place>,
    /// As it says, or as it is by default.
    pub(crate) runtime: Runtime,
}

impl Settings {
    pub(crate) fn read(file: usize, files: &Files, environment: &Environment, report: &mut Report) -> Self {
        let path = files.path(file).to_owned();
        let mut documents = tree::parse(file, files, report).into_iter();
        let start = Place { file, line: 1, column: 1, length: 1, inline: true };
        let mut root = documents.next().unwrap_or_else(|| Node::new(start, Kind::Null));
        if let Some(second) = documents.next() {
            let says = "shared settings are one document, and here a second begins";
            report.say(second.at, "", says).remedy("move it into the first");
        }
        hide::hide(&mut root, false, report);
        let registry = root.take("registry");
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        if let Some(runtime) = root.get_mut("runtime") {
            interpolate::fill(runtime, environment, &folder, "runtime", report);
        }
        let runtime = runtime(&root, &folder, report);
        let runtime_at = root.entry("runtime").map(|entry| entry.at);
        let connections = root.take("connections").map_or(Node::new(start, Kind::Null), |entry| entry.value);
        Self { path, connections, registry, runtime_at, runtime }
    }

    /// What kind a connection is of: `kafka`.
    pub(crate) fn kind_of(&self, name: &str) -> Option<&str> {
        self.connections.get(name)?.entries().first().map(|entry| entry.key.as_str())
    }

    /// The options of a connection as they stand, nothing filled in.
    pub(crate) fn raw(&self, name: &str, kind: &str) -> Option<&Node> {
        self.connections.get(name)?.get(kind)
    }

    /// The registry of pipelines that name none, filled in.
    pub(crate) fn registry(&self, environment: &Environment, report: &mut Report) -> Option<Entry> {
        let mut made = self.registry.clone()?;
        let folder = self.path.parent().unwrap_or(Path::new(""));
        interpolate::fill(&mut made.value, environment, folder, "registry", report);
        made.value.home = Some("registry".into());
        if !made.value.at.inline {
            made.value.at = Place { inline: true, ..made.at };
        }
        Some(made)
    }

    /// The options of the connection that a pipeline names, filled in. `None` when it cannot be had, which is then
    /// reported: at its use, or at home.
    pub(crate) fn connection(
        &self,
        node: &Node,
        kind: &str,
        spot: &Spot,
        environment: &Environment,
        report: &mut Report,
    ) -> Option<Node> {
        let name = node.as_text()?;
        let named = match mismatch::shown(node) {
            Some(name) => format!("connection `{name}`"),
            None => format!("the connection that {} names", mismatch::origin(node)),
        };
        let alike = self.connections.entries().iter().filter(|entry| entry.value.get(kind).is_some());
        let alike: Vec<&str> = alike.map(|entry| entry.key.as_str()).collect();
        let others = match alike.as_slice() {
            [] => format!("add one of kind `{kind}` to {}", self.path.display()),
            names => format!("connections for `{kind}` are {}", names::quoted(names.iter().copied(), "and")),
        };
        let at = node.place(spot.key);
        let Some(entry) = self.connections.entry(name) else {
            let near = names::nearest(name, alike);
            let remedy = near.map_or(others, |near| format!("did you mean `{near}`?"));
            let file = self.path.file_name().unwrap_or_default().to_string_lossy();
            report.say(at, &spot.path, format!("{named} is not in {file}")).remedy(remedy);
            return None;
        };
        let [only] = entry.value.entries() else {
            let path = format!("connections.{name}");
            let says = format!("connection `{name}` has to be a map with one key, its kind");
            let remedy = format!("write `{name}: {{ {kind}: {{ ... }} }}`");
            report.say(entry.value.place(entry.at), &path, says).remedy(remedy);
            return None;
        };
        if only.key != kind {
            let says = format!("{named} is for `{}`, and `{kind}` needs one of its own kind", only.key);
            report.say(at, &spot.path, says).remedy(others);
            return None;
        }
        let path = format!("connections.{name}.{kind}");
        let mut made = only.value.clone();
        let folder = self.path.parent().unwrap_or(Path::new(""));
        interpolate::fill(&mut made, environment, folder, &path, report);
        // A block of several lines is pointed at by its own key, not by the one that names it.
        if !made.at.inline {
            made.at = Place { inline: true, ..only.at };
        }
        made.home = Some(path.into());
        Some(made)
    }
}

fn runtime(root: &Node, folder: &Path, report: &mut Report) -> Runtime {
    let schema: Value = schemars::schema_for!(SettingsHead).into();
    let spot = Spot::new(root.at, "", "aqueduct.yaml");
    let read = check::configured(root, &schema, &spot, report, |json| {
        serde_json::from_value::<SettingsHead>(json)
            .map_err(|error| vec![aqueduct_api::Problem::new("", error.to_string())])
    });
    let Some((head, _)) = read else {
        return Runtime::default();
    };
    if let (Some(listen), Some(node)) =
        (&head.runtime.listen, root.get("runtime").and_then(|node| node.get("listen")))
    {
        let port = listen.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            let says = match mismatch::shown(node) {
                Some(text) => format!("`{text}` is not an address to listen on"),
                None => format!("what {} holds is not an address to listen on", mismatch::origin(node)),
            };
            report.say(node.at, "runtime.listen", says).remedy("write host and port, as in 127.0.0.1:8080");
        }
    }
    if let Some(token) = &head.runtime.token
        && token.reveal().len() < TOKEN_BYTES_MIN
        && let Some(node) = root.get("runtime").and_then(|node| node.get("token"))
    {
        let says = format!("a token of {} characters can be guessed", token.reveal().len());
        let remedy = format!("take {TOKEN_BYTES_MIN} or more, as `openssl rand -hex 16` makes them");
        report.say(node.at, "runtime.token", says).remedy(remedy);
    }
    Runtime {
        listen: head.runtime.listen,
        tls: head.runtime.tls.map(|tls| (folder.join(tls.certificate), folder.join(tls.key))),
        token: head.runtime.token,
        memory_max_bytes: head.runtime.memory_max.map(|size| size.0),
        log_json: head.runtime.log == LogHead::Json,
        health: head.runtime.health.into(),
    }
}
