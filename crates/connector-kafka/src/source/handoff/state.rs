//! What the lock of the handoff protects, and the calls that every thread may make.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::{Error, Partition, Records};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::partition::{Assignment, Commit, PartitionState};

/// Batches that wait for a poll; beyond that the data thread waits until half of them are taken.
pub(super) const BATCHES_READY_MAX: usize = 4;

/// The state that the three sides share. Its own methods may be called by any thread.
#[derive(Default)]
pub(crate) struct Handoff {
    state: Mutex<State>,
    /// Wakes the event thread and the data thread.
    changed: Condvar,
    /// Wakes a poll that waits.
    pub(super) ready: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) assigned: HashMap<Partition, PartitionState>,
    pub(super) last_assignment: u64,
    pub(super) batches: VecDeque<Batch>,
    pub(super) signals: VecDeque<Signal>,
    pub(super) revocation: Revocation,
    /// The assignment is being changed: the data thread may not begin a call of the library.
    pub(super) fetch_paused: bool,
    /// The data thread is in a call of the library.
    pub(super) fetching: bool,
    pub(super) ending: Option<Ending>,
    /// Partitions were lost: taken away without a chance to drain them.
    pub(super) lost: bool,
    pub(super) committing: Vec<Commit>,
    pub(super) commit_again_at: Option<Instant>,
}

/// How far the revocation that is under way has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Revocation {
    /// None is under way.
    #[default]
    None,
    /// The engine has not polled the signal yet.
    Pending,
    /// The engine has polled the signal, and drains.
    Draining,
    /// The engine has polled again: the partitions may be given up (invariant 9).
    Drained,
}

/// A batch of one partition.
pub(crate) struct Batch {
    /// The assignment under which it was read.
    pub(crate) from: Assignment,
    /// Its records, in offset order.
    pub(crate) records: Records,
    /// The offset after the last.
    pub(crate) next: i64,
}

/// What a poll returns before any batch.
pub(crate) enum Signal {
    /// These are revoked, and to be drained.
    Revoked(Vec<Partition>),
    /// This partition begins at this offset, which is to be stored before anything of it is read.
    StartsAt(Partition, i64),
    /// The source failed.
    Failed(Error),
}

/// How the source ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In good order: what was released is committed.
    Leave,
    /// As a crash would: nothing is committed.
    Abandon,
}

impl Handoff {
    /// The source failed; the next poll returns this error.
    pub(crate) fn fail(&self, error: Error) {
        self.state().signals.push_back(Signal::Failed(error));
        self.wake_poll();
    }

    /// A copy of all partitions that are assigned.
    pub(crate) fn assigned(&self) -> Vec<(Partition, PartitionState)> {
        self.state().assigned.iter().map(|(name, partition)| (name.clone(), partition.clone())).collect()
    }

    /// Whether partitions were lost.
    pub(crate) fn has_lost_partitions(&self) -> bool {
        self.state().lost
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for another thread to change something, a second at most.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (state, _) =
            self.changed.wait_timeout(state, Duration::from_secs(1)).unwrap_or_else(PoisonError::into_inner);
        state
    }

    pub(super) fn wake_threads(&self) {
        self.changed.notify_all();
    }

    pub(super) fn wake_poll(&self) {
        self.ready.notify_one();
    }
}

impl State {
    /// Whether this assignment still lasts, and its partition is not being revoked.
    pub(super) fn is_current(&self, assignment: &Assignment) -> bool {
        self.assigned.get(&assignment.partition).is_some_and(|partition| partition.is_read_under(assignment))
    }
}
