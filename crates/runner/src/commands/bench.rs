//! `aqueduct bench`: what this machine does, each figure beside the best that can be had without us.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aqueduct_api::catalog::SourceContext;
use aqueduct_api::{Catalog, Condition, OffsetStore, Polled};
use aqueduct_engine::{Limits, Setting, Status, Stopper};
use aqueduct_spec::Pipeline;
use serde_json::json;
use tokio::time::Instant;

use super::pipeline_of;
use crate::{Exit, catalog, process};

/// The time of the first record, so that every run makes the same ones.
const START: &str = "2026-01-01T00:00:00Z";

/// Measure this machine: each figure beside the best that can be had without us
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this one
    #[arg(value_enum)]
    name: Option<Name>,
    /// Records of each run
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    records: u64,
    /// Kafka for those that read it; a topic `aqueduct-bench` is made there
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Records through the whole engine on one core, beside a loop that only makes them
    GenerateDiscard,
}

/// Runs them.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    if cfg!(debug_assertions) {
        println!("this is a debug build: its figures mean nothing");
    }
    let catalog = catalog::catalog();
    let wanted = |name| arguments.name.is_none_or(|only| only == name);
    let measured = if wanted(Name::GenerateDiscard) { generate_discard(arguments, &catalog) } else { Ok(()) };
    match measured {
        Ok(()) => {
            let peak = process::resident_peak_bytes().unwrap_or_default();
            println!("peak memory {} MiB", peak >> 20);
            Exit::Good
        }
        Err(says) => {
            eprintln!("error: {says}");
            Exit::Failed
        }
    }
}

/// Records, seconds, and CPU seconds of all threads.
struct Measured {
    records: u64,
    seconds: f64,
    cpu_seconds: f64,
}

impl Measured {
    fn since(begun: Instant, cpu_before: f64, records: u64) -> Self {
        let cpu_seconds = process::cpu_seconds().unwrap_or_default() - cpu_before;
        Self { records, seconds: begun.elapsed().as_secs_f64(), cpu_seconds }
    }

    fn print(&self, what: &str) {
        let millions = self.records as f64 / 1e6;
        let (rate, cpu) = (millions / self.seconds, self.cpu_seconds / millions);
        println!("{what:<44} {rate:6.2} M records/s   {cpu:5.2} CPU seconds a million");
    }
}

fn ratio(ours: &Measured, best: &Measured) {
    let (ours, best) = (ours.records as f64 / ours.seconds, best.records as f64 / best.seconds);
    println!("{:<44} {:6.1} %\n", "ratio", 100.0 * ours / best);
}

/// The engine on a single thread, so that the figure is of one core.
fn generate_discard(arguments: &Arguments, catalog: &Catalog) -> Result<(), String> {
    let source = json!({ "count": arguments.records, "start": START });
    let pipeline = pipeline_of(catalog, "bench", ("generate", source), ("discard", json!({})))
        .map_err(|problems| format!("{problems:?}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
    let best = runtime.block_on(poll_alone(&pipeline)).map_err(|error| error.to_string())?;
    best.print("generate alone, one core");
    let ours = runtime.block_on(through_the_engine(&pipeline, catalog)).map_err(|error| error.to_string())?;
    ours.print("generate -> discard, one core");
    ratio(&ours, &best);
    Ok(())
}

async fn poll_alone(pipeline: &Pipeline) -> aqueduct_api::Result<Measured> {
    let limits = Limits::default();
    let context = SourceContext {
        pipeline: Arc::clone(&pipeline.name),
        task: 0,
        tasks: 1,
        resume: Default::default(),
        batch_records_max: limits.batch_records_max,
        batch_bytes_max: limits.batch_bytes_max,
        drain_timeout: limits.drain_timeout,
        condition: Condition::default(),
    };
    let mut source = pipeline.source.connector.configured.open(context).await?;
    let (begun, cpu, mut count) = (Instant::now(), process::cpu_seconds().unwrap_or_default(), 0);
    loop {
        match source.poll(Duration::from_millis(100)).await? {
            Polled::Batch { records, .. } => count += std::hint::black_box(records).len() as u64,
            Polled::End => return Ok(Measured::since(begun, cpu, count)),
            Polled::Idle | Polled::Revoked { .. } => {}
        }
    }
}

async fn through_the_engine(pipeline: &Pipeline, catalog: &Catalog) -> aqueduct_api::Result<Measured> {
    let (status, stopper) = (Arc::new(Status::default()), Stopper::new());
    let store = crate::supervise::open_store(pipeline, catalog).await?;
    let store: Option<Arc<dyn OffsetStore>> = Some(store);
    let setting =
        Setting { limits: Limits::default(), store, status: Arc::clone(&status), stop: stopper.listener() };
    let (begun, cpu) = (Instant::now(), process::cpu_seconds().unwrap_or_default());
    aqueduct_engine::run(pipeline, &setting).await?;
    Ok(Measured::since(begun, cpu, status.records_written.load(Relaxed)))
}
