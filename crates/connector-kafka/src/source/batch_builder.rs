//! Records of one partition on their way into a batch. A record of librdkafka is copied at once, while it is warm in the
//! cache, and returned to the library.

use aqueduct_api::{Headers, Packer, Records};
use aqueduct_kafka_client::native::batch_queue::Message;
use bytes::Bytes;
use rdkafka::error::RDKafkaErrorCode;

/// The bounds of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
}

/// See the file's header.
pub(crate) struct BatchBuilder {
    /// The library's topic, which is not freed while the assignment does not change, and the partition.
    id: (usize, i32),
    packer: Packer,
    /// The partition is read up to here.
    next: Option<i64>,
}

impl BatchBuilder {
    /// An empty builder for the partition of this record, with room for so many records and bytes.
    pub(crate) fn new(message: Message<'_>, records: usize, bytes: usize) -> Self {
        Self {
            id: (message.topic_id(), message.partition()),
            packer: Packer::new(message.topic(), message.partition(), records, bytes),
            next: None,
        }
    }

    /// Whether the record is of the same partition.
    pub(crate) fn is_of(&self, message: Message<'_>) -> bool {
        self.id == (message.topic_id(), message.partition())
    }

    /// Whether the record still fits.
    pub(crate) fn has_room(&self, message: Message<'_>, bounds: Bounds) -> bool {
        self.packer.len() < bounds.records_max
            && (self.packer.is_empty() || self.packer.bytes() + message.payload_bytes() <= bounds.bytes_max)
    }

    /// Adds the record; returns how many bytes it has.
    ///
    /// # Errors
    /// When its headers cannot be read. It is left out then, and nothing behind it may be polled.
    pub(crate) fn add(&mut self, message: Message<'_>) -> Result<usize, RDKafkaErrorCode> {
        let before = self.packer.bytes();
        let mut headers = Headers::default();
        message.headers(|name, value| headers.push(name, value.map(Bytes::copy_from_slice)))?;
        let timestamp_us = message.timestamp_ms().map(|ms| ms.saturating_mul(1_000));
        self.packer.add(message.offset(), timestamp_us, message.key(), message.value(), headers);
        self.next = Some(message.offset().saturating_add(1));
        Ok(self.packer.bytes() - before)
    }

    /// The partition is read up to this offset. It lies behind the last record where markers of transactions, aborted records or
    /// records that were compacted away came last.
    pub(crate) fn end_at(&mut self, offset: i64) {
        self.next = self.next.max(Some(offset));
    }

    /// The topic and the partition.
    pub(crate) fn topic_partition(&self) -> (&str, i32) {
        (self.packer.topic(), self.packer.partition())
    }

    /// How many records there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.packer.len(), self.packer.bytes())
    }

    /// The offset to go on from; none where nothing was read.
    pub(crate) fn next(&self) -> Option<i64> {
        self.next
    }

    /// The records.
    pub(crate) fn finish(self) -> Records {
        self.packer.finish()
    }
}
