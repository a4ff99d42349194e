//! What this process has seen committed, so that a group that had offsets and has none is not taken for a new one. It
//! outlives a source: a pipeline that failed is opened anew in the same process.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use aqueduct_api::Partition;

/// Brokers and group.
type Owner = (String, String);

static SEEN: LazyLock<Mutex<HashMap<Owner, HashMap<Partition, i64>>>> = LazyLock::new(Mutex::default);

/// The group has this offset for the partition.
pub(crate) fn remember(brokers: &str, group: &str, name: Partition, offset: i64) {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.entry((brokers.to_owned(), group.to_owned())).or_default().insert(name, offset);
}

/// What the group had for the partition.
pub(crate) fn recall(brokers: &str, group: &str, name: &Partition) -> Option<i64> {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.get(&(brokers.to_owned(), group.to_owned()))?.get(name).copied()
}
