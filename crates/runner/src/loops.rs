//! Records that would come back where the files do not show it: a pattern takes what is on the cluster, and one cluster
//! has several addresses.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::System;
use aqueduct_api::catalog::{ProbeContext, SinkConnector};
use aqueduct_spec::loops::{self, End, Flow, Loop};
use aqueduct_spec::{OnBadRecord, Pipeline};
use tokio::task::JoinSet;
use tracing::warn;

/// How long a start waits for systems to say who they are. One that is away is no reason not to start.
const PATIENCE: Duration = Duration::from_secs(3);

/// What there is to say.
#[derive(Default)]
pub(crate) struct Found {
    /// Records would come back.
    pub(crate) sure: Vec<Loop>,
    /// They would if clusters of one id were one, and nothing else says that they are.
    pub(crate) doubtful: Vec<Loop>,
}

/// Asks the systems, and finds what the files alone do not show.
pub(crate) async fn ask(pipelines: &[Pipeline], patience: Duration) -> Found {
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
            let (sink, context): (Arc<dyn SinkConnector>, _) = (Arc::clone(sink), context());
            asked.spawn(async move { (index, end, sink.system(context).await) });
        }
    }
    let mut flows: Vec<Flow> = pipelines.iter().map(Flow::of).collect();
    let mut by_id = flows.clone();
    while let Some(answer) = asked.join_next().await {
        let Ok((index, end, Ok(Some(system)))) = answer else { continue };
        let one_of_a_kind = |sign: &String| format!("cluster {} {sign}", system.id);
        learn(&mut flows[index], end, &system, system.signs.iter().map(one_of_a_kind).collect());
        learn(&mut by_id[index], end, &system, vec![format!("cluster {}", system.id)]);
    }
    let sure = loops::find(&flows);
    let mut doubtful = loops::find(&by_id);
    doubtful.retain(|found| !sure.iter().any(|sure| (sure.flow, sure.end) == (found.flow, found.end)));
    for found in &mut doubtful {
        found.says = format!(
            "two clusters have one id, and no broker and no topic in common; if they are one, {}",
            found.says
        );
    }
    Found { sure, doubtful }
}

/// A system's marks stand beside its addresses; an end whose system does not answer keeps the addresses alone.
fn learn(flow: &mut Flow, end: End, system: &System, marks: Vec<String>) {
    let writes = match end {
        End::Sink => &mut flow.writes,
        End::Letters => &mut flow.letters,
        End::Group => {
            if let Some(reads) = &mut flow.reads {
                reads.system.extend(marks);
                let taken: Vec<String> =
                    system.topics.iter().filter(|topic| reads.takes(topic)).cloned().collect();
                reads.named.extend(taken);
            }
            return;
        }
    };
    if let Some(writes) = writes {
        writes.system.extend(marks);
    }
}

/// Before the pipelines are started: asks where it matters, and says what is wrong.
pub(crate) async fn before_start(pipelines: &[Pipeline]) -> Vec<String> {
    if !matters(pipelines) {
        return Vec::new();
    }
    // All ends are asked at once, each with up to four questions.
    let found = tokio::time::timeout(PATIENCE * 4, ask(pipelines, PATIENCE)).await.unwrap_or_default();
    for Loop { flow, end, says, remedy } in found.doubtful {
        warn!(pipeline = %pipelines[flow].name, at = %place(&pipelines[flow], end), "{says}; then {remedy}");
    }
    let line = |found: Loop| {
        let Loop { flow, end, says, remedy } = found;
        format!("{}: {says}; {remedy}", place(&pipelines[flow], end))
    };
    found.sure.into_iter().map(line).collect()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use aqueduct_devserver::{DevBroker, Limits};
    use serde_json::json;

    use super::*;

    async fn found(from: &str, to: &str) -> Found {
        let source = json!({ "connection": { "brokers": from }, "topics": ["orders"] });
        let sink = json!({ "connection": { "brokers": to }, "topic": "{topic}" });
        let catalog = crate::catalog::catalog();
        let pipeline = crate::commands::pipeline_of(&catalog, "mirror", ("kafka", source), ("kafka", sink));
        ask(&[pipeline.unwrap()], Duration::from_secs(10)).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn clusters_of_one_id_are_one_only_if_they_have_more_in_common() {
        // All brokers of this kind have one id, as all containers of some images.
        let start = || DevBroker::start("127.0.0.1:0", Limits::default());
        let (one, other) = (start().await.unwrap(), start().await.unwrap());
        one.create_topic("orders", 1).unwrap();
        other.create_topic("orders", 1).unwrap();
        let (at, beside) = (one.address().to_string(), format!("localhost:{}", one.address().port()));
        let Found { sure, doubtful } = found(&at, &other.address().to_string()).await;
        assert!(sure.is_empty(), "{sure:?}");
        assert!(
            doubtful[0].says.contains("if they are one, the sink writes records of `orders`"),
            "{doubtful:?}"
        );
        let Found { sure, doubtful } = found(&at, &beside).await;
        assert!(sure.len() == 1 && doubtful.is_empty(), "{sure:?} {doubtful:?}");
        one.stop().await;
        other.stop().await;
    }
}
