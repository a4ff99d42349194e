//! One document of a pipeline file, from its tree to a [`Pipeline`].

use std::sync::Arc;

use aqueduct_api::catalog::{KeepsOffsets, OffsetStoreKind, SinkConnector, SourceConnector, TransformKind};
use serde_json::Value;

use crate::check::Check;
use crate::ends::{Block, Reading, SINK, SOURCE, STORE, TRANSFORM};
use crate::head::Head;
use crate::mismatch;
use crate::pipeline::{Delivery, Formats, Named, Pipeline, SinkBlock, SourceBlock};
use crate::place::Place;
use crate::spot::Spot;
use crate::tree::{Entry, Kind, Node};
use crate::{dead_letter, delivery, dev, hide, interpolate};

const NAME_CHARS_MAX: usize = 100;

/// A document's name and where it stands, for the check that names are unique, and the pipeline if all of it is sound, with
/// the tree that it was read from.
pub(crate) struct Loaded {
    pub(crate) name: Option<(String, Place)>,
    pub(crate) pipeline: Option<(Pipeline, Node)>,
}

impl Reading<'_> {
    /// Reads one document; everything that is wrong with it is reported.
    pub(crate) fn document(&mut self, mut root: Node) -> Loaded {
        let before = self.report.count();
        hide::hide(&mut root, false, self.report);
        if let Some(dev) = self.dev {
            dev.replace(&mut root, self.catalog, self.settings, self.environment);
        }
        if let Some(url) = self.registry_url {
            dev::replace_registries(&mut root, url);
        }
        let folder = self.folder().to_owned();
        interpolate::fill(&mut root, self.environment, &folder, "", self.report);
        if !matches!(root.kind, Kind::Map(_)) {
            let says = format!("a pipeline is a map of keys, not {}", mismatch::found(&root));
            self.report
                .say(root.at, "", says)
                .remedy("begin with `pipeline: name`, `source: ...` and `sink: ...`");
            return Loaded { name: None, pipeline: None };
        }
        self.not_yet(&mut root);
        let head = self.head(&root);
        let name = root
            .entry("pipeline")
            .and_then(|entry| Some((entry.value.as_text()?.to_owned(), entry.value.place(entry.at))));
        self.name(&root);
        let source = self.source(&root);
        let transforms = self.transforms(&root);
        let sink = self.sink(&root);
        let formats = self.formats(&root, source.as_ref().map(|(source, _)| source), sink.as_ref());
        let store = self.store(&root, source.as_ref());
        let errors = self.errors(&root, source.as_ref());
        self.dev_block(&root);
        if let (Some(head), Some((source, _))) = (&head, &source) {
            self.tasks(&root, head.tasks, source);
        }
        let delivery = match (&head, &source, &sink) {
            (Some(head), Some((source, _)), Some(sink)) => {
                self.offsets(&root, source, &formats.0, &sink.named);
                delivery::resolve(self, &root, head.delivery, source, &sink.named)
            }
            _ => Delivery::default(),
        };
        let (Some(head), Some((mut source, source_raw)), Some(sink), Some(errors), true) =
            (head, source, sink, errors, self.report.count() == before)
        else {
            return Loaded { name, pipeline: None };
        };
        let (of_source, of_sink) = formats;
        source.formats = of_source;
        let pipeline = Pipeline {
            name: Arc::from(head.pipeline.as_str()),
            description: head.description,
            file: self.files.path(self.file).to_owned(),
            source,
            transforms,
            sink: SinkBlock { connector: sink.named, formats: of_sink },
            errors,
            delivery,
            tasks: head.tasks.into(),
            stop_timeout: head.stop_timeout.0,
            offset_store: store,
            dev: root.get("dev").map(crate::check::json).filter(|_| head.dev.is_some()),
            source_raw,
            sink_raw: sink.raw,
        };
        Loaded { name, pipeline: Some((pipeline, root)) }
    }

    /// Parts of the language that are not built yet are refused by name, never ignored.
    fn not_yet(&mut self, root: &mut Node) {
        if let Some(entry) = root.take("sinks") {
            let says = "several sinks in one pipeline are not supported yet";
            self.report.say(entry.at, "sinks", says).remedy("write one `sink:` and a pipeline for each");
            // One message is enough: without this, `sink` would be missing as well.
            if let Kind::Map(entries) = &mut root.kind
                && !entries.iter().any(|entry| entry.key == "sink")
            {
                let value = Node::new(entry.at, Kind::Broken);
                entries.push(Entry { key: "sink".into(), at: entry.at, value });
            }
        }
    }

    /// The keys of the document itself, by their own schema.
    fn head(&mut self, root: &Node) -> Option<Head> {
        let schema: Value = schemars::schema_for!(Head).into();
        let spot = Spot::new(root.at, "", "a pipeline");
        let before = self.report.count();
        let mut check = Check { root: &schema, report: self.report, secrets: Vec::new() };
        let json = check.value(root, &schema, spot);
        if self.report.count() > before {
            return None;
        }
        // What is broken was reported before and stands here as null.
        serde_json::from_value(json).ok()
    }

    fn name(&mut self, root: &Node) {
        let Some(entry) = root.entry("pipeline") else {
            return;
        };
        let Some(name) = entry.value.as_text() else { return };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let sound = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(allowed)
            && name.len() <= NAME_CHARS_MAX;
        if !sound {
            let says = match mismatch::shown(&entry.value) {
                Some(name) => format!("`{name}` cannot be the name of a pipeline"),
                None => "this cannot be the name of a pipeline".to_owned(),
            };
            let remedy = format!(
                "use letters, digits, `-`, `_` and `.`, at most {NAME_CHARS_MAX}, a letter or digit first"
            );
            self.report.say(entry.value.place(entry.at), "pipeline", says).remedy(remedy);
        }
    }

    fn source(&mut self, root: &Node) -> Option<(SourceBlock, Value)> {
        let entry = root.entry("source")?;
        let (node, spot) = (&entry.value, Spot::new(entry.at, "source", "`source`"));
        let Block { named, raw } = self.block(node, &spot, &self.catalog.sources, &SOURCE)?;
        Some((SourceBlock { connector: named, formats: Formats::default() }, raw))
    }

    fn sink(&mut self, root: &Node) -> Option<Block<dyn SinkConnector>> {
        let entry = root.entry("sink")?;
        if let Some(entry) = entry.value.entry("when") {
            let says = "conditions are not available yet";
            self.report.say(entry.at, "sink.when", says).remedy("leave it out: the sink gets every record");
        }
        self.block(&entry.value, &Spot::new(entry.at, "sink", "`sink`"), &self.catalog.sinks, &SINK)
    }

    fn transforms(&mut self, root: &Node) -> Vec<Named<dyn TransformKind>> {
        let Some(Kind::List(items)) = root.get("transforms").map(|node| &node.kind) else {
            return Vec::new();
        };
        let mut made = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("transforms[{index}]");
            let spot = Spot::new(item.place(item.at), path.clone(), format!("`{path}`"));
            if let Some(when) = item.entry("when") {
                let says = "conditions are not available yet";
                self.report.say(when.at, &format!("{path}.when"), says).remedy("leave `when` out");
            }
            made.extend(
                self.block(item, &spot, &self.catalog.transforms, &TRANSFORM).map(|block| block.named),
            );
        }
        made
    }

    fn store(
        &mut self,
        root: &Node,
        source: Option<&(SourceBlock, Value)>,
    ) -> Option<Named<dyn OffsetStoreKind>> {
        let entry = root.entry("offset_store").filter(|entry| !matches!(entry.value.kind, Kind::Null))?;
        let keeps = |source: &SourceBlock| source.connector.configured.traits().keeps_offsets;
        let named = |source: &SourceBlock| entry.value.as_text() == Some(source.connector.kind);
        if source.is_some_and(|(source, _)| keeps(source) != KeepsOffsets::Never && named(source)) {
            // `offset_store: kafka` of a source that keeps its offsets there anyway.
            return None;
        }
        let spot = Spot::new(entry.at, "offset_store", "`offset_store`");
        let store = self.block(&entry.value, &spot, &self.catalog.offset_stores, &STORE);
        if let Some((source, _)) = source.filter(|(source, _)| keeps(source) == KeepsOffsets::Always) {
            let kind = source.connector.kind;
            let says = format!(
                "the source `{kind}` keeps its offsets itself, so `offset_store` would never be used"
            );
            self.report.say(entry.at, "offset_store", says).remedy("leave `offset_store` out");
        }
        Some(store?.named)
    }

    fn errors(
        &mut self,
        root: &Node,
        source: Option<&(SourceBlock, Value)>,
    ) -> Option<crate::pipeline::Errors> {
        dead_letter::errors(self, root, source)
    }

    fn tasks(&mut self, root: &Node, tasks: u16, source: &SourceBlock) {
        let connector: &dyn SourceConnector = &*source.connector.configured;
        let Some(most) = connector.traits().tasks_max.filter(|most| usize::from(tasks) > *most) else {
            return;
        };
        let Some(entry) = root.entry("tasks") else { return };
        let kind = source.connector.kind;
        let says = format!("the source `{kind}` cannot be shared by {tasks} tasks");
        let remedy = match most {
            1 => "leave `tasks` out: one task reads it".to_owned(),
            most => format!("at most {most} tasks can share it"),
        };
        self.report.say(entry.value.place(entry.at), "tasks", says).remedy(remedy);
    }

    /// Offsets that may go back do not go into what is named by offsets.
    fn offsets(
        &mut self,
        root: &Node,
        source: &SourceBlock,
        formats: &Formats,
        sink: &Named<dyn SinkConnector>,
    ) {
        if !sink.configured.names_by_offsets() {
            return;
        }
        let kind = source.connector.kind;
        let rows = formats.value.as_ref().and_then(|format| format.configured.rows());
        let Some(entry) = root.get("source").and_then(|it| it.entry(kind)) else { return };
        let spot = Spot::new(entry.at, format!("source.{kind}"), format!("`{kind}`"));
        for problem in source.connector.configured.check_offsets(rows.as_ref()) {
            let (place, path, _) = mismatch::locate(&entry.value, &spot, &problem.path);
            self.report.say(place, &path, problem.says).remedy_if(problem.remedy);
        }
    }

    /// `dev: { generate: ... }` is the block of the source `generate`, or a name that it knows.
    fn dev_block(&mut self, root: &Node) {
        let Some(generate) = root.get("dev").and_then(|dev| dev.entry("generate")) else {
            return;
        };
        let Some(entry) = self.catalog.sources.get("generate") else {
            return;
        };
        let spot = Spot::new(generate.at, "dev.generate", "`generate`");
        if matches!(generate.value.kind, Kind::Map(_)) {
            let _ = self.configure(entry, generate.value.clone(), &spot);
            return;
        }
        let schema = entry.schema().to_value();
        let mut check = Check { root: &schema, report: self.report, secrets: Vec::new() };
        check.value(&generate.value, &schema["properties"]["kind"], spot);
    }
}
