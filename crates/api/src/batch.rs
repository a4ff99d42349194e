//! The unit that crosses the engine: records that are acknowledged together, or not at all.

use std::any::Any;
use std::sync::Arc;

use crate::records::Records;

/// Names a batch inside one run of one task; later batches have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// Records on their way to a sink, in source order.
///
/// A sink that still needs the records after its call keeps the `Arc<Batch>`: the memory it stands for is given
/// back to the budget when the last handle is dropped (invariant 8), its offsets move when it is reported durable.
pub struct Batch {
    /// Names it in [`crate::Durable::Batches`].
    pub id: BatchId,
    /// What to write; never empty.
    pub records: Records,
    permit: Option<Arc<dyn Any + Send + Sync>>,
}

impl Batch {
    /// A batch that holds `permit` for as long as any handle to it lives.
    pub fn new(id: BatchId, records: Records, permit: Option<Arc<dyn Any + Send + Sync>>) -> Arc<Self> {
        Arc::new(Self { id, records, permit })
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("id", &self.id)
            .field("records", &self.records.len())
            .field("permit", &self.permit.is_some())
            .finish()
    }
}
