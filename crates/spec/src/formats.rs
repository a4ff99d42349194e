//! The formats of both ends and the registry that their schemas are in.

use std::sync::Arc;

use aqueduct_api::Side;
use aqueduct_api::catalog::{FormatKind, RegistryKind, SinkConnector};

use crate::ends::{Block, FORMAT, Reading};
use crate::mismatch;
use crate::pipeline::{Formats, Named, SourceBlock};
use crate::spot::Spot;
use crate::tree::{Entry, Kind, Node};

const NO_REGISTRY: &str = "add `registry: { url: ... }` to this pipeline or to aqueduct.yaml";

/// A format as it was written, and where.
type Written = (Named<dyn FormatKind>, Spot);

impl Reading<'_> {
    /// The formats of the source and of the sink.
    pub(crate) fn formats(
        &mut self,
        root: &Node,
        source: Option<&SourceBlock>,
        sink: Option<&Block<dyn SinkConnector>>,
    ) -> (Formats, Formats) {
        let shared = root.entry("registry").filter(|entry| !matches!(entry.value.kind, Kind::Null)).cloned();
        let named_here = shared.is_some();
        let read = self.end(root, "source", Side::Source);
        let write = self.end(root, "sink", Side::Sink);
        let uses = |formats: &[Option<Written>; 3]| {
            formats.iter().flatten().any(|(format, _)| format.configured.traits().registry)
        };
        // The one of aqueduct.yaml may be meant for others, and is filled in only where it is needed.
        let needed = uses(&read) || uses(&write);
        let shared = match (shared, self.settings.filter(|_| needed)) {
            (None, Some(settings)) => settings.registry(self.environment, self.report),
            (shared, _) => shared,
        };
        let shared_registry = match &shared {
            Some(entry) if named_here || needed => self.registry(entry, "registry"),
            _ => None,
        };
        let mut own = |end: &str| {
            let entry = root.get(end)?.entry("registry")?;
            self.registry(entry, &format!("{end}.registry"))
        };
        let registries = [own("source"), own("sink")].map(|own| own.or_else(|| shared_registry.clone()));
        let there = shared.is_some();
        for (end, formats, registry) in [("source", &read, &registries[0]), ("sink", &write, &registries[1])]
        {
            let written_out = root.get(end).is_some_and(|end| end.entry("registry").is_some());
            for (format, spot) in formats.iter().flatten() {
                if format.configured.traits().registry && registry.is_none() && !there && !written_out {
                    let says = format!("`{}` needs a schema registry, and none is named", format.kind);
                    self.report.say(spot.key, &spot.path, says).remedy(NO_REGISTRY);
                }
            }
        }
        self.fit(&read, &write, source);
        self.rows(root, &read[1], source);
        let [of_source, of_sink] = registries;
        let mut sink_formats = together(write, of_sink);
        let source_formats = together(read, of_source);
        self.preference(&source_formats, &mut sink_formats, sink);
        (source_formats, sink_formats)
    }

    fn end(&mut self, root: &Node, end: &str, side: Side) -> [Option<Written>; 3] {
        let Some(entry) = root.entry(end) else { return [None, None, None] };
        let spot = Spot::new(entry.at, end, format!("`{end}`"));
        ["key", "value", "headers"].map(|part| self.format(&entry.value, &spot, part, side))
    }

    fn format(&mut self, node: &Node, spot: &Spot, part: &str, side: Side) -> Option<Written> {
        let entry = node.entry(part)?;
        let spot = spot.field(part, entry.at);
        let named = self.block(&entry.value, &spot, &self.catalog.formats, &FORMAT)?.named;
        let options = entry.value.get(named.kind);
        for problem in named.configured.check(side) {
            let body = spot.field(named.kind, entry.value.entry(named.kind).map_or(entry.at, |it| it.at));
            let (place, path) = match options {
                Some(options) => {
                    let (place, path, _) = mismatch::locate(options, &body, &problem.path);
                    (place, path)
                }
                None => (entry.value.place(entry.at), body.path),
            };
            self.report.say(place, &path, problem.says).remedy_if(problem.remedy);
        }
        if part == "headers" && named.configured.traits().registry {
            let says = format!("headers cannot be `{}`: no header carries a schema id", named.kind);
            self.report.say(spot.key, &spot.path, says).remedy("take bytes, string or json");
        }
        Some((named, spot))
    }

    fn registry(&mut self, entry: &Entry, path: &str) -> Option<Arc<dyn RegistryKind>> {
        let Some(kind) = self.catalog.registry.clone() else {
            let says = "this build has no schema registry";
            self.report.say(entry.at, path, says).remedy("leave `registry` out");
            return None;
        };
        let spot = Spot::new(entry.at, path, "`registry`");
        Some(self.configure(&kind, entry.value.clone(), &spot)?.named.configured)
    }

    /// What a sink writes has to come from somewhere.
    fn fit(
        &mut self,
        read: &[Option<Written>; 3],
        write: &[Option<Written>; 3],
        source: Option<&SourceBlock>,
    ) {
        let typed = source.is_some_and(|source| source.connector.configured.traits().typed);
        for (index, part) in ["key", "value", "headers"].into_iter().enumerate() {
            let (None, Some((format, spot))) = (&read[index], &write[index]) else { continue };
            if format.kind == "bytes" || (typed && part == "value") {
                continue;
            }
            let says = format!("`{}` cannot be written from a {part} whose format nobody names", format.kind);
            let remedy = format!("name the format that the source has: `{part}: ...` beside the source");
            self.report.say(spot.key, &spot.path, says).remedy(remedy);
        }
    }

    /// Rows, and names for them in a first line, are what some sources can read.
    fn rows(&mut self, root: &Node, value: &Option<Written>, source: Option<&SourceBlock>) {
        let (Some(source), Some(entry)) = (source, root.entry("source")) else { return };
        let rows = value.as_ref().and_then(|(format, _)| format.configured.rows());
        let spot = Spot::new(entry.at, "source", "`source`");
        let connector = entry.value.entry(source.connector.kind);
        for problem in source.connector.configured.check_rows(source.connector.kind, rows.as_ref()) {
            let (place, path) = match (value, connector) {
                // What has no place in the connector's block is about the format.
                (Some((_, spot)), _) if problem.path.is_empty() => (spot.key, spot.path.clone()),
                (_, Some(connector)) => {
                    let spot = spot.field(&connector.key, connector.at);
                    let (place, path, _) = mismatch::locate(&connector.value, &spot, &problem.path);
                    (place, path)
                }
                (_, None) => (entry.at, spot.path.clone()),
            };
            self.report.say(place, &path, problem.says).remedy_if(problem.remedy);
        }
    }

    /// The format that the sink takes structure in, where the file names none.
    fn preference(&mut self, read: &Formats, write: &mut Formats, sink: Option<&Block<dyn SinkConnector>>) {
        let (Some(value), None, Some(sink)) = (&read.value, &write.value, sink) else { return };
        let Some(preferred) = sink.named.configured.traits().value_format else { return };
        if !value.configured.traits().structured || value.kind == preferred {
            return;
        }
        let Some(entry) = self.catalog.formats.get(preferred) else { return };
        if let Ok(configured) = entry.configure(serde_json::Value::Null) {
            write.value = Some(Named { kind: entry.name, configured });
        }
    }
}

fn together(formats: [Option<Written>; 3], registry: Option<Arc<dyn RegistryKind>>) -> Formats {
    let [key, value, headers] = formats.map(|format| format.map(|(format, _)| format));
    Formats { key, value, headers, registry }
}
