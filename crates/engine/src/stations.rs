//! The stations of a record, in its order: poll, process, write, commit.

pub(crate) mod commit;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod transaction;
pub(crate) mod write;

use std::sync::Arc;

use aqueduct_api::{Batch, Records};

use crate::budget::Permit;
use crate::receipt::Receipt;

/// What the poll station sends to the process station.
pub(crate) enum FromPoll {
    /// Records, the duty to settle them, and their share of the budget.
    Batch { records: Records, receipt: Receipt, permit: Permit },
    /// All that was read before is to become durable soon.
    Flush,
    /// Positions that moved without records.
    Passed { receipt: Receipt },
}

/// What the process station sends to a lane.
pub(crate) enum ToLane {
    /// Records of the keys of this lane.
    Batch { batch: Arc<Batch>, receipt: Receipt },
    /// Nothing of this batch is left to write, and its offsets still have to be committed with the others.
    Passed { receipt: Receipt },
    /// See [`FromPoll::Flush`].
    Flush,
}
