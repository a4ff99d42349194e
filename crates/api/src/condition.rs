//! How a connector says that it is waiting for something, without failing.

use std::sync::{Arc, Mutex, PoisonError};

/// What an end of a pipeline is waiting for, if anything. Shown by `/readyz`, in the live table and in the log; a
/// pipeline that waits is not ready, and not failed either.
#[derive(Clone, Debug, Default)]
pub struct Condition(Arc<Mutex<Option<String>>>);

impl Condition {
    /// Waiting: the sentence says for what, and what to do about it. True when this is news.
    pub fn waiting(&self, reason: impl Into<String>) -> bool {
        let reason = reason.into();
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = slot.as_deref() != Some(&*reason);
        *slot = Some(reason);
        news
    }

    /// All is well again. True when it was not before.
    pub fn clear(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// What is being waited for.
    pub fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
