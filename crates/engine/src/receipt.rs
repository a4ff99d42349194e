//! The duty to settle a batch, and the book in which it is entered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aqueduct_api::{BatchId, Offsets, Records, Result};
use aqueduct_ledger::Ledger;
use aqueduct_ledger::planted::{Bug, planted};
use tokio::sync::Notify;

/// The ledger, shared by the stations of one task, and the bell that rings when it changes.
#[derive(Debug, Default)]
pub(crate) struct Book {
    ledger: Mutex<Ledger>,
    lost: AtomicBool,
    /// Rings for the commit station.
    pub(crate) changed: Notify,
    /// Rings for the poll station when it waits for the ledger to shrink.
    pub(crate) shrunk: Notify,
}

impl Book {
    /// Enters a batch and hands out its receipt (invariant 2).
    pub(crate) fn open(
        self: &Arc<Self>,
        batch: BatchId,
        records: &Records,
        resume_at: &Offsets,
    ) -> Result<Receipt> {
        self.ledger().open(batch, records, resume_at)?;
        Ok(self.receipt(batch))
    }

    /// A receipt for a batch; it must be entered before.
    pub(crate) fn receipt(self: &Arc<Self>, batch: BatchId) -> Receipt {
        let (unsettled, forgone) = (AtomicBool::new(false), AtomicBool::new(false));
        let duty = Duty { batch, book: Arc::clone(self), unsettled, forgone };
        Receipt { duty: Arc::new(duty), settled: false }
    }

    /// The ledger itself; never held across an await.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a receipt was dropped unsettled: the pipeline must stop (invariant 3).
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn ring(&self) {
        self.changed.notify_one();
        self.shrunk.notify_one();
    }
}

/// One share of the duty to settle a batch. Dropping it unsettled means that records are lost (invariant 3).
#[must_use]
#[derive(Debug)]
pub(crate) struct Receipt {
    duty: Arc<Duty>,
    settled: bool,
}

#[derive(Debug)]
struct Duty {
    batch: BatchId,
    book: Arc<Book>,
    unsettled: AtomicBool,
    forgone: AtomicBool,
}

impl Receipt {
    /// Another share: the batch settles when all shares are settled.
    pub(crate) fn share(&self) -> Receipt {
        Receipt { duty: Arc::clone(&self.duty), settled: false }
    }

    /// All records behind this share are durable, set aside or dropped.
    pub(crate) fn settle(mut self) {
        self.settled = true;
        if planted(Bug::FirstShareSettles) {
            self.duty.book.ledger().settle(self.duty.batch);
        }
    }

    /// The sink was flushed and keeps the batch open on purpose: nobody waits for it any more.
    pub(crate) fn hold(&self) {
        self.duty.book.ledger().hold(self.duty.batch);
        self.duty.book.ring();
    }

    /// The pipeline ends in good order while the sink keeps the batch open: its offsets stay, it is read again.
    pub(crate) fn forgo(mut self) {
        self.settled = true;
        self.duty.forgone.store(true, Ordering::Release);
    }

    /// The pipeline ends in good order in front of the batch: nobody waits for it, and it is read again.
    pub(crate) fn leave(self) {
        self.hold();
        self.forgo();
    }

    /// The batch it is for.
    pub(crate) fn batch(&self) -> BatchId {
        self.duty.batch
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.settled && !planted(Bug::LostReceiptSettles) {
            self.duty.unsettled.store(true, Ordering::Release);
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if self.unsettled.load(Ordering::Acquire) {
            self.book.lost.store(true, Ordering::Release);
        } else if !self.forgone.load(Ordering::Acquire) {
            self.book.ledger().settle(self.batch);
        }
        self.book.ring();
    }
}
