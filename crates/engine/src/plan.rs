//! What will run, in words: one line a stage, the guarantee that this pair of ends really gives, the memory.

use std::fmt;

use aqueduct_api::catalog::Duplicates;
use aqueduct_api::config::Size;
use aqueduct_spec::{Delivery, OnBadRecord, Pipeline};

use crate::budget::Limits;
use crate::route::routes;

/// The stages of a pipeline as text, for `aqueduct plan` and for snapshot tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What each stage is called and does, in the order of a record.
    pub stages: Vec<(&'static str, String)>,
}

/// What a record passes; the rest is about all of them.
const STAGES_OF_A_RECORD: [&str; 7] =
    ["read", "check", "decode", "transform", "encode", "translate", "write"];

impl Plan {
    /// What this pipeline will do within these limits. Nothing is opened.
    pub fn of(pipeline: &Pipeline, limits: &Limits) -> Self {
        let mut stages = vec![("read", pipeline.source.connector.configured.describe(&pipeline.name))];
        // What cannot be planned cannot be opened either, and says why then.
        let routes = routes(pipeline).map(|routes| routes.map(|route| route.steps())).unwrap_or_default();
        stages.extend(routes.iter().filter_map(|(read, _)| read.clone()));
        for transform in &pipeline.transforms {
            stages.push(("transform", transform.kind.to_owned()));
        }
        stages.extend(routes.into_iter().filter_map(|(_, write)| write));
        stages.push(("write", pipeline.sink.connector.configured.describe()));
        stages.push(("bad records", bad_records(pipeline)));
        stages.push(("offsets", offsets(pipeline)));
        stages.push(("delivery", delivery(pipeline)));
        stages.push(("memory", memory(pipeline, limits)));
        Self { stages }
    }

    /// The stages a record passes, in one line.
    pub fn route(&self) -> String {
        let passed = self.stages.iter().filter(|(name, _)| STAGES_OF_A_RECORD.contains(name));
        passed.map(|(name, what)| format!("{name} {what}")).collect::<Vec<_>>().join(" > ")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, what) in &self.stages {
            writeln!(f, "  {name:<12} {what}")?;
        }
        Ok(())
    }
}

fn bad_records(pipeline: &Pipeline) -> String {
    let what = match &pipeline.errors.on_bad_record {
        OnBadRecord::Stop => "stop the pipeline at the first".to_owned(),
        OnBadRecord::Skip => "are logged, counted and left behind".to_owned(),
        OnBadRecord::DeadLetter(letter) => {
            format!("are written to {}, before their batch settles", letter.sink.configured.describe())
        }
    };
    match pipeline.errors.stop_after {
        None => what,
        Some(limit) => {
            let window = aqueduct_api::config::Duration(limit.window);
            format!("{what}; more than {} in {window} stop the pipeline", limit.records)
        }
    }
}

fn offsets(pipeline: &Pipeline) -> String {
    let traits = pipeline.source.connector.configured.traits();
    let needed = traits.keeps_offsets.needs_store(pipeline.offset_store.is_some());
    if pipeline.delivery.is_transactional() {
        return format!("committed by the sink `{}`, together with the data", pipeline.sink.connector.kind);
    }
    match &pipeline.offset_store {
        _ if !needed => format!("kept by {} itself", pipeline.source.connector.kind),
        Some(store) => format!("kept in the offset store `{}`", store.kind),
        None => {
            "kept in memory: a new process reads from the start; name an offset_store to resume".to_owned()
        }
    }
}

fn delivery(pipeline: &Pipeline) -> String {
    match (pipeline.delivery, pipeline.sink.connector.configured.traits().duplicates) {
        (Delivery::ExactlyOnce { transactional: true }, _) => {
            "exactly once: data and offsets are committed in one transaction, seen by those who read committed records"
                .to_owned()
        }
        (Delivery::ExactlyOnce { .. }, Duplicates::Absorbed(how)) => format!("exactly once: {how}"),
        (_, Duplicates::Absorbed(how)) => format!("at least once, and what a crash repeats is absorbed: {how}"),
        (_, Duplicates::Visible) => {
            "at least once: after a crash, records whose offsets were not stored yet are written again".to_owned()
        }
    }
}

fn memory(pipeline: &Pipeline, limits: &Limits) -> String {
    let each = Size(limits.bytes_in_flight_max as u64);
    let tasks = match pipeline.tasks {
        1 => "1 task".to_owned(),
        tasks => format!("{tasks} tasks, each"),
    };
    format!("{tasks} holds up to {each} of records, besides the buffers of its ends")
}
