//! What a sink is to the engine.

use std::sync::Arc;

use async_trait::async_trait;

use crate::batch::{Batch, BatchId};
use crate::error::{Error, Result};
use crate::offsets::Offsets;
use crate::record::Record;
use crate::source::Proof;

/// Takes batches in order and says which of all it took are durable.
///
/// A sink knows nothing of offsets or acknowledgements. It may buffer as long as it likes: a batch counts when it is
/// reported (invariant 1), and one that is never reported stops the pipeline (invariant 3).
#[async_trait]
pub trait Sink: Send {
    /// Takes one batch. An error of kind `Transient` means that the same batch may be given again, as a whole, and that
    /// taking it twice is no worse than taking it once; any other error ends this sink.
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written>;

    /// Called several times a second while nothing is written: for work that falls due by time, and to report what
    /// became durable meanwhile.
    async fn tick(&mut self) -> Result<Written> {
        Ok(Written::nothing())
    }

    /// Makes all that was taken durable: before stopping, before partitions are given up, and when too much is
    /// unacknowledged. The answer reports the batches that are still open, save those that a replay must begin with (a sink
    /// of files keeps a batch open while it skips records of an object that an earlier run finished): they are not
    /// waited for, their offsets stay, and they are read again after a restart.
    async fn flush(&mut self) -> Result<Written>;

    /// The same sink as one that keeps the offsets with its data, if it was opened as such a one.
    fn transactional(&mut self) -> Option<&mut dyn Transactional> {
        None
    }
}

/// A sink that makes data and offsets durable in one transaction (invariant 10). What it reports as durable between two
/// commits is no more than ready: it counts when it is committed.
#[async_trait]
pub trait Transactional: Send {
    /// Called once, before the source is opened: takes the epoch, so that whoever wrote here before is fenced off and what
    /// he left open is undone. Answers the offsets that are kept here, which win over those of the source; `None` when the
    /// source itself knows where to look.
    async fn stored(&mut self) -> Result<Option<Offsets>>;

    /// Commits what was written since the last commit together with these offsets, or neither. It is called after `flush`;
    /// `proof` is what the source could show for its partitions before these offsets were made out. An error of kind
    /// `Transient` means that the transaction was undone, and is written again with the next `flush`; any other one ends
    /// this sink.
    async fn commit(&mut self, offsets: &Offsets, proof: Option<Proof>) -> Result<()>;
}

/// The answer of a sink.
#[derive(Debug)]
pub struct Written {
    /// What is durable now and was not reported before.
    pub durable: Durable,
    /// Records that will never pass. Each comes with or before the report of its batch, so it is set aside first.
    pub rejected: Vec<Rejected>,
}

impl Written {
    /// These records and all taken before them are durable.
    pub fn all() -> Self {
        Self { durable: Durable::All, rejected: Vec::new() }
    }

    /// Taken, but lost if the process dies now.
    pub fn nothing() -> Self {
        Self { durable: Durable::Batches(Vec::new()), rejected: Vec::new() }
    }

    /// Just these batches became durable.
    pub fn batches(ids: Vec<BatchId>) -> Self {
        Self { durable: Durable::Batches(ids), rejected: Vec::new() }
    }
}

/// Which batches an answer reports.
#[derive(Debug, PartialEq, Eq)]
pub enum Durable {
    /// All that were taken so far.
    All,
    /// These; the others stay buffered. An empty list reports nothing.
    Batches(Vec<BatchId>),
}

/// A record that the sink will never take, and why.
#[derive(Debug)]
pub struct Rejected {
    /// As it was given.
    pub record: Record,
    /// Of kind `BadRecord`.
    pub error: Error,
}
