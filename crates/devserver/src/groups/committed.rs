//! The offsets of a group as it holds them.

use std::collections::BTreeMap;

/// Topic and partition.
pub(crate) type PartitionKey = (String, i32);

/// What was committed for one partition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
}

/// The offsets of one group.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    pub(super) committed: BTreeMap<PartitionKey, Committed>,
    /// By producer id: in force once that producer's transaction commits.
    pub(super) pending: BTreeMap<i64, BTreeMap<PartitionKey, Committed>>,
}

impl Offsets {
    pub(super) fn in_transaction(&self) -> bool {
        !self.pending.is_empty()
    }
}
