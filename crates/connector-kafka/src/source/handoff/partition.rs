//! One assigned partition: its stage and its offsets.

use aqueduct_api::Partition;

/// The name of a partition in offsets.
pub(crate) fn name_of(topic: &str, partition: i32) -> Partition {
    format!("{topic}/{partition}").into()
}

/// One assignment of a partition to this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The partition's name in offsets: `topic/3`.
    pub(crate) partition: Partition,
    pub(super) id: u64,
}

/// A partition that is assigned.
#[derive(Clone, Debug)]
pub(crate) struct PartitionState {
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
    /// Differs each time the partition is assigned, so that what was read under an earlier assignment is recognised.
    pub(super) assignment: u64,
    pub(super) stage: Stage,
    /// The offset behind what was fetched, and behind what the engine has polled.
    pub(super) fetched: Option<i64>,
    pub(super) polled: Option<i64>,
    /// The highest offset that may be committed, and the highest that is.
    pub(super) released: Option<i64>,
    pub(super) committed: Option<i64>,
    /// To be committed once more although nothing has moved.
    pub(super) recommit: bool,
}

/// Where a partition stands between its assignment and the moment when it is given up. One that is given up, or lost, has no
/// entry any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is read.
    Reading,
    /// It is about to be given up: nothing more of it is polled; what was polled may still be released and committed.
    Revoking,
}

impl PartitionState {
    /// Just assigned; `committed` is the offset that is stored for it.
    pub(super) fn new(topic: &str, partition: i32, assignment: u64, committed: Option<i64>) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            assignment,
            stage: Stage::Reading,
            fetched: committed,
            polled: None,
            released: committed,
            committed,
            recommit: false,
        }
    }

    /// Whether it is read, under this assignment.
    pub(super) fn is_read_under(&self, assignment: &Assignment) -> bool {
        self.assignment == assignment.id && self.stage == Stage::Reading
    }

    /// The offset of the next record to poll, as far as it is known.
    pub(crate) fn position(&self) -> Option<i64> {
        self.polled.or(self.released)
    }

    /// The offset that is stored, as far as it is known.
    pub(crate) fn committed(&self) -> Option<i64> {
        self.committed
    }
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(super) from: Assignment,
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
    /// The next offset to read.
    pub(crate) offset: i64,
}
