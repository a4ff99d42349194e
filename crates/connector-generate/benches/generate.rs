//! Records a second of `generate` alone and of `generate` into `discard`, on one core, without the engine
//! between.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{SinkConnector, SinkContext, SourceConnector, SourceContext};
use aqueduct_api::{Batch, BatchId, Polled};
use aqueduct_connector_discard::Config as DiscardConfig;
use aqueduct_connector_generate::Config;
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for batch_records_max in [500, 1_000, 4_000, 16_000] {
        for discard in [false, true] {
            let best =
                (0..5).map(|_| runtime.block_on(run(batch_records_max, discard))).max_by(f64::total_cmp);
            let what = if discard { "generate -> discard" } else { "generate" };
            println!(
                "{what:<20} {batch_records_max:>6} a batch: {:6.2} M records/s",
                best.unwrap_or_default()
            );
        }
    }
}

/// Millions of records a second.
async fn run(batch_records_max: usize, discard: bool) -> f64 {
    const RECORDS: u64 = 2_000_000;
    let context = SourceContext {
        has_store: true,
        batch_records_max,
        batch_bytes_max: usize::MAX,
        drain_timeout: Duration::from_secs(1),
        ..SourceContext::new("bench")
    };
    let config = Arc::new(Config { count: Some(RECORDS), ..Config::default() });
    let mut source = config.open(context).await.expect("a source");
    let context = SinkContext::new("bench");
    let mut sink = DiscardConfig::default().open(context).await.expect("a sink");
    let begin = Instant::now();
    let mut batches = 0;
    while let Polled::Batch { records, resume_at } = source.poll(Duration::ZERO).await.expect("a batch") {
        batches += 1;
        if discard {
            let batch = Batch::new(BatchId(batches), records, None);
            black_box(sink.write(&batch).await.expect("discarded"));
        } else {
            black_box(&records);
        }
        black_box(resume_at);
    }
    RECORDS as f64 / begin.elapsed().as_secs_f64() / 1e6
}
