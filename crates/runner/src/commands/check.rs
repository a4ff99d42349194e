//! `aqueduct check`: all problems of the files at once, without touching the network; with `--connect` also what the real
//! systems say.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{ProbeContext, RegistryKind};
use aqueduct_api::{Finding, Headers, Origin, Part, Payload, Record, Side, Verdict};
use aqueduct_engine::route::context;
use aqueduct_spec::{OnBadRecord, Pipeline};
use tokio::task::JoinSet;

use crate::{Exit, catalog, loops};

/// A look at one end asks several questions; the whole of it takes no longer than this many of them.
const QUESTIONS_MAX: u32 = 6;

/// Find all problems of pipeline files, without touching the network
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pipeline files, or folders of them
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    paths: Vec<PathBuf>,
    /// Then ask the real systems whether the pipelines would work; exit code 1 when one would not
    #[arg(long)]
    connect: bool,
    /// With --connect: how long each question may go without an answer
    #[arg(long, value_name = "DURATION", default_value = "10s", requires = "connect")]
    patience: aqueduct_api::config::Duration,
}

/// Checks them.
pub(crate) async fn run(arguments: Arguments) -> Exit {
    let Some(loaded) = super::load(&arguments.paths, &catalog::catalog()) else { return Exit::Wrong };
    match loaded.pipelines.len() {
        1 => println!("1 pipeline is fine"),
        count => println!("{count} pipelines are fine"),
    }
    if !arguments.connect {
        return Exit::Good;
    }
    let mut bad = 0;
    for (end, findings) in ask(&loaded.pipelines, arguments.patience.0).await {
        for finding in findings {
            bad += usize::from(finding.verdict == Verdict::Bad);
            print(&end, &finding);
        }
    }
    let found = loops::ask(&loaded.pipelines, arguments.patience.0).await;
    bad += found.sure.len();
    let sure = found.sure.into_iter().map(|it| (it.flow, it.end, Finding::bad(it.says, it.remedy)));
    let doubtful =
        found.doubtful.into_iter().map(|it| (it.flow, it.end, Finding::warning(it.says, it.remedy)));
    for (flow, end, finding) in sure.chain(doubtful) {
        print(&loops::place(&loaded.pipelines[flow], end), &finding);
    }
    match bad {
        0 => {}
        1 => println!("1 problem"),
        count => println!("{count} problems"),
    }
    Exit::from(bad == 0)
}

/// Asks all ends of all pipelines at once; the answers come in the order of the file.
async fn ask(pipelines: &[Pipeline], patience: Duration) -> Vec<(String, Vec<Finding>)> {
    let mut asked = JoinSet::new();
    let mut ends = Vec::new();
    for pipeline in pipelines {
        let asking = || ProbeContext { pipeline: pipeline.name.clone(), transactional: false, patience };
        let mut sinks = vec![("sink", pipeline.sink.connector.clone())];
        if let OnBadRecord::DeadLetter(letter) = &pipeline.errors.on_bad_record {
            sinks.push(("errors.on_bad_record.dead_letter", letter.sink.clone()));
        }
        let (index, source, context_of) = (ends.len(), pipeline.source.connector.clone(), asking());
        ends.push((format!("{}, source.{}", pipeline.name, source.kind), Vec::new()));
        asked.spawn(async move { (index, in_time(source.configured.probe(context_of), patience).await) });
        for (side, path, registry) in registries(pipeline) {
            let (index, context, pipeline) = (ends.len(), asking(), pipeline.clone());
            ends.push((format!("{}, {path}", pipeline.name), Vec::new()));
            asked.spawn(async move {
                let mut findings = in_time(registry.probe(context), patience).await;
                // What does not answer need not be asked about subjects.
                if findings.iter().all(|finding| finding.verdict != Verdict::Bad) {
                    findings.extend(in_time(subjects(&pipeline, side), patience).await);
                }
                (index, findings)
            });
        }
        for (path, sink) in sinks {
            let transactional = path == "sink" && pipeline.delivery.is_transactional();
            let (index, context) = (ends.len(), ProbeContext { transactional, ..asking() });
            let path = if path == "sink" { format!("sink.{}", sink.kind) } else { path.to_owned() };
            ends.push((format!("{}, {path}", pipeline.name), Vec::new()));
            asked.spawn(async move { (index, in_time(sink.configured.probe(context), patience).await) });
        }
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok((index, findings)) = answer {
            ends[index].1 = findings;
        }
    }
    ends
}

/// The registries that formats of the pipeline need, and for which ends.
fn registries(pipeline: &Pipeline) -> Vec<(Side, &'static str, Arc<dyn RegistryKind>)> {
    let ends = [
        (Side::Source, "registry of the source", &pipeline.source.formats),
        (Side::Sink, "registry of the sink", &pipeline.sink.formats),
    ];
    let needed = ends.into_iter().filter_map(|(side, path, formats)| {
        let mut needs = [&formats.key, &formats.value].into_iter().flatten();
        let needed = needs.any(|format| format.configured.traits().registry);
        Some((side, path, Arc::clone(formats.registry.as_ref().filter(|_| needed)?)))
    });
    needed.collect()
}

/// What the registry knows of the subjects of one end.
async fn subjects(pipeline: &Pipeline, side: Side) -> Vec<Finding> {
    let formats = match side {
        Side::Source => &pipeline.source.formats,
        Side::Sink => &pipeline.sink.formats,
    };
    let mut findings = Vec::new();
    for (part, format) in [(Part::Key, &formats.key), (Part::Value, &formats.value)] {
        let Some(format) = format.as_ref().filter(|format| format.configured.traits().registry) else {
            continue;
        };
        match context(pipeline, side, part) {
            Ok(context) => {
                findings.extend(format.configured.probe(side, context, topics(pipeline, side)).await);
            }
            Err(error) => findings.push(error.into()),
        }
    }
    findings
}

/// The topics that the file names, as far as no record has to be seen for it.
fn topics(pipeline: &Pipeline, side: Side) -> Vec<Arc<str>> {
    let raw = &pipeline.source_raw;
    let named = raw["topics"].as_array().into_iter().flatten().chain(raw.get("topic"));
    let named = named.filter_map(|topic| topic.as_str().filter(|topic| !topic.contains('{')));
    let mut topics: Vec<Arc<str>> = named.map(Arc::from).collect();
    if let (Side::Sink, Some(topic_of)) = (side, pipeline.sink.connector.configured.topic()) {
        let from = |topic: &str| {
            let record = Record {
                topic: topic.into(),
                origin: Origin::default(),
                key: Payload::Absent,
                value: Payload::Absent,
                headers: Headers::default(),
                timestamp_us: None,
            };
            topic_of(&record).ok()
        };
        topics = match (from("a"), from("b")) {
            // Wherever records come from.
            (Some(one), Some(other)) if one == other => vec![one],
            _ => topics.iter().filter_map(|topic| from(topic)).collect(),
        };
        topics.dedup();
    }
    topics
}

/// What holds no question back for ever; a panic of a probe shows as no findings.
async fn in_time(probe: impl Future<Output = Vec<Finding>>, patience: Duration) -> Vec<Finding> {
    let whole = patience * QUESTIONS_MAX;
    tokio::time::timeout(whole, probe).await.unwrap_or_else(|_| {
        let says = format!("no answer within {}", aqueduct_api::config::Duration(whole));
        vec![Finding::bad(says, "see the network, or give it more time with --patience")]
    })
}

fn print(end: &str, finding: &Finding) {
    let word = match finding.verdict {
        Verdict::Good => "ok",
        Verdict::Warning => "warning",
        Verdict::Bad => "problem",
    };
    println!("{word:<8} {end}: {}", finding.says);
    if let Some(remedy) = &finding.remedy {
        println!("         {remedy}");
    }
}
