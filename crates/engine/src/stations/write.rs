//! Station 7: one lane writes, tries again, sets aside what the sink refuses, and acknowledges what is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_api::{Batch, Condition, Durable, Error, ErrorKind, Record, Rejected, Result, Sink, Written};
use aqueduct_ledger::planted::{Bug, planted};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::ToLane;
use super::submitted::{Place, Submitted, acknowledge};
use super::transaction::Transaction;
use crate::ack::Ack;
use crate::retry::Backoff;
use crate::set_aside::{Bad, SetAside, Stage};
use crate::status::Status;

/// How often a sink is asked what became due or durable.
const TICK: Duration = Duration::from_millis(100);

pub(crate) struct Write {
    pub(crate) sink: Box<dyn Sink>,
    /// Notified by the sink when it has something to report.
    pub(crate) wakeup: Arc<Notify>,
    pub(crate) input: mpsc::Receiver<ToLane>,
    /// Taken by the sink and not yet reported, oldest first.
    pub(crate) open: VecDeque<Submitted>,
    pub(crate) set_aside: Arc<SetAside>,
    pub(crate) status: Arc<Status>,
    /// What this lane says of its sink: that a call failed and is tried again. What the sink says of itself is not ours to
    /// take back.
    pub(crate) condition: Condition,
    pub(crate) flushing: Arc<AtomicBool>,
    /// Where the sink keeps the offsets: what it has and has not committed.
    pub(crate) transaction: Option<Transaction>,
    /// The records that the sink has refused and that stop the pipeline: their batches stay unacknowledged.
    pub(crate) refused: Vec<Place>,
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
                () = self.wakeup.notified() => self.tick().await?,
                work = self.input.recv() => match work {
                    Some(ToLane::Batch { ack, .. }) if !self.refused.is_empty() => ack.give_back(),
                    Some(ToLane::Batch { batch, ack }) => {
                        self.write(batch, ack).await?;
                        if self.transaction.as_ref().is_some_and(|it| it.is_full(self.input.is_empty())) {
                            self.flush().await?;
                        }
                    }
                    Some(ToLane::Empty { ack }) => {
                        self.acknowledge(Submitted::empty(ack));
                    }
                    Some(ToLane::Flush) => {
                        self.flushing.store(false, Ordering::Release);
                        self.flush().await?;
                    }
                    None => break,
                },
            }
        }
        if planted(Bug::StoppedWithoutFlush) {
            self.open.drain(..).for_each(|submitted| submitted.ack.acknowledge());
        }
        self.flush().await?;
        self.open.drain(..).for_each(|submitted| submitted.ack.give_back());
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Batch>, ack: Ack) -> Result<()> {
        let mut backoff = Backoff::of_write(batch.id.0);
        let mut held = VecDeque::from([(batch, ack)]);
        while let Some((batch, ack)) = held.pop_front() {
            match self.sink.write(&batch).await {
                Ok(written) => {
                    self.open.push_back(Submitted::of(ack, &batch));
                    if let Some(transaction) = &mut self.transaction {
                        transaction.took(batch.records.memory_bytes());
                    }
                    // The batch goes before its answer is handled: memory is free as soon as the sink lets go.
                    drop(batch);
                    self.report(written).await?;
                    self.recovered();
                }
                Err(_) if planted(Bug::DroppedAckAcknowledges) || planted(Bug::BatchForgotten) => {}
                Err(error) => {
                    // The same batch again, before any later one (invariant 7).
                    held.push_front((batch, ack));
                    if planted(Bug::RetryReorders)
                        && let Ok(ToLane::Batch { batch, ack }) = self.input.try_recv()
                    {
                        held.push_front((batch, ack));
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
        // What the sink keeps open now will not be durable soon: neither a revoke nor a stop waits for it.
        self.open.iter().for_each(|submitted| submitted.ack.hold());
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

    /// Sets aside what was refused, and only then acknowledges what is durable (invariant 1).
    async fn report(&mut self, written: Written) -> Result<()> {
        if !written.rejected.is_empty() && !planted(Bug::RejectedForgotten) {
            self.set_aside(written.rejected).await?;
        }
        match written.durable {
            Durable::All => self.acknowledge_all(),
            Durable::Batches(_) if planted(Bug::CommittedBeforeDurable) => self.acknowledge_all(),
            Durable::Batches(ids) => {
                for id in ids {
                    let at = self.open.binary_search_by_key(&id, |submitted| submitted.ack.batch());
                    if let Some(submitted) = at.ok().and_then(|at| self.open.remove(at)) {
                        self.acknowledge(submitted);
                    }
                }
            }
        }
        Ok(())
    }

    /// A record that stops the pipeline stops it in good order: nothing more is taken, and all that is durable is acknowledged but
    /// for the batches that hold such a record. Else every start would write again what stood before it. What a transaction
    /// holds of those batches must not be committed, so there the whole of it is undone.
    async fn set_aside(&mut self, rejected: Vec<Rejected>) -> Result<()> {
        let place =
            |record: &Record| (Arc::clone(&record.topic), record.origin.partition, record.origin.offset);
        let places: Vec<Place> = rejected.iter().map(|it| place(&it.record)).collect();
        if !self.refused.is_empty() {
            self.refused.extend(places);
            return Ok(());
        }
        let bad = |it: Rejected| Bad { record: it.record, stage: Stage::Write, error: it.error };
        match self.set_aside.put(rejected.into_iter().map(bad).collect()).await {
            Err(error) if error.kind() == ErrorKind::BadRecord && self.transaction.is_none() => {
                self.refused = places;
                self.input.close();
                self.set_aside.stop_with(error);
                Ok(())
            }
            other => other,
        }
    }

    fn acknowledge_all(&mut self) {
        for submitted in std::mem::take(&mut self.open) {
            self.acknowledge(submitted);
        }
    }

    /// A batch is durable, or as good as that where only the commit is missing.
    fn acknowledge(&mut self, submitted: Submitted) {
        if submitted.holds(&self.refused) {
            return submitted.ack.give_back();
        }
        match &mut self.transaction {
            Some(transaction) if !planted(Bug::AcknowledgedBeforeCommit) => transaction.add(submitted),
            _ => acknowledge(&self.status, submitted),
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
