//! One file a command: its arguments, what it does, how it ends.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod connectors;
pub(crate) mod dev;
pub(crate) mod health;
pub(crate) mod offsets;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod test;

use std::io::IsTerminal;
use std::path::PathBuf;

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{Catalog, Problem};
use aqueduct_spec::pipeline::{Formats, Named, SinkBlock, SourceBlock};
use aqueduct_spec::{Delivery, Diagnostic, Errors, Loaded, OnBadRecord, Pipeline};
use serde_json::Value;

/// Reads files and folders; when something is wrong, all of it is printed and nothing is returned.
pub(crate) fn load(paths: &[PathBuf], catalog: &Catalog) -> Option<Loaded> {
    let loaded = aqueduct_spec::load(paths, catalog, &aqueduct_spec::Environment::of_process());
    print(&loaded.diagnostics);
    loaded.diagnostics.is_empty().then_some(loaded)
}

/// Prints problems to standard error, and how many there are.
pub(crate) fn print(diagnostics: &[Diagnostic]) {
    let color = std::io::stderr().is_terminal();
    for diagnostic in diagnostics {
        eprintln!("{}\n", diagnostic.render(color));
    }
    match diagnostics.len() {
        0 => {}
        1 => eprintln!("1 problem"),
        count => eprintln!("{count} problems"),
    }
}

/// A pipeline of our own, which stands in no file: what feeds `dev`, what `bench` measures.
pub(crate) fn pipeline_of(
    catalog: &Catalog,
    name: impl Into<Arc<str>>,
    (source, source_raw): (&str, Value),
    (sink, sink_raw): (&str, Value),
) -> Result<Pipeline, Vec<Problem>> {
    let absent = |kind: &str| vec![Problem::new(kind, "this binary does not have it")];
    let source = catalog.sources.get(source).ok_or_else(|| absent(source))?;
    let sink = catalog.sinks.get(sink).ok_or_else(|| absent(sink))?;
    let source = Named { kind: source.name, configured: source.configure(source_raw.clone())? };
    let sink = Named { kind: sink.name, configured: sink.configure(sink_raw.clone())? };
    Ok(Pipeline {
        name: name.into(),
        description: None,
        file: PathBuf::new(),
        source: SourceBlock { connector: source, formats: Formats::default() },
        transforms: Vec::new(),
        sink: SinkBlock { connector: sink, formats: Formats::default() },
        errors: Errors { on_bad_record: OnBadRecord::Stop, stop_after: None },
        delivery: Delivery::default(),
        tasks: 1,
        stop_timeout: Duration::from_secs(30),
        offset_store: None,
        dev: None,
        source_raw,
        sink_raw,
    })
}
