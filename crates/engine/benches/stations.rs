//! What the stations cost by themselves: records that are ready in memory, through the whole engine on one thread, to a
//! sink that does nothing; beside it the same records made and dropped in a bare loop. `cargo bench -p aqueduct-engine`

#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct_api::{
    Batch, Condition, Headers, Offsets, Origin, Payload, Polled, Record, Result, Sink, Source, Written,
};
use aqueduct_engine::chain::Chain;
use aqueduct_engine::{Ends, Limits, Policy, Setting, Status, Stopper, run_task};
use async_trait::async_trait;
use bytes::Bytes;

const RECORDS: usize = 10_000_000;
const BATCH: usize = 1_000;

struct Ready {
    left: usize,
}

fn batch(first: usize) -> Vec<Record> {
    // One arena a batch, as the real sources make it.
    let arena = Bytes::from(vec![b'x'; BATCH * 131]);
    let topic: Arc<str> = "orders".into();
    (0..BATCH)
        .map(|index| Record {
            topic: Arc::clone(&topic),
            origin: Origin { partition: 0, offset: (first + index) as i64 },
            key: Payload::Raw(arena.slice(index * 131..index * 131 + 8)),
            value: Payload::Raw(arena.slice(index * 131 + 8..(index + 1) * 131)),
            headers: Headers::default(),
            timestamp_us: Some(1),
        })
        .collect()
}

#[async_trait]
impl Source for Ready {
    async fn poll(&mut self, _: Duration) -> Result<Polled> {
        if self.left == 0 {
            return Ok(Polled::End);
        }
        self.left -= BATCH;
        let resume_at = Offsets::from([("orders/0".into(), self.left.to_string().into())]);
        Ok(Polled::Batch { records: batch(self.left).into(), resume_at })
    }
}

struct Nothing;

#[async_trait]
impl Sink for Nothing {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        black_box(batch);
        Ok(Written::all())
    }

    async fn flush(&mut self) -> Result<Written> {
        Ok(Written::all())
    }
}

fn main() {
    let begun = Instant::now();
    for first in (0..RECORDS).step_by(BATCH) {
        black_box(batch(first));
    }
    let bare = begun.elapsed();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
    for lanes in [1, 4] {
        let begun = Instant::now();
        runtime.block_on(through_the_engine(lanes));
        let took = begun.elapsed();
        println!(
            "{lanes} lanes: {:.1} M records/s, {:.0} ns a record; making and dropping them alone: {:.0} ns",
            RECORDS as f64 / took.as_secs_f64() / 1e6,
            took.as_nanos() as f64 / RECORDS as f64,
            bare.as_nanos() as f64 / RECORDS as f64,
        );
    }
}

async fn through_the_engine(lanes: usize) {
    let setting = Setting {
        limits: Limits::default(),
        store: None,
        status: Arc::new(Status::default()),
        stop: Stopper::new().listener(),
    };
    let ends = Ends {
        source: Box::new(Ready { left: RECORDS }),
        source_condition: Condition::default(),
        chain: Chain::default(),
        sinks: (0..lanes).map(|_| (Box::new(Nothing) as Box<dyn Sink>, Arc::default())).collect(),
        sink_condition: Condition::default(),
        policy: Policy::Stop,
    };
    let name = Arc::from("bench");
    run_task(&name, 0, ends, None, &setting).await.unwrap_or_else(|error| panic!("{error}"));
}
