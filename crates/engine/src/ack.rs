//! The acknowledgement of a batch, and its way back from the sink to the source:
//!
//! 1. The sink reports a batch durable: in the answer to a write, a tick or a flush (`Write::report`).
//! 2. The write station acknowledges it ([`Ack::acknowledge`]). A transactional sink commits the batch and its offsets
//!    first (`Transaction::commit`). A batch of which the transforms left nothing comes here as well.
//! 3. A batch whose records went to several lanes has an [`Ack`] in each of them ([`Ack::share`]). When the last one is
//!    gone, the batch is acknowledged in the ledger, and the commit station is notified ([`Shared`]'s `Drop`).
//! 4. The ledger moves the offsets of its partitions up to the first batch that is not acknowledged
//!    (`Ledger::acknowledge`).
//! 5. The commit station takes the offsets that moved, stores them, and sends them to the poll station
//!    (`Commit::store`).
//! 6. The poll station, which owns the source, releases them (`Poll::release_all`).
//!
//! An [`Ack`] ends in one of three ways, and the worst one of its shares counts for the batch ([`End`]). That one which
//! is dropped unused stops the pipeline is decided there and nowhere else.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aqueduct_api::{BatchId, Error, Offsets, Records, Result};
use aqueduct_ledger::Ledger;
use aqueduct_ledger::planted::{Bug, planted};
use tokio::sync::Notify;

/// How an [`Ack`] ended; a later one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum End {
    /// All records are durable, set aside or dropped: offsets may move over the batch.
    Acknowledged,
    /// The pipeline ends in good order without it: its offsets stay, and the next start reads it again.
    GivenBack,
    /// Nobody said what became of the records, so they count as lost, and the pipeline stops (invariant 3).
    Dropped,
}

/// What a batch is acknowledged with once it is done: shared by all that hold records of it.
#[must_use]
#[derive(Debug)]
pub(crate) struct Ack {
    shared: Arc<Shared>,
    end: End,
}

/// What the shares of one batch have in common.
#[derive(Debug)]
struct Shared {
    batch: BatchId,
    ledger: Arc<SharedLedger>,
    /// The worst end of a share so far.
    worst: AtomicU8,
}

impl Ack {
    /// Another share: the batch is acknowledged when all of them are.
    pub(crate) fn share(&self) -> Ack {
        Ack { shared: Arc::clone(&self.shared), end: End::Dropped }
    }

    /// All records behind this share are durable, set aside or dropped.
    pub(crate) fn acknowledge(mut self) {
        self.end = End::Acknowledged;
        if planted(Bug::FirstShareAcknowledges) {
            self.shared.ledger.lock().acknowledge(self.shared.batch);
        }
    }

    /// The pipeline ends in good order without the batch: nobody waits for it, and the next start reads it again.
    pub(crate) fn give_back(mut self) {
        self.hold();
        self.end = End::GivenBack;
    }

    /// The sink was flushed and keeps the batch open on purpose: nobody waits for it any more.
    pub(crate) fn hold(&self) {
        self.shared.ledger.lock().hold(self.shared.batch);
        self.shared.ledger.notify();
    }

    /// The batch it is for.
    pub(crate) fn batch(&self) -> BatchId {
        self.shared.batch
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if self.end == End::Dropped && planted(Bug::DroppedAckAcknowledges) {
            self.end = End::Acknowledged;
        }
        self.shared.worst.fetch_max(self.end as u8, Ordering::AcqRel);
    }
}

/// Runs when the last share is gone.
impl Drop for Shared {
    fn drop(&mut self) {
        let worst = *self.worst.get_mut();
        if worst == End::Acknowledged as u8 {
            self.ledger.lock().acknowledge(self.batch);
        } else if worst == End::Dropped as u8 {
            self.ledger.ack_dropped.store(true, Ordering::Release);
        }
        self.ledger.notify();
    }
}

/// The ledger, shared by the stations of one task, which are notified when it changes.
#[derive(Debug, Default)]
pub(crate) struct SharedLedger {
    ledger: Mutex<Ledger>,
    ack_dropped: AtomicBool,
    /// For the commit station.
    pub(crate) changed: Notify,
    /// For the poll station, when it waits for the ledger to shrink.
    pub(crate) shrunk: Notify,
}

impl SharedLedger {
    /// Enters a batch (invariant 2).
    pub(crate) fn open(
        self: &Arc<Self>,
        batch: BatchId,
        records: &Records,
        resume_at: &Offsets,
    ) -> Result<Ack> {
        self.lock().open(batch, records, resume_at)?;
        Ok(self.ack(batch))
    }

    /// The first share of a batch; it must be entered before.
    pub(crate) fn ack(self: &Arc<Self>, batch: BatchId) -> Ack {
        let worst = AtomicU8::new(End::Acknowledged as u8);
        let shared = Shared { batch, ledger: Arc::clone(self), worst };
        Ack { shared: Arc::new(shared), end: End::Dropped }
    }

    /// The ledger itself; never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an [`Ack`] was dropped unused.
    pub(crate) fn ack_was_dropped(&self) -> bool {
        self.ack_dropped.load(Ordering::Acquire)
    }

    /// An error when an [`Ack`] was dropped unused (invariant 3).
    pub(crate) fn check(&self) -> Result<()> {
        match self.ack_was_dropped() {
            true => Err(Error::bug(
                "a batch was lost inside the pipeline; it starts again from its stored offsets",
            )),
            false => Ok(()),
        }
    }

    fn notify(&self) {
        self.changed.notify_one();
        self.shrunk.notify_one();
    }
}
