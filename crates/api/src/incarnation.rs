//! What positions belong to: a topic that was deleted and made anew counts its offsets from 0 again, and they name other
//! records than before.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The incarnation of each partition, as the source vouches for it: the id of a topic (KIP-516), the ETag of an object.
/// While it stays the same, an offset names the same record for ever. Shared by the ends of one task.
///
/// A source that cannot vouch says nothing; who recognises repeats by their offsets has to compare the records then.
#[derive(Clone, Debug, Default)]
pub struct Incarnations(Arc<RwLock<Known>>);

/// By topic and partition.
type Known = HashMap<(Arc<str>, i32), Arc<str>>;

impl Incarnations {
    /// The offsets of this partition belong to that incarnation from now on. To be said before a record of it is given.
    pub fn set(&self, topic: impl Into<Arc<str>>, partition: i32, incarnation: impl Into<Arc<str>>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert((topic.into(), partition), incarnation.into());
    }

    /// What the source vouches for.
    pub fn of(&self, topic: &Arc<str>, partition: i32) -> Option<Arc<str>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&(Arc::clone(topic), partition)).cloned()
    }
}
