//! Records that would come back where the files do not show it: a pattern takes what is on the cluster, and one cluster
//! has several addresses.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{ConfiguredSink, ProbeContext};
use aqueduct_api::{Result, System};
use aqueduct_spec::loops::{self, End, Flow, Loop};
use aqueduct_spec::{OnBadRecord, Pipeline};
use tokio::task::JoinSet;

/// How long a start waits for systems to say who they are. One that is away is no reason not to start.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was found out about one end of one pipeline.
type Told = (usize, End, Result<Option<System>>);

/// Asks the systems, and finds what the files alone do not show.
pub(crate) async fn ask(pipelines: &[Pipeline], patience: Duration) -> Vec<Loop> {
    let mut asked = JoinSet::new();
    for (index, pipeline) in pipelines.iter().enumerate() {
        let context = || ProbeContext { pipeline: pipeline.name.clone(), transactional: false, patience };
        let (source, context_of) = (Arc::clone(&pipeline.source.connector.configured), context());
        asked.spawn(async move { (index, End::Group, source.system(context_of).await) });
        let mut sinks = vec![(End::Sink, &pipeline.sink.connector.configured)];
        if let OnBadRecord::DeadLetter(letter) = &pipeline.errors.on_bad_record {
            sinks.push((End::Letters, &letter.sink.configured));
        }
        for (end, sink) in sinks {
            let (sink, context): (Arc<dyn ConfiguredSink>, _) = (Arc::clone(sink), context());
            asked.spawn(async move { (index, end, sink.system(context).await) });
        }
    }
    let mut flows: Vec<Flow> = pipelines.iter().map(Flow::of).collect();
    while let Some(answer) = asked.join_next().await {
        if let Ok(told) = answer {
            learn(&mut flows, told);
        }
    }
    loops::find(&flows)
}

/// A system's own name stands beside its addresses; an end whose system does not answer keeps the addresses alone.
fn learn(flows: &mut [Flow], (index, end, told): Told) {
    let Ok(Some(System { id, topics })) = told else { return };
    let flow = &mut flows[index];
    let writes = match end {
        End::Sink => &mut flow.writes,
        End::Letters => &mut flow.letters,
        End::Group => {
            if let Some(reads) = &mut flow.reads {
                reads.system.insert(format!("cluster {id}"));
                let taken: Vec<String> = topics.into_iter().filter(|topic| reads.takes(topic)).collect();
                reads.named.extend(taken);
            }
            return;
        }
    };
    if let Some(writes) = writes {
        writes.system.insert(format!("cluster {id}"));
    }
}

/// Before the pipelines are started: asks where it matters, and says what is wrong.
pub(crate) async fn before_start(pipelines: &[Pipeline]) -> Vec<String> {
    if !matters(pipelines) {
        return Vec::new();
    }
    // All ends are asked at once, each with up to three questions.
    let found = tokio::time::timeout(PATIENCE * 3, ask(pipelines, PATIENCE)).await.unwrap_or_default();
    let line = |found: Loop| {
        let Loop { flow, end, says, remedy } = found;
        format!("{}: {says}; {remedy}", place(&pipelines[flow], end))
    };
    found.into_iter().map(line).collect()
}

/// Whether records would come back if all addresses were those of one system, or by a pattern.
fn matters(pipelines: &[Pipeline]) -> bool {
    let one = || std::iter::once("any".to_owned()).collect();
    let mut flows: Vec<Flow> = pipelines.iter().map(Flow::of).collect();
    for Flow { reads, writes, letters, .. } in &mut flows {
        reads.iter_mut().for_each(|reads| reads.system = one());
        writes.iter_mut().chain(letters).for_each(|writes| writes.system = one());
    }
    let by_pattern = |flow: &Flow| {
        let pattern = flow.reads.as_ref().is_some_and(|reads| reads.pattern.is_some());
        pattern && flow.writes.as_ref().is_some_and(|writes| writes.topic.constant().is_none())
    };
    flows.iter().any(by_pattern) || !loops::find(&flows).is_empty()
}

/// Which end of which pipeline it is about.
pub(crate) fn place(pipeline: &Pipeline, end: End) -> String {
    let name = &pipeline.name;
    match end {
        End::Sink => format!("{name}, sink.{}", pipeline.sink.connector.kind),
        End::Letters => format!("{name}, errors.on_bad_record.dead_letter"),
        End::Group => format!("{name}, source.{}", pipeline.source.connector.kind),
    }
}
