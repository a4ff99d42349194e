//! What happens to each part of a record, decided when the pipeline is planned and never again: bytes that nobody looks
//! into pass as they are.

use aqueduct_api::catalog::ConfiguredFormat;
use std::sync::Arc;

use aqueduct_api::{FormatContext, Look, Needs, Part, Result, Side};
use aqueduct_spec::Pipeline;
use aqueduct_spec::pipeline::{Formats, Named};

/// The way of one part.
#[derive(Clone)]
pub struct Route {
    /// The part.
    pub part: Part,
    /// What is done behind the source.
    pub read: Read,
    /// What is done before the sink.
    pub write: Write,
}

/// What is done with a part behind the source.
#[derive(Clone)]
pub enum Read {
    /// Nothing.
    Pass,
    /// The bytes have to be of this format, and pass.
    Check(Named<dyn ConfiguredFormat>),
    /// Becomes a value with structure.
    Decode(Named<dyn ConfiguredFormat>),
    /// The same, but only these fields are looked at, and the others go out as they came in.
    Look(Named<dyn ConfiguredFormat>, Vec<Arc<str>>),
    /// The source gives it with its structure.
    Given,
}

/// What is done with a part before the sink.
#[derive(Clone)]
pub enum Write {
    /// Nothing.
    Pass,
    /// The value becomes bytes of this format.
    Encode(Named<dyn ConfiguredFormat>),
    /// The bytes get the id that their schema has in the registry of the sink.
    Translate(Named<dyn ConfiguredFormat>),
}

/// What a stage is called in a plan, and what it does.
pub type Stage = (&'static str, String);

/// The ways of all parts, in the order in which they are gone.
pub fn routes(pipeline: &Pipeline) -> Result<[Route; 3]> {
    let mut needs = Needs::default();
    for transform in &pipeline.transforms {
        let of = transform.configured.build()?.needs();
        needs = Needs { key: needs.key.and(of.key), value: needs.value.and(of.value) };
    }
    let given = pipeline.source.connector.configured.traits().typed;
    Ok([
        route(pipeline, Part::Key, needs.key, false)?,
        route(pipeline, Part::Value, needs.value, given)?,
        route(pipeline, Part::Headers, Look::Nothing, false)?,
    ])
}

fn route(pipeline: &Pipeline, part: Part, needed: Look, given: bool) -> Result<Route> {
    let (reads, writes) = (format(&pipeline.source.formats, part), format(&pipeline.sink.formats, part));
    let pass_or_check = |reads: &Named<dyn ConfiguredFormat>| match reads.configured.traits().unchecked {
        true => Read::Pass,
        false => Read::Check(reads.clone()),
    };
    let (read, write) = match (reads, writes) {
        (None, Some(writes)) if given && writes.kind != "bytes" => {
            (Read::Given, Write::Encode(writes.clone()))
        }
        (None, _) => (Read::Pass, Write::Pass),
        (Some(reads), writes) if needed != Look::Nothing => {
            let writes = writes.unwrap_or(reads);
            let declared = reads.configured.traits().declared || writes.configured.traits().declared;
            let read = match needed {
                Look::Fields(fields) if reads.kind == writes.kind && !declared => {
                    Read::Look(reads.clone(), fields)
                }
                _ => Read::Decode(reads.clone()),
            };
            (read, Write::Encode(writes.clone()))
        }
        (Some(reads), None) => (pass_or_check(reads), Write::Pass),
        (Some(reads), Some(writes)) if writes.kind == "bytes" => (pass_or_check(reads), Write::Pass),
        (Some(reads), Some(writes)) => {
            let (from, to) = (reads.configured.traits(), writes.configured.traits());
            if reads.kind != writes.kind || from.declared || to.declared || from.registry != to.registry {
                (Read::Decode(reads.clone()), Write::Encode(writes.clone()))
            } else if to.registry && !same_registry(pipeline)? {
                (Read::Pass, Write::Translate(writes.clone()))
            } else {
                (pass_or_check(reads), Write::Pass)
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

fn format(formats: &Formats, part: Part) -> Option<&Named<dyn ConfiguredFormat>> {
    match part {
        Part::Key => formats.key.as_ref(),
        Part::Value => formats.value.as_ref(),
        Part::Headers => formats.headers.as_ref(),
    }
}

/// What a format of this end is told when it is opened.
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
    pub fn stages(&self) -> (Option<Stage>, Option<Stage>) {
        let part = self.part;
        let read = match &self.read {
            Read::Pass | Read::Given => None,
            Read::Check(format) => {
                Some(("check", format!("{part} is {}; the bytes pass unchanged", format.kind)))
            }
            Read::Decode(format) => {
                Some(("decode", format!("{part} as {}", format.configured.describe(Side::Source))))
            }
            Read::Look(format, fields) => {
                let (as_what, fields) = (format.configured.describe(Side::Source), fields.join("`, `"));
                Some(("decode", format!("{part} as {as_what}; only `{fields}` is needed of it")))
            }
        };
        let write = match &self.write {
            Write::Pass => None,
            Write::Encode(format) => {
                Some(("encode", format!("{part} as {}", format.configured.describe(Side::Sink))))
            }
            Write::Translate(format) => {
                let as_what = format.configured.describe(Side::Sink);
                Some(("translate", format!("schema ids of the {part}, {as_what}; the rest passes unchanged")))
            }
        };
        (read, write)
    }
}
