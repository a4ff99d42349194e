//! Where a source resumes: opaque positions per partition, and where they are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;

/// A part of a source with an order of its own: `orders/3`, a slot, a file.
pub type Partition = Arc<str>;

/// Where to resume inside a partition. Only the source can read it: the engine compares no two of them, it knows the
/// order in which it met them.
pub type Position = Arc<str>;

/// Positions by partition. A partition that is not named is not moved.
pub type Offsets = BTreeMap<Partition, Position>;

/// Keeps offsets for sources that have no place of their own.
#[async_trait]
pub trait OffsetStore: Send + Sync {
    /// All that is kept for that pipeline.
    async fn load(&self, pipeline: &str) -> Result<Offsets>;

    /// Moves the named partitions, all or none; returns when they are durable.
    async fn save(&self, pipeline: &str, moved: &Offsets) -> Result<()>;
}
