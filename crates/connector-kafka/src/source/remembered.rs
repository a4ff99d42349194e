//! What this process has seen committed, so that a group that had offsets and has none is not taken for a new one. It
//! outlives a source: a pipeline that failed is opened anew in the same process.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aqueduct_api::Partition;

/// Brokers and group.
type Owner = (String, String);

/// An offset, and the id of the topic that it belongs to.
type Seen = (i64, Option<Arc<str>>);

static SEEN: LazyLock<Mutex<HashMap<Owner, HashMap<Partition, Seen>>>> = LazyLock::new(Mutex::default);

/// The group has this offset for the partition.
pub(crate) fn remember(brokers: &str, group: &str, name: Partition, offset: i64, id: Option<Arc<str>>) {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.entry((brokers.to_owned(), group.to_owned())).or_default().insert(name, (offset, id));
}

/// What the group had for the partition.
pub(crate) fn recall(brokers: &str, group: &str, name: &Partition) -> Option<Seen> {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.get(&(brokers.to_owned(), group.to_owned()))?.get(name).cloned()
}
