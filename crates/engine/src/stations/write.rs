//! Station 7: one lane writes, tries again, sets aside what the sink refuses, and settles what is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_api::{Batch, Condition, Durable, Error, ErrorKind, Result, Sink, Written};
use aqueduct_ledger::planted::{Bug, planted};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::Work;
use super::transaction::Transaction;
use crate::receipt::Receipt;
use crate::retry::Backoff;
use crate::set_aside::{Bad, SetAside, Stage};
use crate::status::Status;

/// How often a sink is asked what became due or durable.
const TICK: Duration = Duration::from_millis(100);

pub(crate) struct Write {
    pub(crate) sink: Box<dyn Sink>,
    /// Rung by the sink when it has something to report.
    pub(crate) news: Arc<Notify>,
    pub(crate) input: mpsc::Receiver<Work>,
    /// Taken by the sink and not yet reported, oldest first.
    pub(crate) open: VecDeque<Taken>,
    pub(crate) set_aside: Arc<SetAside>,
    pub(crate) status: Arc<Status>,
    /// What this lane says of its sink: that a call failed and is tried again. What the sink says of itself is not ours to
    /// take back.
    pub(crate) condition: Condition,
    pub(crate) flushing: Arc<AtomicBool>,
    /// Where the sink keeps the offsets: what it has and has not committed.
    pub(crate) transaction: Option<Transaction>,
}

/// A batch that the sink has taken.
pub(crate) struct Taken {
    pub(crate) receipt: Receipt,
    pub(crate) records: u64,
}

impl Write {
    /// Runs until its channel closes, then makes everything durable.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.transaction.as_ref().and_then(Transaction::due);
            tokio::select! {
                biased;
                () = at(due), if due.is_some() => self.flush().await?,
                _ = tick.tick() => self.tick().await?,
                // Without it the budget would be given back by the tick alone, so many bytes each.
                () = self.news.notified() => self.tick().await?,
                work = self.input.recv() => match work {
                    Some(Work::Batch { batch, receipt }) => {
                        self.write(batch, receipt).await?;
                        if self.transaction.as_ref().is_some_and(|it| it.is_full(self.input.is_empty())) {
                            self.flush().await?;
                        }
                    }
                    Some(Work::Passed { receipt }) => self.land(Taken { receipt, records: 0 }),
                    Some(Work::Flush) => {
                        self.flushing.store(false, Ordering::Release);
                        self.flush().await?;
                    }
                    None => break,
                },
            }
        }
        if planted(Bug::StoppedWithoutFlush) {
            self.open.drain(..).for_each(|taken| taken.receipt.settle());
        }
        self.flush().await?;
        self.open.drain(..).for_each(|taken| taken.receipt.forgo());
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Batch>, receipt: Receipt) -> Result<()> {
        let mut backoff = Backoff::of_write(batch.id.0);
        let mut held = VecDeque::from([(batch, receipt)]);
        while let Some((batch, receipt)) = held.pop_front() {
            match self.sink.write(&batch).await {
                Ok(written) => {
                    self.open.push_back(Taken { receipt, records: batch.records.len() as u64 });
                    if let Some(transaction) = &mut self.transaction {
                        transaction.took(batch.records.memory_bytes());
                    }
                    // The batch goes before its answer is handled: memory is free as soon as the sink lets go.
                    drop(batch);
                    self.report(written).await?;
                    self.recovered();
                }
                Err(_) if planted(Bug::LostReceiptSettles) || planted(Bug::BatchForgotten) => {}
                Err(error) => {
                    // The same batch again, before any later one (invariant 7).
                    held.push_front((batch, receipt));
                    if planted(Bug::RetryReorders)
                        && let Ok(Work::Batch { batch, receipt }) = self.input.try_recv()
                    {
                        held.push_front((batch, receipt));
                    }
                    self.pause(error, &mut backoff).await?;
                }
            }
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<()> {
        match self.sink.tick().await {
            Ok(written) => {
                self.recovered();
                self.report(written).await
            }
            Err(error) if error.kind() == ErrorKind::Transient => {
                self.waiting(&error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let mut backoff = Backoff::of_write(0);
        while let Err(error) = self.make_durable().await {
            self.pause(error, &mut backoff).await?;
        }
        self.recovered();
        // What the sink keeps open now will not settle soon: neither a revoke nor a stop waits for it.
        self.open.iter().for_each(|taken| taken.receipt.hold());
        Ok(())
    }

    async fn make_durable(&mut self) -> Result<()> {
        let written = self.sink.flush().await?;
        self.report(written).await?;
        match &mut self.transaction {
            None => Ok(()),
            Some(transaction) => transaction.commit(self.sink.as_mut(), &self.status).await,
        }
    }

    /// Sets aside what was refused, and only then settles what is durable (invariant 1).
    async fn report(&mut self, written: Written) -> Result<()> {
        if !written.rejected.is_empty() && !planted(Bug::RejectedForgotten) {
            let bad = written.rejected.into_iter();
            let bad = bad.map(|it| Bad { record: it.record, stage: Stage::Write, error: it.error });
            self.set_aside.put(bad.collect()).await?;
        }
        match written.durable {
            Durable::All => self.land_all(),
            Durable::Batches(_) if planted(Bug::CommittedBeforeDurable) => self.land_all(),
            Durable::Batches(ids) => {
                for id in ids {
                    let at = self.open.binary_search_by_key(&id, |taken| taken.receipt.batch());
                    if let Some(taken) = at.ok().and_then(|at| self.open.remove(at)) {
                        self.land(taken);
                    }
                }
            }
        }
        Ok(())
    }

    fn land_all(&mut self) {
        for taken in std::mem::take(&mut self.open) {
            self.land(taken);
        }
    }

    /// A batch is durable, or as good as that where only the commit is missing.
    fn land(&mut self, taken: Taken) {
        match &mut self.transaction {
            Some(transaction) if !planted(Bug::SettledBeforeCommit) => transaction.add(taken),
            _ => settle(&self.status, taken),
        }
    }

    async fn pause(&mut self, error: Error, backoff: &mut Backoff) -> Result<()> {
        if error.kind() != ErrorKind::Transient {
            return Err(error);
        }
        self.status.retries.fetch_add(1, Ordering::Relaxed);
        self.waiting(&error);
        tokio::time::sleep(backoff.pause()).await;
        Ok(())
    }

    fn waiting(&mut self, error: &Error) {
        if self.condition.waiting(error.to_string()) {
            warn!(%error, "sink is waiting");
        }
    }

    fn recovered(&mut self) {
        if self.condition.clear() {
            info!("sink goes on");
        }
    }
}

async fn at(moment: Option<Instant>) {
    if let Some(moment) = moment {
        tokio::time::sleep_until(moment).await;
    }
}

pub(super) fn settle(status: &Status, taken: Taken) {
    status.records_written.fetch_add(taken.records, Ordering::Relaxed);
    taken.receipt.settle();
}
