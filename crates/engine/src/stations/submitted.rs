//! A batch between the moment that the sink takes it and the one that it reports it durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_api::{Batch, Origin};

use crate::ack::Ack;
use crate::status::Status;

/// A batch that the sink has taken and not yet reported.
pub(crate) struct Submitted {
    pub(crate) ack: Ack,
    pub(crate) records: u64,
    /// Where its records are from.
    spans: Vec<Span>,
}

/// Records of one partition: topic, partition, the first and the last offset.
pub(super) type Span = (Arc<str>, i32, i64, i64);

impl Submitted {
    pub(super) fn of(ack: Ack, batch: &Batch) -> Self {
        let mut spans: Vec<Span> = Vec::new();
        for (topic, Origin { partition, offset }) in batch.records.origins() {
            match spans.last_mut() {
                Some((of, number, _, last)) if *number == partition && of == topic => *last = offset,
                _ => spans.push((Arc::clone(topic), partition, offset, offset)),
            }
        }
        Self { ack, records: batch.records.len() as u64, spans }
    }

    /// Positions that moved without records.
    pub(super) fn empty(ack: Ack) -> Self {
        Self { ack, records: 0, spans: Vec::new() }
    }

    /// Whether one of these may be of this batch.
    pub(super) fn holds(&self, places: &[Place]) -> bool {
        let within = |(topic, partition, first, last): &Span, place: &Place| {
            place.0 == *topic && place.1 == *partition && (*first..=*last).contains(&place.2)
        };
        self.spans.iter().any(|span| places.iter().any(|place| within(span, place)))
    }
}

/// Topic, partition and offset of a record.
pub(crate) type Place = (Arc<str>, i32, i64);

/// All records of it are durable.
pub(super) fn acknowledge(status: &Status, submitted: Submitted) {
    status.records_written.fetch_add(submitted.records, Ordering::Relaxed);
    submitted.ack.acknowledge();
}
