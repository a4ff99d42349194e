//! The side of the engine's task.

use std::ops::Deref;
use std::sync::Arc;

use aqueduct_api::{Error, Offsets};

use super::partition::Assignment;
use super::state::{BATCHES_READY_MAX, Batch, Ending, Handoff, Revocation, Signal};

/// What the engine's task may call. The source holds the only one.
pub(crate) struct EngineSide(pub(super) Arc<Handoff>);

/// What a poll gets.
pub(crate) enum Next {
    Signal(Signal),
    Batch(Batch),
}

impl EngineSide {
    /// A poll begins. The engine drains what is revoked before it polls again, so a drain that was under way is over.
    pub(crate) fn begin_poll(&self) {
        let mut state = self.state();
        if state.revocation == Revocation::Draining {
            state.revocation = Revocation::Drained;
            self.wake_threads();
        }
    }

    /// What the poll returns, if there is anything: signals first.
    pub(crate) fn next(&self) -> Option<Next> {
        let mut state = self.state();
        if let Some(signal) = state.signals.pop_front() {
            if matches!(signal, Signal::Revoked(_)) && state.revocation == Revocation::Pending {
                state.revocation = Revocation::Draining;
            }
            return Some(Next::Signal(signal));
        }
        let batch = state.batches.pop_front()?;
        if state.batches.len() == BATCHES_READY_MAX / 2 {
            self.wake_threads();
        }
        Some(Next::Batch(batch))
    }

    /// Returns when there may be something to return from a poll.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// The engine polls what was read of a partition up to `next`. False when that is no further than before, or when the
    /// assignment is over.
    pub(crate) fn advance(&self, from: &Assignment, next: i64) -> bool {
        let mut state = self.state();
        let Some(partition) = state.assigned.get_mut(&from.partition).filter(|it| it.is_read_under(from))
        else {
            return false;
        };
        let moves = Some(next) > partition.polled;
        partition.polled = partition.polled.max(Some(next));
        moves
    }

    /// Everything before these offsets is done. A partition that is not assigned any more is left alone (invariant 9), and no
    /// offset moves back.
    pub(crate) fn release(&self, offsets: &Offsets) -> Result<(), Error> {
        let mut state = self.state();
        for (name, position) in offsets {
            let offset: i64 = position.parse().map_err(|_| {
                Error::fatal("a stored position is not an offset")
                    .with("partition", name)
                    .with("position", position)
            })?;
            if let Some(partition) = state.assigned.get_mut(name) {
                partition.released = partition.released.max(Some(offset));
            }
        }
        Ok(())
    }

    /// What is released was committed before that, by the sink or an offset store.
    pub(crate) fn committed_elsewhere(&self) {
        let mut state = self.state();
        state.assigned.values_mut().for_each(|partition| partition.committed = partition.released);
    }

    /// Ends the threads. The first ending counts.
    pub(crate) fn end(&self, ending: Ending) {
        self.state().ending.get_or_insert(ending);
        self.wake_threads();
    }
}

impl Deref for EngineSide {
    type Target = Handoff;

    fn deref(&self) -> &Handoff {
        &self.0
    }
}
