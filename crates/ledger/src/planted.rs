//! Bugs that can be switched on, each at the place where an invariant is upheld, to show that the crash simulation
//! catches them. Without the feature `planted` the switch is a constant `false` and nothing of this is compiled in.

/// One way to lose, repeat wrongly or reorder data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A batch is acknowledged when the sink has only buffered it (invariant 1).
    CommittedBeforeDurable,
    /// Offsets move over a batch that is still open (invariant 1).
    GapIgnored,
    /// Rejected records are forgotten and their batch acknowledged (invariant 1).
    RejectedForgotten,
    /// Dead letters are not flushed before the batch is acknowledged (invariant 1).
    DeadLetterBuffered,
    /// The last flush is skipped when stopping (invariant 1).
    StoppedWithoutFlush,
    /// A batch leaves the source station before it is in the ledger (invariant 2).
    SentBeforeOpened,
    /// A batch that fails is dropped, and an `Ack` that is dropped counts as acknowledged (invariant 3).
    DroppedAckAcknowledges,
    /// A batch that fails is dropped. Harmless, because its `Ack` stops the pipeline (invariant 3): not in `ALL`.
    BatchForgotten,
    /// The first lane that is done acknowledges the batch for all (invariant 3).
    FirstShareAcknowledges,
    /// A record that a transform drops takes its batch's `Ack` with it (invariant 3).
    DroppedRecordLeaksAck,
    /// The source gives the records of a partition out of order. Harmless, because the ledger finds out and the pipeline
    /// stops (invariants 1, 7): not in `ALL`.
    SourceWentBack,
    /// The same, and nobody finds out.
    OrderNotChecked,
    /// The source is released before the offsets are stored (invariant 4).
    ReleasedBeforeStored,
    /// What was stored is not released again at the start (invariant 5).
    NotReleasedAtStart,
    /// Lanes are picked in turn, not by key (invariant 7).
    LanesInTurn,
    /// A batch that failed once goes behind the next one (invariant 7).
    RetryReorders,
    /// No permit is taken: memory is unbounded (invariant 8).
    NoPermit,
    /// Partitions are given up without draining (invariant 9).
    RevokedWithoutDrain,
    /// What is acknowledged after a revoke still moves offsets (invariant 9).
    AcknowledgedAfterRevoke,
    /// A transaction holds records of partitions that were given up (invariant 10).
    GivenUpButCommitted,
    /// A transactional sink commits without the offsets of what it wrote (invariant 10).
    CommittedWithoutOffsets,
    /// What a transform drops is acknowledged outside of the transaction (invariant 10).
    DroppedOutsideTransaction,
    /// A batch is acknowledged when a transactional sink reports it, before the commit (invariant 10).
    AcknowledgedBeforeCommit,
    /// The epoch is not taken before the source is opened (invariant 10).
    EpochNotTaken,
    /// A transaction does not show that its partitions are still owned (invariant 10).
    OwnershipNotShown,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 23] = [
        Bug::CommittedBeforeDurable,
        Bug::GapIgnored,
        Bug::RejectedForgotten,
        Bug::DeadLetterBuffered,
        Bug::StoppedWithoutFlush,
        Bug::SentBeforeOpened,
        Bug::DroppedAckAcknowledges,
        Bug::FirstShareAcknowledges,
        Bug::DroppedRecordLeaksAck,
        Bug::OrderNotChecked,
        Bug::ReleasedBeforeStored,
        Bug::NotReleasedAtStart,
        Bug::LanesInTurn,
        Bug::RetryReorders,
        Bug::NoPermit,
        Bug::RevokedWithoutDrain,
        Bug::AcknowledgedAfterRevoke,
        Bug::GivenUpButCommitted,
        Bug::CommittedWithoutOffsets,
        Bug::DroppedOutsideTransaction,
        Bug::AcknowledgedBeforeCommit,
        Bug::EpochNotTaken,
        Bug::OwnershipNotShown,
    ];
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches one bug on, or all off, for this thread.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether that bug is switched on.
#[cfg(feature = "planted")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether that bug is switched on: never, in a build without the feature.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}
