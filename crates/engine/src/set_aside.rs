//! What happens to records that will never pass: the pipeline stops, or they are left behind, or they are written
//! elsewhere, durably, before their batch is acknowledged (invariant 1).

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use aqueduct_api::{
    Batch, BatchId, Condition, Error, ErrorKind, Header, Headers, Record, Rejected, Result, Sink,
};
use aqueduct_ledger::planted::{Bug, planted};
use aqueduct_spec::StopAfter;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::retry::Backoff;
use crate::status::Status;

/// A record that will never pass, and where it was found out.
#[derive(Debug)]
pub struct Bad {
    /// As the source gave it, or as the sink refused it.
    pub record: Record,
    /// The station.
    pub stage: Stage,
    /// Why.
    pub error: Error,
}

/// The stations that refuse records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The source could not make a record of what it read.
    Read,
    /// The bytes are not of the format that the pipeline names.
    Decode,
    /// The value cannot be written in the sink's format.
    Encode,
    /// A transform refused it.
    Transform,
    /// The sink refused it.
    Write,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Read => "read",
            Stage::Decode => "decode",
            Stage::Encode => "encode",
            Stage::Transform => "transform",
            Stage::Write => "write",
        })
    }
}

/// `errors.on_bad_record`, opened.
pub enum Policy {
    /// Stop at the first.
    Stop,
    /// Log and go on.
    Skip,
    /// Write it there.
    DeadLetter(Box<dyn Sink>),
}

/// Sets records aside for all stations of one task.
pub struct SetAside {
    pipeline: Arc<str>,
    status: Arc<Status>,
    /// What is said while a dead letter cannot be written.
    condition: Condition,
    inner: Mutex<Inner>,
    /// A record stops the pipeline: its error, once.
    refusal: std::sync::Mutex<Option<Error>>,
    stopped: watch::Sender<bool>,
}

struct Inner {
    policy: Policy,
    stop_after: Option<StopAfter>,
    accepted: VecDeque<Instant>,
    letters: u64,
}

impl SetAside {
    /// Nothing set aside yet.
    pub fn new(
        pipeline: Arc<str>,
        policy: Policy,
        stop_after: Option<StopAfter>,
        status: Arc<Status>,
        condition: Condition,
    ) -> Self {
        let inner = Inner { policy, stop_after, accepted: VecDeque::new(), letters: 0 };
        let (refusal, stopped) = (std::sync::Mutex::default(), watch::Sender::new(false));
        Self { pipeline, status, condition, inner: Mutex::new(inner), refusal, stopped }
    }

    /// The pipeline stops in good order, and ends with this error, which is that of a record. The first one counts.
    pub(crate) fn stop_with(&self, error: Error) {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stopped.send_replace(true);
    }

    /// Waits until a record stops the pipeline.
    pub(crate) async fn stopped(&self) {
        // The sender is ours, so it lives.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// The error of the record that stopped the pipeline.
    pub(crate) fn take_refusal(&self) -> Option<Error> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sets these aside; when it returns they are as safe as the policy makes them.
    pub async fn put(&self, bad: Vec<Bad>) -> Result<()> {
        if bad.is_empty() {
            return Ok(());
        }
        let mut inner = self.inner.lock().await;
        if let (Policy::Stop, Some(first)) = (&inner.policy, bad.first()) {
            return Err(refusal(first));
        }
        for one in &bad {
            inner.accept(one)?;
            let (topic, origin) = (&one.record.topic, one.record.origin);
            let (pipeline, stage) = (&self.pipeline, one.stage);
            warn!(%pipeline, %topic, partition = origin.partition, offset = origin.offset, %stage, error = %one.error, "set a record aside");
        }
        let count = bad.len() as u64;
        self.write(&mut inner, bad).await?;
        self.status.records_set_aside.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    async fn write(&self, inner: &mut Inner, bad: Vec<Bad>) -> Result<()> {
        let Policy::DeadLetter(sink) = &mut inner.policy else {
            return Ok(());
        };
        inner.letters += 1;
        let letters = bad.iter().map(|bad| letter(&self.pipeline, bad)).collect();
        let batch = Batch::new(BatchId(inner.letters), letters, None);
        let mut backoff = Backoff::of_write(inner.letters);
        loop {
            match deliver(sink.as_mut(), &batch).await {
                Ok(refused) => {
                    if self.condition.clear() {
                        info!(pipeline = %self.pipeline, "dead letters are written again");
                    }
                    return refused
                        .first()
                        .map_or(Ok(()), |first| Err(undeliverable(&bad, first, refused.len())));
                }
                Err(error) if error.kind() == ErrorKind::Transient => {
                    self.status.retries.fetch_add(1, Ordering::Relaxed);
                    if self.condition.waiting(format!("cannot write a dead letter: {error}")) {
                        warn!(pipeline = %self.pipeline, %error, "cannot write a dead letter, trying again");
                    }
                    tokio::time::sleep(backoff.pause()).await;
                }
                Err(error) => {
                    return Err(Error::new(error.kind(), "cannot write a dead letter").caused_by(error));
                }
            }
        }
    }
}

impl Inner {
    fn accept(&mut self, bad: &Bad) -> Result<()> {
        let Some(limit) = self.stop_after else {
            return Ok(());
        };
        let now = Instant::now();
        self.accepted.push_back(now);
        while self.accepted.front().is_some_and(|at| now.duration_since(*at) > limit.window) {
            self.accepted.pop_front();
        }
        if self.accepted.len() as u64 <= limit.records {
            return Ok(());
        }
        let window = aqueduct_api::config::Duration(limit.window);
        Err(Error::bad_record(format!(
            "more than {} bad records in {window}, as errors.stop_after allows; the last one: {}",
            limit.records, bad.error
        ))
        .with("topic", &bad.record.topic)
        .with("partition", bad.record.origin.partition)
        .with("offset", bad.record.origin.offset)
        .with("stage", bad.stage))
    }
}

/// The letters that were refused; the others are durable.
async fn deliver(sink: &mut dyn Sink, batch: &Arc<Batch>) -> Result<Vec<Rejected>> {
    let mut refused = sink.write(batch).await?.rejected;
    if !planted(Bug::DeadLetterBuffered) {
        refused.extend(sink.flush().await?.rejected);
    }
    Ok(refused)
}

/// There is no place left for this record: a new run would meet it again, and write again what was read behind it.
fn undeliverable(bad: &[Bad], refused: &Rejected, count: usize) -> Error {
    let (topic, origin) = (&refused.record.topic, refused.record.origin);
    // A letter has the coordinates of its record.
    let first = bad.iter().find(|bad| (&bad.record.topic, bad.record.origin) == (topic, origin));
    let (why, stage) = first.map_or_else(Default::default, |bad| {
        (format!(": {}", bad.error.without_remedy()), bad.stage.to_string())
    });
    let says = format!(
        "a record does not pass{why}; and its dead letter is refused: {}",
        refused.error.without_remedy()
    );
    let error = Error::bad_record(says)
        .with("topic", topic)
        .with("partition", origin.partition)
        .with("offset", origin.offset)
        .with("stage", stage)
        .remedy(
            "give dead letters a place that takes it: a topic with a larger limit, or `dead_letter: { file: PATH }`; or \
             leave such records behind with errors.on_bad_record: skip",
        );
    if count > 1 { error.with("more", count - 1) } else { error }
}

/// The record as it was, with headers that say where it came from and why it is here.
fn letter(pipeline: &Arc<str>, bad: &Bad) -> Record {
    let origin = bad.record.origin;
    let facts = [
        ("aqueduct.pipeline", pipeline.to_string()),
        ("aqueduct.stage", bad.stage.to_string()),
        ("aqueduct.error", bad.error.to_string()),
        ("aqueduct.topic", bad.record.topic.to_string()),
        ("aqueduct.partition", origin.partition.to_string()),
        ("aqueduct.offset", origin.offset.to_string()),
    ];
    let facts = facts.map(|(name, value)| Header { name: name.into(), value: Some(value.into()) });
    let headers: Headers = bad.record.headers.iter().cloned().chain(facts).collect();
    Record { headers, ..bad.record.clone() }
}

fn refusal(bad: &Bad) -> Error {
    Error::bad_record(format!("a record does not pass: {}", bad.error))
        .with("topic", &bad.record.topic)
        .with("partition", bad.record.origin.partition)
        .with("offset", bad.record.origin.offset)
        .with("stage", bad.stage)
        .remedy("correct it at its source, or set errors.on_bad_record to dead_letter or skip")
}
