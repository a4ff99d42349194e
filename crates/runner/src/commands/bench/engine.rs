//! The engine alone: `generate` into `discard`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aqueduct_api::catalog::SourceContext;
use aqueduct_api::{Catalog, Polled};
use aqueduct_engine::{Limits, Setting, Status, Stopper};
use aqueduct_spec::Pipeline;
use serde_json::json;

use super::{Begin, Measured, ratio};
use crate::commands::pipeline_of;
use crate::supervise;

/// The time of the first record, so that every run makes the same ones.
const START: &str = "2026-01-01T00:00:00Z";

/// The engine on a single thread, so that the figure is of one core.
pub(super) fn generate_discard(records: u64, catalog: &Catalog) -> Result<(), String> {
    let source = json!({ "count": records, "start": START });
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
        batch_records_max: limits.batch_records_max,
        batch_bytes_max: limits.batch_bytes_max,
        drain_timeout: limits.drain_timeout,
        ..SourceContext::new(Arc::clone(&pipeline.name))
    };
    let mut source = pipeline.source.connector.configured.open(context).await?;
    let (begin, mut count) = (Begin::now(), 0);
    loop {
        match source.poll(Duration::from_millis(100)).await? {
            Polled::Batch { records, .. } => count += std::hint::black_box(records).len() as u64,
            Polled::End => return Ok(begin.ended(count)),
            Polled::Idle | Polled::Revoked { .. } => {}
        }
    }
}

async fn through_the_engine(pipeline: &Pipeline, catalog: &Catalog) -> aqueduct_api::Result<Measured> {
    let (status, stopper) = (Arc::new(Status::default()), Stopper::new());
    let store = Some(supervise::open_store(pipeline, catalog).await?);
    let setting =
        Setting { limits: Limits::default(), store, status: Arc::clone(&status), stop: stopper.listener() };
    let begin = Begin::now();
    aqueduct_engine::run(pipeline, &setting).await?;
    Ok(begin.ended(status.records_written.load(Relaxed)))
}
