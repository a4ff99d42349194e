//! Delivery reports: what becomes of the records that a producer was given.

use aqueduct_api::Error;

/// What became of some records of one partition.
#[derive(Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Which records.
    pub delivery_ids: Vec<usize>,
    /// Memory of the accumulator that they no longer take.
    pub bytes: usize,
    /// What became of them.
    pub status: DeliveryStatus,
}

/// What became of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// All replicas have them.
    Stored,
    /// The broker refused them.
    Refused {
        /// Kafka's error code.
        code: i16,
        /// Whether it is known that they were refused for their own sake, and not for that of another record of the batch.
        alone: bool,
        /// Bytes of the batch, before compression.
        length: usize,
    },
    /// Not written, because a batch before them in their partition was refused: they have to be given again.
    Returned,
    /// The broker lacks records that it had acknowledged, and takes nothing after them.
    OutOfOrderSequence,
}

/// Is given the delivery reports. Called by the producer's tasks, so it must not block.
pub trait DeliveryCallback: Send + Sync + 'static {
    /// Every record that was accepted is in one report.
    fn delivered(&self, report: DeliveryReport);

    /// Nothing further will be written.
    fn failed(&self, error: Error);

    /// Leaders are known that were not known before: what did not fit may be given again.
    fn progressed(&self);

    /// A broker has delayed its response by a quota; 0 where it has not.
    fn throttled(&self, throttle_ms: u64);
}
