//! Records of one partition on their way into a batch. A record of librdkafka is looked at once, while it is
//! warm in the cache, and given back; the records are made afterwards from what was noted of it.

use std::sync::Arc;

use aqueduct_api::{Headers, Origin, Payload, Record};
use bytes::Bytes;

use crate::batch_queue::Message;

/// The bounds of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
}

/// See the file's header.
#[derive(Default)]
pub(crate) struct Pile {
    /// The library's topic, which is not freed while ownership stands still, and the partition.
    id: (usize, i32),
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Keys and values, one behind the other: the one piece of memory that the records of the batch share.
    arena: Vec<u8>,
    rows: Vec<Row>,
    /// Most records have none, so they stand apart, with the index of their row.
    headers: Vec<(usize, Headers)>,
}

struct Row {
    offset: i64,
    timestamp_ms: Option<i64>,
    key_bytes: Option<u32>,
    value_bytes: Option<u32>,
}

impl Pile {
    /// An empty pile for the partition of this record, with room for what a pile held before.
    pub(crate) fn new(message: Message<'_>, bounds: Bounds, room_bytes: usize) -> Self {
        Self {
            id: (message.topic_id(), message.partition()),
            topic: message.topic().to_owned(),
            partition: message.partition(),
            arena: Vec::with_capacity(room_bytes),
            rows: Vec::with_capacity(bounds.records_max),
            headers: Vec::new(),
        }
    }

    /// Whether the record belongs here and still fits.
    pub(crate) fn takes(&self, message: Message<'_>, bounds: Bounds) -> bool {
        self.id == (message.topic_id(), message.partition())
            && self.rows.len() < bounds.records_max
            && self.arena.len() + message.payload_bytes() <= bounds.bytes_max
    }

    /// Puts the record on top.
    pub(crate) fn add(&mut self, message: Message<'_>) {
        let mut copy = |payload: Option<&[u8]>| {
            let payload = payload?;
            self.arena.extend_from_slice(payload);
            // librdkafka holds sizes of messages in 32 bits.
            Some(payload.len() as u32)
        };
        let (key_bytes, value_bytes) = (copy(message.key()), copy(message.value()));
        let mut headers = Headers::default();
        message.headers(|name, value| headers.push(name, value.map(Bytes::copy_from_slice)));
        if !headers.is_empty() {
            self.headers.push((self.rows.len(), headers));
        }
        let (offset, timestamp_ms) = (message.offset(), message.timestamp_ms());
        self.rows.push(Row { offset, timestamp_ms, key_bytes, value_bytes });
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// The offset after the last record.
    pub(crate) fn next(&self) -> i64 {
        self.rows.last().map_or(0, |row| row.offset + 1)
    }

    /// The records. They are made where they are used: what crosses from one core to the other is the pile.
    pub(crate) fn into_records(self) -> Vec<Record> {
        let Self { partition, rows, headers, .. } = self;
        let arena = Bytes::from(self.arena);
        // The name is the batch's own: a counter shared by all batches would be fought over by the threads.
        let topic: Arc<str> = self.topic.into();
        let mut headers = headers.into_iter().peekable();
        let mut end = 0;
        let mut payload = |bytes: Option<u32>| {
            bytes.map_or(Payload::Absent, |bytes| {
                let start = end;
                end += bytes as usize;
                Payload::Raw(arena.slice(start..end))
            })
        };
        let record = |(index, row): (usize, Row)| Record {
            topic: topic.clone(),
            origin: Origin { partition, offset: row.offset },
            key: payload(row.key_bytes),
            value: payload(row.value_bytes),
            headers: headers.next_if(|(of, _)| *of == index).map(|(_, headers)| headers).unwrap_or_default(),
            timestamp_us: row.timestamp_ms.map(|ms| ms.saturating_mul(1_000)),
        };
        rows.into_iter().enumerate().map(record).collect()
    }
}
