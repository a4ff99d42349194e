//! Where a source stands, and how somebody moves it on purpose, for `aqueduct offsets`.

use async_trait::async_trait;

use crate::error::Result;
use crate::offsets::{Offsets, Partition, Position};

/// Shows and moves the stored positions of one pipeline. Nothing is read from the source meanwhile.
#[async_trait]
pub trait OffsetAdmin: Send {
    /// Where each partition stands.
    async fn list(&mut self) -> Result<Vec<PartitionOffsets>>;

    /// The position that a target means in this partition, kept within what exists there.
    async fn resolve(&mut self, partition: &Partition, target: &OffsetSpec) -> Result<Position>;

    /// Stores these positions, all or none. Refused, with who is at it, while the pipeline runs anywhere.
    async fn store(&mut self, moved: &Offsets) -> Result<()>;
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// Which.
    pub partition: Partition,
    /// What is stored, if anything.
    pub stored: Option<Position>,
    /// The oldest position that can still be read.
    pub first: Option<Position>,
    /// The position after the newest record.
    pub end: Option<Position>,
    /// Records between what is stored and the end, as far as it can be told.
    pub lag_records: Option<i64>,
}

/// Where to move to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The oldest record that is there.
    Earliest,
    /// The end: what is there already is skipped.
    Latest,
    /// The first record of that time or later, in milliseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// That many records on from what is stored, or back.
    By(i64),
    /// This very position.
    At(Position),
}
