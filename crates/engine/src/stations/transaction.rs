//! Exactly once, at the end of station 7: the sink commits what it was given together with the offsets behind it, and only
//! then are the batches acknowledged (invariant 10).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{BatchId, Error, Ownership, Result, Sink};
use aqueduct_ledger::planted::{Bug, planted};
use tokio::time::Instant;

use super::submitted::{Submitted, acknowledge};
use crate::ack::SharedLedger;
use crate::budget::Budget;
use crate::status::Status;

/// What the transactional sink of a task has and has not committed.
pub(crate) struct Transaction {
    ledger: Arc<SharedLedger>,
    budget: Arc<Budget>,
    interval: Duration,
    /// Shows that the source still owns what it gave.
    ownership: Option<Arc<dyn Ownership>>,
    /// Ready, and nothing without the commit.
    ready: Vec<Submitted>,
    /// When the first batch came that is not committed.
    since: Option<Instant>,
    /// Batches and bytes that the sink holds.
    held: (usize, usize),
}

impl Transaction {
    pub(crate) fn new(
        ledger: &Arc<SharedLedger>,
        budget: &Arc<Budget>,
        interval: Duration,
        ownership: Option<Arc<dyn Ownership>>,
    ) -> Self {
        let (ledger, budget) = (Arc::clone(ledger), Arc::clone(budget));
        Self { ledger, budget, interval, ownership, ready: Vec::new(), since: None, held: (0, 0) }
    }

    /// The sink has taken a batch of so many bytes, and holds it until the commit.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.since.get_or_insert_with(Instant::now);
        self.held = (self.held.0 + 1, self.held.1 + bytes);
    }

    /// Whether to commit before it is due: it holds half of the budget, so that the stations before have the other half
    /// meanwhile; or all that there is, so that no more can come.
    pub(crate) fn is_full(&self, nothing_waits: bool) -> bool {
        let (batches, bytes) = self.held;
        batches > 0 && (self.budget.is_half(batches, bytes) || nothing_waits && !self.budget.has_room())
    }

    /// A batch is ready to be committed.
    pub(crate) fn add(&mut self, submitted: Submitted) {
        self.since.get_or_insert_with(Instant::now);
        self.ready.push(submitted);
    }

    /// When the next commit is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.interval)
    }

    /// Commits everything that is ready, and acknowledges it.
    pub(crate) async fn commit(&mut self, sink: &mut dyn Sink, status: &Status) -> Result<()> {
        if self.ready.is_empty() {
            self.since = None;
            return Ok(());
        }
        // What came behind a batch whose `Ack` was dropped would be durable ahead of the offsets, and be written again (invariant 3).
        self.ledger.check()?;
        // The proof comes first: if partitions change hands between the two, the server refuses it.
        let ownership = self.ownership.as_ref().filter(|_| !planted(Bug::OwnershipNotShown));
        let proof = ownership.map(|ownership| ownership.proof()).transpose()?;
        let ready: HashSet<BatchId> = self.ready.iter().map(|submitted| submitted.ack.batch()).collect();
        let mut offsets = self.ledger.lock().moved_by(&ready).ok_or_else(given_up)?;
        if planted(Bug::CommittedWithoutOffsets) {
            offsets.clear();
        }
        let sink = sink.transactional().ok_or_else(|| Error::bug("the sink keeps no offsets any more"))?;
        sink.commit(&offsets, proof).await?;
        let open_ms = self.since.map_or(0, |since| since.elapsed().as_millis() as u64);
        tracing::debug!(batches = self.ready.len(), bytes = self.held.1, open_ms, "committed a transaction");
        (self.since, self.held) = (None, (0, 0));
        self.ready.drain(..).for_each(|submitted| acknowledge(status, submitted));
        Ok(())
    }
}

fn given_up() -> Error {
    Error::fatal(
        "partitions were given up before what was read of them could be committed: the transaction is undone",
    )
    .remedy("the pipeline starts again from its stored offsets; see what the sink waited for")
}
