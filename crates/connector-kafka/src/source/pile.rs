//! Records of one partition on their way into a batch. A record of librdkafka is copied at once, while it is warm in the
//! cache, and given back.

use aqueduct_api::{Headers, Packer, Records};
use bytes::Bytes;

use crate::native::batch_queue::Message;

/// The bounds of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
}

/// See the file's header.
pub(crate) struct Pile {
    /// The library's topic, which is not freed while ownership stands still, and the partition.
    id: (usize, i32),
    packer: Packer,
}

impl Pile {
    /// An empty pile for the partition of this record, with room for so many records and bytes.
    pub(crate) fn new(message: Message<'_>, records: usize, bytes: usize) -> Self {
        Self {
            id: (message.topic_id(), message.partition()),
            packer: Packer::new(message.topic(), message.partition(), records, bytes),
        }
    }

    /// Whether the record is of the same partition.
    pub(crate) fn is_of(&self, message: Message<'_>) -> bool {
        self.id == (message.topic_id(), message.partition())
    }

    /// Whether the record still fits.
    pub(crate) fn has_room(&self, message: Message<'_>, bounds: Bounds) -> bool {
        self.packer.len() < bounds.records_max
            && self.packer.payload_bytes() + message.payload_bytes() <= bounds.bytes_max
    }

    /// Puts the record on top.
    pub(crate) fn add(&mut self, message: Message<'_>) {
        let mut headers = Headers::default();
        message.headers(|name, value| headers.push(name, value.map(Bytes::copy_from_slice)));
        let timestamp_us = message.timestamp_ms().map(|ms| ms.saturating_mul(1_000));
        self.packer.add(message.offset(), timestamp_us, message.key(), message.value(), headers);
    }

    /// The topic and the partition.
    pub(crate) fn place(&self) -> (&str, i32) {
        (self.packer.topic(), self.packer.partition())
    }

    /// How many records there are, and the bytes of their keys and values.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.packer.len(), self.packer.payload_bytes())
    }

    /// The offset after the last record.
    pub(crate) fn next(&self) -> i64 {
        self.packer.last_offset().map_or(0, |offset| offset + 1)
    }

    /// The records.
    pub(crate) fn finish(self) -> Records {
        self.packer.finish()
    }
}
