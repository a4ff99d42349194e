//! The side of the event thread, which serves the group.

use std::ops::Deref;
use std::sync::Arc;

use aqueduct_api::{Error, Partition};

use super::partition::{PartitionState, Stage, name_of};
use super::state::{Ending, Handoff, Revocation, Signal, State};

/// What the event thread may call. The member of the group holds the only one.
pub(crate) struct GroupSide(pub(super) Arc<Handoff>);

impl GroupSide {
    /// Returns when the data thread is in no call of the library, and lets it begin none until `resume`.
    pub(crate) fn pause(&self) {
        let mut state = self.state();
        state.fetch_paused = true;
        while state.fetching {
            state = self.wait(state);
        }
    }

    /// The assignment has been changed.
    pub(crate) fn resume(&self) {
        self.state().fetch_paused = false;
        self.wake_threads();
    }

    /// A partition is assigned; `committed` is the offset that is stored for it.
    pub(crate) fn assign(&self, topic: &str, partition: i32, committed: Option<i64>) {
        let mut state = self.state();
        state.last_assignment += 1;
        let assigned = PartitionState::new(topic, partition, state.last_assignment, committed);
        state.assigned.insert(name_of(topic, partition), assigned);
    }

    /// Nothing is stored for this partition yet, and it begins at `offset`: that is committed like a release, or `polled`
    /// first, as a position without records, where the sink or an offset store stores it.
    pub(crate) fn start_at(&self, topic: &str, partition: i32, offset: i64, polled: bool) {
        let mut state = self.state();
        let name = name_of(topic, partition);
        let Some(partition) = state.assigned.get_mut(&name) else { return };
        partition.fetched = Some(offset);
        if polled {
            state.signals.push_back(Signal::StartsAt(name, offset));
            self.wake_poll();
        } else {
            partition.released = Some(offset);
            partition.committed = None;
        }
    }

    /// All that is committed is committed once more.
    pub(crate) fn recommit(&self) {
        self.state().assigned.values_mut().for_each(|partition| partition.recommit = true);
    }

    /// The offset that is committed for this partition, as far as it is known.
    pub(crate) fn committed_of(&self, name: &Partition) -> Option<i64> {
        self.state().assigned.get(name)?.committed
    }

    /// Whether something is released and not committed among the partitions that are being revoked, or among all.
    pub(crate) fn has_uncommitted(&self, of_all: bool) -> bool {
        let state = self.state();
        let mut partitions = state.assigned.values();
        partitions.any(|it| (of_all || it.stage == Stage::Revoking) && it.released > it.committed)
    }

    /// Nothing more of these is polled, and the next poll returns that they are revoked. They are given up after a drain.
    pub(crate) fn revoke(&self, names: &[Partition]) {
        self.take_away(names, Revocation::Pending, |state, name| {
            if let Some(partition) = state.assigned.get_mut(name) {
                partition.stage = Stage::Revoking;
            }
        });
    }

    /// The same for partitions that are lost: they are removed at once, with nothing to drain or to commit.
    pub(crate) fn lose(&self, names: &[Partition]) {
        self.take_away(names, Revocation::None, |state, name| drop(state.assigned.remove(name)));
    }

    fn take_away(&self, names: &[Partition], revocation: Revocation, each: fn(&mut State, &Partition)) {
        let mut state = self.state();
        names.iter().for_each(|name| each(&mut state, name));
        state.batches.retain(|batch| !names.contains(&batch.from.partition));
        state.revocation = revocation;
        state.signals.push_back(Signal::Revoked(names.to_vec()));
        drop(state);
        self.wake_threads();
        self.wake_poll();
    }

    /// Whether the engine has drained what is revoked, or has ended with all of it done.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.state();
        state.revocation == Revocation::Drained || state.ending == Some(Ending::Leave)
    }

    /// Whether there is nothing more to wait for: the engine has drained what is revoked, or will never poll again.
    pub(crate) fn is_drain_over(&self) -> bool {
        let state = self.state();
        state.revocation == Revocation::Drained || state.ending.is_some()
    }

    /// These are given up, and the revocation is over. A release that comes later is ignored.
    pub(crate) fn give_up(&self, names: &[Partition]) {
        let mut state = self.state();
        state.revocation = Revocation::None;
        for name in names {
            state.assigned.remove(name);
        }
    }

    /// The source fails because partitions were lost: nothing that was read of them may be committed any more.
    pub(crate) fn fail_lost(&self, error: Error) {
        self.state().lost = true;
        self.fail(error);
    }

    /// How the source ends, if it does.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.state().ending
    }
}

impl Deref for GroupSide {
    type Target = Handoff;

    fn deref(&self) -> &Handoff {
        &self.0
    }
}
