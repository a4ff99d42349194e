//! Station 8: what the ledger lets go is stored, then released to the source (invariant 4).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_api::{Condition, Error, ErrorKind, OffsetStore, Offsets, Partition, Result};
use aqueduct_ledger::planted::{Bug, planted};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::ack::SharedLedger;
use crate::budget::Limits;
use crate::retry::Backoff;
use crate::status::Status;

pub(crate) struct Commit {
    pub(crate) pipeline: Arc<str>,
    /// None for a source that keeps its own offsets: releasing stores them.
    pub(crate) store: Option<Arc<dyn OffsetStore>>,
    pub(crate) limits: Limits,
    pub(crate) ledger: Arc<SharedLedger>,
    pub(crate) status: Arc<Status>,
    pub(crate) releases: mpsc::Sender<Offsets>,
    /// Closed by the poll station when it reads no more.
    pub(crate) drains: mpsc::Receiver<Drain>,
    /// What is said while offsets cannot be stored.
    pub(crate) condition: Condition,
}

/// The wish to give partitions up, answered when nothing of them is open any more, or when the wait is over.
pub(crate) struct Drain {
    pub(crate) partitions: Vec<Partition>,
    pub(crate) done: oneshot::Sender<()>,
}

impl Commit {
    /// Runs until the poll station reads no more and the ledger is empty.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut reading = true;
        let mut due = Instant::now() + self.limits.commit_interval;
        while reading || !self.ledger.lock().is_quiet() {
            self.ledger.check()?;
            let ledger = Arc::clone(&self.ledger);
            let waiting = ledger.lock().has_committable();
            tokio::select! {
                biased;
                drain = self.drains.recv(), if reading => match drain {
                    Some(drain) => self.drain(drain).await?,
                    None => reading = false,
                },
                () = tokio::time::sleep_until(due), if waiting => {
                    self.store().await?;
                    due = Instant::now() + self.limits.commit_interval;
                }
                () = ledger.changed.notified() => {}
            }
        }
        self.ledger.check()?;
        self.store().await
    }

    async fn drain(&mut self, drain: Drain) -> Result<()> {
        let deadline = Instant::now() + self.limits.drain_timeout;
        while !self.ledger.lock().is_drained(&drain.partitions) && !self.ledger.ack_was_dropped() {
            let ledger = Arc::clone(&self.ledger);
            tokio::select! {
                biased;
                () = ledger.changed.notified() => {}
                () = tokio::time::sleep_until(deadline) => {
                    let partitions = drain.partitions.join(", ");
                    warn!(pipeline = %self.pipeline, partitions, "gave partitions up before all their records were durable; they will be read again");
                    break;
                }
            }
        }
        self.store().await?;
        self.ledger.lock().forget(&drain.partitions);
        // The poll station may have ended meanwhile; then nobody waits for the answer.
        drain.done.send(()).ok();
        Ok(())
    }

    async fn store(&mut self) -> Result<()> {
        let moved = self.ledger.lock().take_committable();
        if moved.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        if planted(Bug::ReleasedBeforeStored) {
            self.release(&moved).await?;
            tokio::task::yield_now().await;
        }
        if let Some(store) = self.store.clone() {
            self.save(store.as_ref(), &moved).await?;
        }
        // Stored first, released second (invariant 4).
        self.release(&moved).await?;
        self.status.committed(begun.elapsed());
        Ok(())
    }

    async fn save(&mut self, store: &dyn OffsetStore, moved: &Offsets) -> Result<()> {
        let mut backoff = Backoff::of_write(1);
        loop {
            match store.save(&self.pipeline, moved).await {
                Err(error) if error.kind() == ErrorKind::Transient => {
                    if self.condition.waiting(error.to_string()) {
                        warn!(pipeline = %self.pipeline, %error, "cannot store offsets, trying again");
                    }
                    self.status.retries.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(backoff.pause()).await;
                }
                other => {
                    if self.condition.clear() {
                        info!(pipeline = %self.pipeline, "offsets are stored again");
                    }
                    return other;
                }
            }
        }
    }

    async fn release(&self, moved: &Offsets) -> Result<()> {
        self.releases.send(moved.clone()).await.map_err(|_| Error::fatal("the source ended early"))
    }
}
