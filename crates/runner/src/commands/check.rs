//! `aqueduct check`: all problems of the files at once, without touching the network; with `--connect` also what the real
//! systems say.

use std::path::PathBuf;
use std::time::Duration;

use aqueduct_api::catalog::ProbeContext;
use aqueduct_api::{Finding, Verdict};
use aqueduct_spec::{OnBadRecord, Pipeline};
use tokio::task::JoinSet;

use crate::{Exit, catalog};

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
        let context = || ProbeContext { pipeline: pipeline.name.clone(), patience };
        let mut sinks = vec![("sink", pipeline.sink.connector.clone())];
        if let OnBadRecord::DeadLetter(letter) = &pipeline.errors.on_bad_record {
            sinks.push(("errors.on_bad_record.dead_letter", letter.sink.clone()));
        }
        let (index, source, context_of) = (ends.len(), pipeline.source.connector.clone(), context());
        ends.push((format!("{}, source.{}", pipeline.name, source.kind), Vec::new()));
        asked.spawn(async move { (index, in_time(source.configured.probe(context_of), patience).await) });
        for (path, sink) in sinks {
            let (index, context) = (ends.len(), context());
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
