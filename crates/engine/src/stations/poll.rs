//! Station 1 and 2: the source gives a batch, it is entered in the ledger, and a share of the budget is taken.
//! This station owns the source, so what comes back to it (releases) is handled here too, between two polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_api::{BatchId, Error, ErrorKind, Offsets, Partition, Polled, Records, Result, Source};
use aqueduct_ledger::planted::{Bug, planted};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::FromPoll;
use super::commit::Drain;
use crate::ack::SharedLedger;
use crate::budget::{Budget, Limits};
use crate::retry::Backoff;
use crate::status::Status;
use crate::stop::Stop;

/// How long one poll may wait: what a release or a stop may have to wait for it.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// How often the lag is asked for.
const LAG_INTERVAL: Duration = Duration::from_secs(1);
/// How long the station waits for room before it asks the sinks to flush what they hold.
const ROOM_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct Poll {
    pub(crate) source: Box<dyn Source>,
    pub(crate) limits: Limits,
    pub(crate) budget: Arc<Budget>,
    pub(crate) ledger: Arc<SharedLedger>,
    pub(crate) status: Arc<Status>,
    pub(crate) stop: Stop,
    pub(crate) out: mpsc::Sender<FromPoll>,
    pub(crate) releases: mpsc::Receiver<Offsets>,
    pub(crate) drains: mpsc::Sender<Drain>,
    /// True while a flush is on its way, so that at most one is.
    pub(crate) flushing: Arc<AtomicBool>,
    /// What this station says of the source; what the source says itself is not ours to take back.
    pub(crate) condition: aqueduct_api::Condition,
}

impl Poll {
    /// Reads until the source ends, a stop is asked for, or a record has stopped the process station; then serves releases until the commit station is done.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut next_batch = 0;
        let mut lag_due = Instant::now();
        let mut trouble: Option<Backoff> = None;
        while !self.stop.requested() && !self.out.is_closed() {
            if Instant::now() >= lag_due {
                self.status.lag(self.source.lag());
                self.source.stored().inspect(|stored| self.status.stored(stored));
                lag_due = Instant::now() + LAG_INTERVAL;
            }
            self.release_all().await?;
            if !self.room().await? {
                continue;
            }
            match self.source.poll(POLL_WAIT).await {
                Ok(Polled::Batch { records, resume_at }) => {
                    self.pass_on(BatchId(next_batch), records, &resume_at).await?;
                    next_batch += 1;
                }
                Ok(Polled::Revoked { partitions }) => self.drain(partitions).await?,
                Ok(Polled::Idle) => {}
                Ok(Polled::End) => break,
                Err(error) if error.kind() == ErrorKind::Transient => {
                    let pause = trouble.get_or_insert_with(|| Backoff::of_write(next_batch)).pause();
                    self.wait_out(&error, pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if trouble.take().is_some() {
                self.condition.clear();
            }
        }
        self.finish().await
    }

    async fn wait_out(&mut self, error: &Error, pause: Duration) {
        self.status.retries.fetch_add(1, Ordering::Relaxed);
        if self.condition.waiting(error.to_string()) {
            tracing::warn!(%error, "source is waiting");
        }
        tokio::select! {
            biased;
            () = self.stop.wait() => {}
            () = self.out.closed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// The wave of stopping starts here: the channel closes behind the last batch.
    async fn finish(self) -> Result<()> {
        let Poll { mut source, out, drains, mut releases, status, .. } = self;
        drop(out);
        drop(drains);
        while let Some(offsets) = releases.recv().await {
            release(source.as_mut(), &offsets, &status).await?;
        }
        source.close().await?;
        source.stored().inspect(|stored| status.stored(stored));
        Ok(())
    }

    async fn pass_on(&mut self, batch: BatchId, records: Records, resume_at: &Offsets) -> Result<()> {
        let sent_first = planted(Bug::SentBeforeOpened);
        let ack = match sent_first {
            true => self.ledger.ack(batch),
            false => self.ledger.open(batch, &records, resume_at)?,
        };
        if records.is_empty() {
            self.send(FromPoll::Empty { ack }).await;
            return Ok(());
        }
        let payload = records.payload_bytes() as u64;
        self.status.read(resume_at, records.len() as u64, payload, records.last_timestamp_us());
        let permit = self.budget.take(records.memory_bytes());
        self.send(FromPoll::Batch { records, ack, permit }).await;
        if sent_first {
            tokio::task::yield_now().await;
            self.ledger.lock().open(batch, &Records::default(), resume_at)?;
        }
        Ok(())
    }

    /// What the process station does not take any more is left for the next start.
    async fn send(&mut self, message: FromPoll) {
        if let Err(mpsc::error::SendError(FromPoll::Batch { ack, .. } | FromPoll::Empty { ack })) =
            self.out.send(message).await
        {
            ack.give_back();
        }
    }

    /// True when another batch may be read. While there is no room, releases go on, and the sinks are asked to make
    /// what they hold durable: a sink may be waiting for records that cannot come (invariant 8).
    async fn room(&mut self) -> Result<bool> {
        let full = |ledger: &SharedLedger, max: usize| ledger.lock().in_flight() >= max;
        if self.budget.has_room() && !full(&self.ledger, self.limits.batches_unacknowledged_max) {
            return Ok(true);
        }
        tokio::select! {
            biased;
            () = self.stop.wait() => return Ok(false),
            () = self.out.closed() => return Ok(false),
            offsets = self.releases.recv() => {
                let Some(offsets) = offsets else { return Err(gone()) };
                release(self.source.as_mut(), &offsets, &self.status).await?;
                return Ok(false);
            }
            () = self.budget.room(), if !self.budget.has_room() => return Ok(false),
            () = self.ledger.shrunk.notified(), if self.budget.has_room() => return Ok(false),
            () = tokio::time::sleep(ROOM_PATIENCE) => {}
        }
        if !self.flushing.swap(true, Ordering::AcqRel) {
            self.send(FromPoll::Flush).await;
        }
        Ok(false)
    }

    /// Everything read of these partitions becomes durable and is released, within the bounded wait; then they are
    /// fenced off (invariant 9). The next poll lets them go.
    async fn drain(&mut self, partitions: Vec<Partition>) -> Result<()> {
        if planted(Bug::RevokedWithoutDrain) {
            self.ledger.lock().forget(&partitions);
            return Ok(());
        }
        self.send(FromPoll::Flush).await;
        let (done, mut drained) = oneshot::channel();
        let request = Drain { partitions: partitions.clone(), done };
        self.drains.send(request).await.map_err(|_| gone())?;
        loop {
            tokio::select! {
                biased;
                offsets = self.releases.recv() => {
                    let Some(offsets) = offsets else { return Err(gone()) };
                    release(self.source.as_mut(), &offsets, &self.status).await?;
                }
                answer = &mut drained => {
                    answer.map_err(|_| gone())?;
                    break;
                }
            }
        }
        self.release_all().await?;
        self.status.forget(&partitions);
        Ok(())
    }

    async fn release_all(&mut self) -> Result<()> {
        while let Ok(offsets) = self.releases.try_recv() {
            release(self.source.as_mut(), &offsets, &self.status).await?;
        }
        Ok(())
    }
}

/// A release that cannot be made now is made with the next one, or at the next start (invariant 6).
async fn release(source: &mut dyn Source, offsets: &Offsets, status: &Status) -> Result<()> {
    match source.release(offsets).await {
        Err(error) if error.kind() == ErrorKind::Transient => {
            tracing::warn!(%error, "offsets are not released yet");
        }
        Err(error) => return Err(error),
        // What the source has not heard of yet counts when it has.
        Ok(()) => status.stored(source.stored().as_ref().unwrap_or(offsets)),
    }
    Ok(())
}

/// Another station ended first; its own error says why.
fn gone() -> Error {
    Error::fatal("a station of the pipeline ended early")
}
