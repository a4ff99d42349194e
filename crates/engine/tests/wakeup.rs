//! A sink that says when it has something to report is asked at once: the budget does not wait for the next tick.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_api::{
    Batch, BatchId, Condition, Headers, Offsets, Origin, Payload, Polled, Record, Result, Sink, Source,
    Written,
};
use aqueduct_engine::chain::Chain;
use aqueduct_engine::{Ends, Limits, Policy, Setting, Status, Stopper, run_task};
use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

const BATCHES: i64 = 100;
/// How long the server behind the sink takes for a batch.
const ANSWER: Duration = Duration::from_millis(2);

/// Gives so many batches of one record.
struct Few(i64);

#[async_trait]
impl Source for Few {
    async fn poll(&mut self, _: Duration) -> Result<Polled> {
        if self.0 == BATCHES {
            return Ok(Polled::End);
        }
        let record = Record {
            topic: "n".into(),
            origin: Origin { partition: 0, offset: self.0 },
            key: Payload::Absent,
            value: "x".into(),
            headers: Headers::default(),
            timestamp_us: None,
        };
        self.0 += 1;
        let resume_at = Offsets::from([("n/0".into(), self.0.to_string().into())]);
        Ok(Polled::Batch { records: vec![record].into(), resume_at })
    }
}

/// Hands batches to somebody who answers later.
struct Answered {
    wakeup: Arc<Notify>,
    notifies: bool,
    /// Answered, and not reported yet.
    done: Arc<Mutex<VecDeque<Arc<Batch>>>>,
    under_way: usize,
}

impl Answered {
    fn report(&mut self) -> Written {
        let done: Vec<BatchId> = self.done.lock().unwrap().drain(..).map(|batch| batch.id).collect();
        self.under_way -= done.len();
        Written::batches(done)
    }
}

#[async_trait]
impl Sink for Answered {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        self.under_way += 1;
        let (batch, done, wakeup, notifies) =
            (batch.clone(), self.done.clone(), self.wakeup.clone(), self.notifies);
        tokio::spawn(async move {
            tokio::time::sleep(ANSWER).await;
            done.lock().unwrap().push_back(batch);
            if notifies {
                wakeup.notify_one();
            }
        });
        Ok(self.report())
    }

    async fn tick(&mut self) -> Result<Written> {
        Ok(self.report())
    }

    async fn flush(&mut self) -> Result<Written> {
        while self.done.lock().unwrap().len() < self.under_way {
            tokio::time::sleep(ANSWER).await;
        }
        Ok(self.report())
    }
}

/// How long a pipeline takes that may have but two batches in flight.
async fn takes(notifies: bool) -> Duration {
    let wakeup = Arc::new(Notify::new());
    let sink = Answered { wakeup: wakeup.clone(), notifies, done: Arc::default(), under_way: 0 };
    let stopper = Stopper::new();
    let limits = Limits { batches_in_flight_max: 2, ..Limits::default() };
    let setting =
        Setting { limits, store: None, status: Arc::new(Status::default()), stop: stopper.listener() };
    let ends = Ends {
        source: Box::new(Few(0)),
        source_condition: Condition::default(),
        chain: Chain::of(Vec::new()),
        sinks: vec![(Box::new(sink), wakeup)],
        sink_condition: Condition::default(),
        policy: Policy::Stop,
    };
    let begun = Instant::now();
    run_task(&Arc::from("few"), 0, ends, None, &setting).await.unwrap();
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn what_is_durable_frees_the_budget_at_once() {
    let (silent, ringing) = (takes(false).await, takes(true).await);
    assert!(ringing < ANSWER * BATCHES as u32, "{ringing:?}");
    assert!(silent > ringing * 10, "without a word only the tick asks: {silent:?} and {ringing:?}");
}
