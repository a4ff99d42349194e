//! One partition: its batches in order, what its producers sent last (against duplicates), and its transactions.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use kafka_protocol::ResponseError;

use crate::batch::{Batch, Header};

/// What a batch is charged beyond its own bytes: its place in the queue and the state of its producer.
const BATCH_OVERHEAD_BYTES: u64 = 256;
/// An idempotent producer has at most this many requests in flight (KIP-98).
const BATCHES_REMEMBERED_MAX: usize = 5;

/// An append-only log of batches, of which the oldest may be dropped.
#[derive(Debug, Default)]
pub(crate) struct Log {
    batches: VecDeque<Batch>,
    start: i64,
    end: i64,
    bytes: u64,
    producers: HashMap<i64, Producer>,
    /// Producer id to the first offset of its open transaction.
    open: HashMap<i64, i64>,
    aborted: VecDeque<Aborted>,
}

/// A transaction that readers of committed records have to leave out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    last_offset: i64,
}

/// What a fetch of one partition brings.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) batches: Vec<Bytes>,
    pub(crate) bytes: usize,
    pub(crate) aborted: Vec<Aborted>,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    last_offset: i64,
    sent: VecDeque<Sent>,
}

#[derive(Debug)]
struct Sent {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

impl Log {
    /// The first offset that can still be read.
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record will get; the high watermark.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// The memory that this partition is charged.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first offset of the oldest open transaction, else the end: what `read_committed` may read up to.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end).max(self.start)
    }

    /// Appends a checked batch and answers its base offset; a duplicate is not appended and answers the offset that
    /// it got the first time.
    pub(crate) fn append(&mut self, header: Header, bytes: &[u8]) -> Result<i64, ResponseError> {
        if header.producer_id >= 0
            && let Some(offset) = self.check_sequence(&header)?
        {
            return Ok(offset);
        }
        let batch = Batch::place(header, bytes, self.end);
        let base_offset = batch.base_offset;
        if header.producer_id >= 0 {
            self.remember(&batch);
        }
        if header.is_transactional() {
            self.open.entry(header.producer_id).or_insert(base_offset);
        }
        self.push(batch);
        Ok(base_offset)
    }

    /// Ends the producer's transaction here with a marker, whether or not it wrote anything.
    pub(crate) fn end_transaction(&mut self, producer_id: i64, epoch: i16, commit: bool, now_ms: i64) {
        let marker = Batch::marker(producer_id, epoch, commit, self.end, now_ms);
        if let Some(first_offset) = self.open.remove(&producer_id)
            && !commit
        {
            self.aborted.push_back(Aborted { producer_id, first_offset, last_offset: marker.base_offset });
        }
        let producer = self.producers.entry(producer_id).or_insert_with(|| Producer::new(epoch));
        if producer.epoch != epoch {
            *producer = Producer::new(epoch);
        }
        producer.last_offset = marker.base_offset;
        self.push(marker);
    }

    /// The whole batches from the one that holds `offset`: at most `bytes_max`, but the first in any case when
    /// `one_at_least` (KIP-74).
    pub(crate) fn read(&self, offset: i64, committed: bool, bytes_max: usize, one_at_least: bool) -> Read {
        let stop = if committed { self.last_stable_offset() } else { self.end };
        let from = self.batches.partition_point(|batch| batch.last_offset() < offset);
        let mut read = Read::default();
        let mut upper = offset;
        for batch in self.batches.range(from..).take_while(|batch| batch.base_offset < stop) {
            let fits =
                read.bytes + batch.bytes.len() <= bytes_max || (one_at_least && read.batches.is_empty());
            if !fits {
                break;
            }
            read.bytes += batch.bytes.len();
            read.batches.push(batch.bytes.clone());
            upper = batch.last_offset() + 1;
        }
        if committed {
            let touches = |a: &&Aborted| a.last_offset >= offset && a.first_offset < upper;
            read.aborted = self.aborted.iter().filter(touches).copied().collect();
            read.aborted.sort_by_key(|aborted| aborted.first_offset);
        }
        read
    }

    /// Offset and timestamp of the first record at or after `timestamp` (ms), see [`Batch::find_timestamp`].
    pub(crate) fn find_timestamp(&self, timestamp: i64) -> Option<(i64, i64)> {
        let (offset, at) = self.batches.iter().find_map(|batch| batch.find_timestamp(timestamp))?;
        Some((offset.max(self.start), at))
    }

    /// Offset and timestamp of the newest record by timestamp (KIP-734).
    pub(crate) fn find_max_timestamp(&self) -> Option<(i64, i64)> {
        let mut newest: Option<&Batch> = None;
        for batch in &self.batches {
            if newest.is_none_or(|newest| batch.header.max_timestamp > newest.header.max_timestamp) {
                newest = Some(batch);
            }
        }
        newest.map(|batch| (batch.offset_of_max_timestamp(), batch.header.max_timestamp))
    }

    /// Drops the oldest batches that together are charged `bytes` or a little more, if there are so many.
    pub(crate) fn drop_oldest(&mut self, bytes: u64) {
        let mut dropped = 0;
        let last = self.batches.iter().find(|batch| {
            dropped += charge(batch);
            dropped >= bytes
        });
        if let Some(last) = last.or(self.batches.back()) {
            self.truncate_to(last.last_offset() + 1);
        }
    }

    /// Moves the log's start to `offset` and drops the batches that lie before it; with them goes the memory of
    /// producers and aborted transactions that have nothing left in the log.
    pub(crate) fn truncate_to(&mut self, offset: i64) {
        self.start = self.start.max(offset);
        let start = self.start;
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.last_offset() < start) {
            self.bytes -= charge(&batch);
        }
        let open = &self.open;
        self.producers.retain(|id, producer| producer.last_offset >= start || open.contains_key(id));
        self.aborted.retain(|aborted| aborted.last_offset >= start);
    }

    fn push(&mut self, batch: Batch) {
        self.end = batch.last_offset() + 1;
        self.bytes += charge(&batch);
        self.batches.push_back(batch);
    }

    /// `Some(offset)` when the batch was already appended; an error when it does not follow the last one.
    fn check_sequence(&self, header: &Header) -> Result<Option<i64>, ResponseError> {
        // Of a producer that nothing is known of any more, any number is taken (KIP-360).
        let Some(producer) = self.producers.get(&header.producer_id) else {
            return Ok(None);
        };
        if header.producer_epoch < producer.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        let follows = if header.producer_epoch > producer.epoch {
            header.base_sequence == 0
        } else {
            let same = |sent: &&Sent| {
                sent.first_sequence == header.base_sequence && sent.last_sequence == header.last_sequence()
            };
            if let Some(sent) = producer.sent.iter().find(same) {
                return Ok(Some(sent.base_offset));
            }
            let last = producer.sent.back().map_or(-1, |sent| sent.last_sequence);
            header.base_sequence == if last == i32::MAX { 0 } else { last + 1 }
        };
        if follows { Ok(None) } else { Err(ResponseError::OutOfOrderSequenceNumber) }
    }

    fn remember(&mut self, batch: &Batch) {
        let (header, epoch) = (&batch.header, batch.header.producer_epoch);
        let producer = self.producers.entry(header.producer_id).or_insert_with(|| Producer::new(epoch));
        if producer.epoch != epoch {
            *producer = Producer::new(epoch);
        }
        producer.last_offset = batch.last_offset();
        if producer.sent.len() == BATCHES_REMEMBERED_MAX {
            producer.sent.pop_front();
        }
        producer.sent.push_back(Sent {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: batch.base_offset,
        });
    }
}

impl Producer {
    fn new(epoch: i16) -> Self {
        Self { epoch, last_offset: -1, sent: VecDeque::with_capacity(BATCHES_REMEMBERED_MAX) }
    }
}

fn charge(batch: &Batch) -> u64 {
    batch.bytes.len() as u64 + BATCH_OVERHEAD_BYTES
}
