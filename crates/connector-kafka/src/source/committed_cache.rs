//! The offsets that this process has seen committed, so that a group that had offsets and has none is not taken for a new one.
//! They outlive a source: a pipeline that failed is opened anew in the same process.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aqueduct_api::Partition;

/// Brokers and group.
type GroupKey = (String, String);

/// An offset, and the id of the topic that it belongs to.
type Committed = (i64, Option<Arc<str>>);

static COMMITTED: LazyLock<Mutex<HashMap<GroupKey, HashMap<Partition, Committed>>>> =
    LazyLock::new(Mutex::default);

/// The group has this offset for the partition.
pub(crate) fn put(brokers: &str, group: &str, name: Partition, offset: i64, id: Option<Arc<str>>) {
    let mut committed = COMMITTED.lock().unwrap_or_else(PoisonError::into_inner);
    committed.entry((brokers.to_owned(), group.to_owned())).or_default().insert(name, (offset, id));
}

/// What the group had for the partition.
pub(crate) fn get(brokers: &str, group: &str, name: &Partition) -> Option<Committed> {
    let committed = COMMITTED.lock().unwrap_or_else(PoisonError::into_inner);
    committed.get(&(brokers.to_owned(), group.to_owned()))?.get(name).cloned()
}
