//! How a connector says that it is waiting for something, or is slowed down, without failing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an end of a pipeline is waiting for, if anything. Shown by `/readyz`, in the live table and in the log; a
/// pipeline that waits is not ready, and not failed either.
#[derive(Clone, Debug, Default)]
pub struct Condition(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    waiting: Option<String>,
    slowed: Option<String>,
    standing_by: Option<String>,
}

impl Condition {
    /// Waiting: the sentence says for what, and what to do about it. True when it was not so before.
    pub fn waiting(&self, reason: impl Into<String>) -> bool {
        replace(&mut self.inner().waiting, Some(reason.into()))
    }

    /// All is well again. True when it was not before.
    pub fn clear(&self) -> bool {
        replace(&mut self.inner().waiting, None)
    }

    /// What is being waited for.
    pub fn reason(&self) -> Option<String> {
        self.inner().waiting.clone()
    }

    /// Slowed down from outside, by a quota for example: shown like the above, but records flow and the pipeline stays
    /// ready. `None` when that is over. True when it was not so before.
    pub fn slowed(&self, reason: Option<String>) -> bool {
        replace(&mut self.inner().slowed, reason)
    }

    /// What slows it down.
    pub fn slowed_by(&self) -> Option<String> {
        self.inner().slowed.clone()
    }

    /// It has all it needs, and nothing to do: another member of its group has the work, for example. It is ready, and this is
    /// said beside it. `None` when there is something to do. True when it was not so before.
    pub fn standing_by(&self, reason: Option<String>) -> bool {
        replace(&mut self.inner().standing_by, reason)
    }

    /// Why it stands by.
    pub fn stands_by(&self) -> Option<String> {
        self.inner().standing_by.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn replace(slot: &mut Option<String>, new: Option<String>) -> bool {
    let changed = *slot != new;
    *slot = new;
    changed
}
