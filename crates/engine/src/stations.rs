//! The stations of a record, in its order: poll, process, write, commit.

pub(crate) mod commit;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod submitted;
pub(crate) mod transaction;
pub(crate) mod write;

use std::sync::Arc;

use aqueduct_api::{Batch, Records};

use crate::ack::Ack;
use crate::budget::Permit;

/// What the poll station sends to the process station.
pub(crate) enum FromPoll {
    /// Records, their acknowledgement, and their share of the budget.
    Batch { records: Records, ack: Ack, permit: Permit },
    /// All that was read before is to become durable soon.
    Flush,
    /// Positions that moved without records.
    Empty { ack: Ack },
}

/// What the process station sends to a lane.
pub(crate) enum ToLane {
    /// Records of the keys of this lane.
    Batch { batch: Arc<Batch>, ack: Ack },
    /// Nothing of this batch is left to write, and its offsets still have to be committed with the others.
    Empty { ack: Ack },
    /// See [`FromPoll::Flush`].
    Flush,
}
