//! What happens to each part of a record, decided when the pipeline is planned and never again: bytes that nobody looks
//! into pass as they are.

use aqueduct_api::catalog::FormatKind;
use std::sync::Arc;

use aqueduct_api::{Fields, FormatContext, Part, Projection, Result, Side};
use aqueduct_spec::Pipeline;
use aqueduct_spec::pipeline::{Formats, Named};

/// The way of one part.
#[derive(Clone)]
pub struct Route {
    /// The part.
    pub part: Part,
    /// What is done behind the source.
    pub read: ReadPlan,
    /// What is done before the sink.
    pub write: WritePlan,
}

/// What is done with a part behind the source.
#[derive(Clone)]
pub enum ReadPlan {
    /// Nothing.
    Pass,
    /// The bytes have to be of this format, and pass.
    Check(Named<dyn FormatKind>),
    /// Becomes a value with structure.
    Decode(Named<dyn FormatKind>),
    /// The same, but only these fields are looked at, and the others go out as they came in.
    Project(Named<dyn FormatKind>, Vec<Arc<str>>),
    /// The source gives it with its structure.
    Typed,
}

/// What is done with a part before the sink.
#[derive(Clone)]
pub enum WritePlan {
    /// Nothing.
    Pass,
    /// The value becomes bytes of this format.
    Encode(Named<dyn FormatKind>),
    /// The bytes get the id that their schema has in the registry of the sink.
    Translate(Named<dyn FormatKind>),
}

/// A step of the plan: its name, and what it does.
pub type PlanStep = (&'static str, String);

/// The ways of all parts, in the order in which they are gone.
pub fn routes(pipeline: &Pipeline) -> Result<[Route; 3]> {
    let mut projection = Projection::default();
    for transform in &pipeline.transforms {
        let of = transform.configured.build()?.projection();
        projection = Projection { key: projection.key.and(of.key), value: projection.value.and(of.value) };
    }
    let given = pipeline.source.connector.configured.traits().typed;
    Ok([
        route(pipeline, Part::Key, projection.key, false)?,
        route(pipeline, Part::Value, projection.value, given)?,
        route(pipeline, Part::Headers, Fields::None, false)?,
    ])
}

fn route(pipeline: &Pipeline, part: Part, needed: Fields, given: bool) -> Result<Route> {
    let (reads, writes) = (format(&pipeline.source.formats, part), format(&pipeline.sink.formats, part));
    let pass_or_check = |reads: &Named<dyn FormatKind>| match reads.configured.traits().unchecked {
        true => ReadPlan::Pass,
        false => ReadPlan::Check(reads.clone()),
    };
    let (read, write) = match (reads, writes) {
        (None, Some(writes)) if given && writes.kind != "bytes" => {
            (ReadPlan::Typed, WritePlan::Encode(writes.clone()))
        }
        (None, _) => (ReadPlan::Pass, WritePlan::Pass),
        (Some(reads), writes) if needed != Fields::None => {
            let writes = writes.unwrap_or(reads);
            let declared = reads.configured.traits().declared || writes.configured.traits().declared;
            let read = match needed {
                Fields::Named(fields) if reads.kind == writes.kind && !declared => {
                    ReadPlan::Project(reads.clone(), fields)
                }
                _ => ReadPlan::Decode(reads.clone()),
            };
            (read, WritePlan::Encode(writes.clone()))
        }
        (Some(reads), None) => (pass_or_check(reads), WritePlan::Pass),
        (Some(reads), Some(writes)) if writes.kind == "bytes" => (pass_or_check(reads), WritePlan::Pass),
        (Some(reads), Some(writes)) => {
            let (from, to) = (reads.configured.traits(), writes.configured.traits());
            if reads.kind != writes.kind || from.declared || to.declared || from.registry != to.registry {
                (ReadPlan::Decode(reads.clone()), WritePlan::Encode(writes.clone()))
            } else if to.registry && !same_registry(pipeline)? {
                (ReadPlan::Pass, WritePlan::Translate(writes.clone()))
            } else {
                (pass_or_check(reads), WritePlan::Pass)
            }
        }
    };
    Ok(Route { part, read, write })
}

fn same_registry(pipeline: &Pipeline) -> Result<bool> {
    let address = |formats: &Formats| match &formats.registry {
        Some(registry) => registry.open().map(|registry| registry.address().to_owned()),
        None => Ok(String::new()),
    };
    Ok(address(&pipeline.source.formats)? == address(&pipeline.sink.formats)?)
}

fn format(formats: &Formats, part: Part) -> Option<&Named<dyn FormatKind>> {
    match part {
        Part::Key => formats.key.as_ref(),
        Part::Value => formats.value.as_ref(),
        Part::Headers => formats.headers.as_ref(),
    }
}

/// What a format of this end gets when it is opened.
pub fn context(pipeline: &Pipeline, side: Side, part: Part) -> Result<FormatContext> {
    let formats = match side {
        Side::Source => &pipeline.source.formats,
        Side::Sink => &pipeline.sink.formats,
    };
    let registry = formats.registry.as_ref().map(|registry| registry.open()).transpose()?;
    Ok(FormatContext { pipeline: pipeline.name.clone(), part, registry })
}

impl Route {
    /// What `aqueduct plan` says of it, a line for each stage: before the transforms, and behind them.
    pub fn steps(&self) -> (Option<PlanStep>, Option<PlanStep>) {
        let part = self.part;
        let read = match &self.read {
            ReadPlan::Pass | ReadPlan::Typed => None,
            ReadPlan::Check(format) => {
                Some(("check", format!("{part} is {}; the bytes pass unchanged", format.kind)))
            }
            ReadPlan::Decode(format) => {
                Some(("decode", format!("{part} as {}", format.configured.describe(Side::Source))))
            }
            ReadPlan::Project(format, fields) => {
                let (as_what, fields) = (format.configured.describe(Side::Source), fields.join("`, `"));
                Some(("decode", format!("{part} as {as_what}; only `{fields}` is needed of it")))
            }
        };
        let write = match &self.write {
            WritePlan::Pass => None,
            WritePlan::Encode(format) => {
                Some(("encode", format!("{part} as {}", format.configured.describe(Side::Sink))))
            }
            WritePlan::Translate(format) => {
                let as_what = format.configured.describe(Side::Sink);
                Some(("translate", format!("schema ids of the {part}, {as_what}; the rest passes unchanged")))
            }
        };
        (read, write)
    }
}
