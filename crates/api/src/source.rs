//! What a source is to the engine.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::offsets::{Offsets, Partition};
use crate::records::Records;

/// Gives batches and says where to resume after each of them.
///
/// One station owns it: calls never overlap, and a `poll` is never cancelled half-way while the pipeline lives. A source
/// that has to answer its server while nobody polls it does so on a task or thread of its own.
#[async_trait]
pub trait Source: Send {
    /// Waits up to about `wait` for something to give.
    async fn poll(&mut self, wait: Duration) -> Result<Polled>;

    /// Tells the source that everything before these positions is done (invariants 4, 5, 6): idempotent, late, and
    /// possibly skipped. A source that keeps its own offsets stores them here: it may return while that is under way,
    /// repeats what failed, and waits for the outcome before partitions are given up and in `close`.
    async fn release(&mut self, offsets: &Offsets) -> Result<()> {
        let _ = offsets;
        Ok(())
    }

    /// How far its partitions are stored, for a source that keeps its own offsets and hears of it only after `release` has
    /// returned. With `None` what was released counts as stored. Asked often, so it asks nobody.
    fn stored(&self) -> Option<Offsets> {
        None
    }

    /// How far each partition is behind its end, as well as the source knows without asking anybody.
    fn lag(&self) -> Vec<Lag> {
        Vec::new()
    }

    /// What a sink that keeps the offsets can ask for proof, where the partitions may go to somebody else: an owner that was
    /// frozen does not know of it.
    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        None
    }

    /// Leaves in good order after the last release: a consumer group is left, a socket closed.
    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Knows whether a source still owns what it has given out.
pub trait Ownership: Send + Sync {
    /// What shows it at this moment: the sink's server refuses it as soon as partitions have changed hands. An error when
    /// they have been lost already.
    fn proof(&self) -> Result<Proof>;
}

/// What shows ownership. Only the sink of the same system can read it.
pub type Proof = Box<dyn Any + Send>;

/// The answer to a poll.
#[derive(Debug)]
pub enum Polled {
    /// Records of one or more partitions, in their order, and where to resume after them. No records but new
    /// positions is a heartbeat: the positions move without data.
    Batch {
        /// What was read.
        records: Records,
        /// Names every partition that has a record here.
        resume_at: Offsets,
    },
    /// These partitions are about to be given up. The engine drains them for a bounded time, releases what was
    /// acknowledged, and polls again: only then does the source let go (invariant 9). What is acknowledged later is fenced off.
    Revoked {
        /// The ones to give up.
        partitions: Vec<Partition>,
    },
    /// Nothing came within the time.
    Idle,
    /// A finite source is done.
    End,
}

/// How far a partition is behind, in positions: what stands at them may be no record, a marker of a transaction for example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Which.
    pub partition: Partition,
    /// Between what is stored as done and the end, as last known: what Kafka calls consumer lag. What was given out and is
    /// not durable yet counts.
    pub records: i64,
    /// Of these, between what was given out and the end.
    pub unread: i64,
}
