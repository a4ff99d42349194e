//! How much may be in memory at once: batches and bytes, taken before a poll, given back when the last handle to the
//! batch is dropped (invariant 8).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_ledger::planted::{Bug, planted};
use tokio::sync::Notify;

/// The bounds of one task.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Records of a batch.
    pub batch_records_max: usize,
    /// Bytes of a batch, unless a single record is larger.
    pub batch_bytes_max: usize,
    /// Batches in memory.
    pub batches_in_flight_max: usize,
    /// Bytes in memory; one batch may overshoot it.
    pub bytes_in_flight_max: usize,
    /// Bytes that the sink may hold in what it writes to over many batches, such as open files.
    pub buffer_max_bytes: usize,
    /// Batches in the ledger: written, but not yet durable. Past this the sink is asked to flush.
    pub batches_unacknowledged_max: usize,
    /// How often offsets are stored while data flows.
    pub commit_interval: Duration,
    /// How long a transaction may stay open, where the sink keeps the offsets: what it adds to the latency at most.
    pub transaction_interval: Duration,
    /// How long a revoked partition may be drained.
    pub drain_timeout: Duration,
    /// How long stopping may take.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_records_max: 2_000,
            batch_bytes_max: 1 << 20,
            batches_in_flight_max: 64,
            bytes_in_flight_max: 32 << 20,
            buffer_max_bytes: 48 << 20,
            batches_unacknowledged_max: 50_000,
            commit_interval: Duration::from_secs(1),
            transaction_interval: Duration::from_millis(200),
            drain_timeout: Duration::from_secs(20),
            stop_timeout: Duration::from_secs(30),
        }
    }
}

/// What is left of the bounds.
#[derive(Debug)]
pub struct Budget {
    batches_max: usize,
    bytes_max: usize,
    batches: AtomicUsize,
    bytes: AtomicUsize,
    freed: Notify,
}

/// One batch's share; dropping it gives the share back.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// Nothing taken yet.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            batches_max: limits.batches_in_flight_max,
            bytes_max: limits.bytes_in_flight_max,
            batches: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Whether another batch may be read.
    pub fn has_room(&self) -> bool {
        planted(Bug::NoPermit)
            || self.batches.load(Ordering::Acquire) < self.batches_max
                && self.bytes.load(Ordering::Acquire) < self.bytes_max
    }

    /// Whether so many batches or bytes are half of it.
    pub fn is_half(&self, batches: usize, bytes: usize) -> bool {
        batches * 2 >= self.batches_max || bytes >= self.bytes_max / 2
    }

    /// Waits for room. Only one station waits, so no wake-up is lost on another.
    pub async fn room(&self) {
        while !self.has_room() {
            self.freed.notified().await;
        }
    }

    /// Takes the share of a batch that was read.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Permit {
        self.batches.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Permit { budget: Arc::clone(self), bytes }
    }

    /// Batches and bytes in memory now.
    pub fn in_use(&self) -> (usize, usize) {
        (self.batches.load(Ordering::Acquire), self.bytes.load(Ordering::Acquire))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.batches.fetch_sub(1, Ordering::AcqRel);
        self.budget.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.freed.notify_one();
    }
}
