//! The side of the data thread.

use aqueduct_api::Partition;

use super::{BATCHES_READY_MAX, BATCHES_TOLD, Batch, Handoff, Ownership};

impl Handoff {
    /// Waits while ownership is being changed. False when the source ends.
    pub(crate) fn begin_read(&self) -> bool {
        let mut state = self.state();
        while state.paused && state.ending.is_none() {
            self.tell();
            state = self.wait(state);
        }
        state.reading = state.ending.is_none();
        state.reading
    }

    /// A call is over; says which of the partitions it read are owned. Asked in the same breath: between the
    /// call and the question nothing could be taken away and given back.
    pub(crate) fn end_read(&self, names: impl Iterator<Item = Partition>) -> Vec<Option<Ownership>> {
        let mut state = self.state();
        state.reading = false;
        self.changed.notify_all();
        names
            .map(|name| {
                let owned = state.owned.get(&name).filter(|owned| !owned.leaving)?;
                Some(Ownership { number: owned.ownership, name })
            })
            .collect()
    }

    /// Gives a batch to the next poll, and waits for room. What was read under an ownership that is over is
    /// dropped: nothing of it was released, so whoever owns the partition now reads it again. A poll that waits is
    /// told when there are some; before the thread waits for records, it has to `tell`. A position without records that
    /// is no further than what was read before is no news.
    pub(crate) fn push(&self, batch: Batch) {
        let mut state = self.state();
        while state.batches.len() >= BATCHES_READY_MAX && state.ending.is_none() && state.holds(&batch.from) {
            state = self.wait(state);
        }
        if state.ending.is_some() || !state.holds(&batch.from) {
            return;
        }
        if let Some(owned) = state.owned.get_mut(&batch.from.name)
            && (!batch.records.is_empty() || Some(batch.next) > owned.read)
        {
            owned.read = Some(batch.next);
            state.batches.push_back(batch);
            if state.batches.len() >= BATCHES_TOLD {
                drop(state);
                self.tell();
            }
        }
    }

    /// Tells a poll that waits of what was pushed.
    pub(crate) fn tell(&self) {
        self.ready.notify_one();
    }
}
