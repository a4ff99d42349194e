//! The side of the data thread, which takes what librdkafka has fetched.

use std::ops::Deref;
use std::sync::Arc;

use aqueduct_api::Partition;

use super::partition::{Assignment, Stage};
use super::state::{BATCHES_READY_MAX, Batch, Handoff};

/// That many batches wait before a poll that waits is woken, unless no more is there to be read: each wake-up is a switch of
/// threads, or of two, which costs more than to pass a batch on.
const BATCHES_WAKE: usize = 3;

/// What the data thread may call. It holds the only one.
pub(crate) struct FetchSide(pub(super) Arc<Handoff>);

impl FetchSide {
    /// Before a call of the library: waits while the assignment is being changed. False when the source ends.
    pub(crate) fn begin_fetch(&self) -> bool {
        let mut state = self.state();
        while state.fetch_paused && state.ending.is_none() {
            self.flush();
            state = self.wait(state);
        }
        state.fetching = state.ending.is_none();
        state.fetching
    }

    /// Behind the call: says under which assignments these partitions were read, if any. One lock for both: in between no
    /// partition can be taken away and assigned again.
    pub(crate) fn end_fetch(&self, names: impl Iterator<Item = Partition>) -> Vec<Option<Assignment>> {
        let mut state = self.state();
        state.fetching = false;
        self.wake_threads();
        names
            .map(|name| {
                let partition = state.assigned.get(&name).filter(|it| it.stage == Stage::Reading)?;
                Some(Assignment { id: partition.assignment, partition: name })
            })
            .collect()
    }

    /// Queues a batch for the next poll, and waits for room. What was read under an assignment that is over is dropped:
    /// nothing of it was released, so whoever has the partition now reads it again. A position without records that is no
    /// further than what was fetched before is dropped, too. Before the thread waits for records, it has to `flush`.
    pub(crate) fn push(&self, batch: Batch) {
        let mut state = self.state();
        while state.batches.len() >= BATCHES_READY_MAX
            && state.ending.is_none()
            && state.is_current(&batch.from)
        {
            state = self.wait(state);
        }
        if state.ending.is_some() {
            return;
        }
        if let Some(partition) =
            state.assigned.get_mut(&batch.from.partition).filter(|it| it.is_read_under(&batch.from))
            && (!batch.records.is_empty() || Some(batch.next) > partition.fetched)
        {
            partition.fetched = Some(batch.next);
            state.batches.push_back(batch);
            if state.batches.len() >= BATCHES_WAKE {
                drop(state);
                self.wake_poll();
            }
        }
    }

    /// Wakes a poll that waits, for what was pushed.
    pub(crate) fn flush(&self) {
        self.wake_poll();
    }
}

impl Deref for FetchSide {
    type Target = Handoff;

    fn deref(&self) -> &Handoff {
        &self.0
    }
}
