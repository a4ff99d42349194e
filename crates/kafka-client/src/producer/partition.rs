//! The batches of one partition in their order, of which some are in flight. One without a response is sent again with the
//! same sequence, so that the broker recognises it (KIP-98), and nothing overtakes it (invariant 7). No clock and no network
//! here.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqueduct_api::Record;
use bytes::Bytes;
use tokio::time::Instant;

use super::report::{DeliveryReport, DeliveryStatus};
use crate::wire::record_batch::{BatchEncoder, BatchSequence, Records};

/// Until something is sent again: twice as long each time.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// A broker is taken to know the producer id for so long after its last response; a topic may be made anew meanwhile.
const PRODUCER_ID_KNOWN: Duration = Duration::from_secs(1);
/// A new batch is allocated as large as the one before it was, and no larger than this.
const CAPACITY_MAX: usize = 64 << 10;

/// A producer's id and epoch, as the cluster gave it.
pub(super) type ProducerId = (i64, i16);

/// See the file's header.
#[derive(Default)]
pub(super) struct Partition {
    /// The broker that leads it.
    pub(super) leader: Option<i32>,
    /// Since when the cluster says that there is no such partition.
    pub(super) missing: Option<Instant>,
    /// Whether the accumulator has it among the active ones.
    pub(super) listed: bool,
    /// Being filled.
    open: Option<Open>,
    /// Full, or to be sent again; the next one first.
    waiting: VecDeque<ProducerBatch>,
    /// Sent, the oldest first. A batch that is stored is gone; the others stay until all have a result.
    in_flight: VecDeque<InFlight>,
    /// Another batch may be sent before those in flight have their response: they are sent for the first time, to a broker that
    /// knew the producer id a moment before.
    pipelined: bool,
    /// Producer id and next sequence. Without one nothing is sent.
    producer_state: Option<ProducerState>,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    attempts: u32,
    /// Records were returned: what comes now would overtake them.
    blocked: bool,
    /// Bytes of the last batch: the next one takes about as many.
    last_bytes: usize,
}

struct Open {
    records: Records,
    delivery_ids: Vec<usize>,
    bytes: usize,
    opened_at: Instant,
}

#[derive(Clone, Copy)]
struct ProducerState {
    producer_id: ProducerId,
    next_sequence: i32,
    /// When the broker last stored a batch of this producer id.
    stored_at: Option<Instant>,
}

/// What is sent as one batch.
struct ProducerBatch {
    /// Shared with the task that sends it.
    contents: Arc<BatchContents>,
    /// One for each record.
    delivery_ids: Vec<usize>,
    bytes: usize,
    opened_at: Instant,
    /// From when it was sent first.
    sequence: Option<BatchSequence>,
}

/// The records of a batch, and later the batch as it is sent.
pub(super) struct BatchContents {
    count: i32,
    /// Before compression.
    pub(super) bytes: usize,
    encoding: Mutex<Encoding>,
}

enum Encoding {
    Records(Records),
    Batch(Bytes),
}

struct InFlight {
    batch: ProducerBatch,
    sequence: BatchSequence,
    node: i32,
    result: Option<BatchResult>,
}

/// What the broker's response means for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BatchResult {
    /// All replicas have it.
    Stored,
    /// It is not known whether it is stored, or it is not yet: it is sent again.
    Retry,
    /// The broker lacks a batch before it.
    OutOfOrderSequence,
    /// It will not be stored as it is.
    Refused(Refusal),
}

/// Why a batch was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Kafka's error code.
    pub(super) code: i16,
    /// The records that are the cause, by index; none where the broker does not say.
    pub(super) invalid_records: Vec<usize>,
}

/// What came of a record that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// Into a batch that is open already.
    ToOpenBatch,
    /// It began a batch, or filled one: the task of the broker may have something to send.
    ToNewBatch,
    /// One before it was returned.
    Returned,
}

impl Partition {
    /// Adds a record of `bytes` at most.
    pub(super) fn append(
        &mut self,
        record: &Record,
        (delivery_id, bytes): (usize, usize),
        batch_bytes: usize,
        now_ms: i64,
    ) -> Added {
        if self.blocked {
            return Added::Returned;
        }
        let full = self.open.as_ref().is_some_and(|open| open.records.len() + bytes > batch_bytes);
        if full {
            self.close_batch();
        }
        let new = self.open.is_none();
        let capacity = self.last_bytes.min(CAPACITY_MAX);
        let open = self.open.get_or_insert_with(|| Open {
            records: Records::with_capacity(capacity.max(bytes)),
            delivery_ids: Vec::new(),
            bytes: 0,
            opened_at: Instant::now(),
        });
        open.records.push(record, now_ms);
        open.bytes += bytes;
        open.delivery_ids.push(delivery_id);
        let filled = open.records.len() >= batch_bytes;
        if filled {
            self.close_batch();
        }
        if new || full || filled { Added::ToNewBatch } else { Added::ToOpenBatch }
    }

    fn close_batch(&mut self) {
        if let Some(Open { records, delivery_ids, bytes, opened_at }) = self.open.take() {
            self.last_bytes = records.len();
            let contents = Arc::new(BatchContents::new(records));
            self.waiting.push_back(ProducerBatch {
                contents,
                delivery_ids,
                bytes,
                opened_at,
                sequence: None,
            });
        }
    }

    /// The next batch for this broker, if one is due; it is in flight from now on.
    pub(super) fn take_batch(
        &mut self,
        node: i32,
        now: Instant,
        linger: Duration,
        unused_producer_id: Option<ProducerId>,
    ) -> Option<(Arc<BatchContents>, BatchSequence)> {
        if self.due(node, linger, unused_producer_id.is_some())? > now {
            return None;
        }
        let mut producer_state = match self.producer_state {
            Some(producer_state) => producer_state,
            None => ProducerState { producer_id: unused_producer_id?, next_sequence: 0, stored_at: None },
        };
        if self.waiting.is_empty() {
            self.close_batch();
        }
        let batch = self.waiting.pop_front()?;
        let (producer_id, producer_epoch) = producer_state.producer_id;
        let new = BatchSequence { producer_id, producer_epoch, base_sequence: producer_state.next_sequence };
        let sequence = batch.sequence.unwrap_or(new);
        if batch.sequence.is_none() {
            producer_state.next_sequence =
                producer_state.next_sequence.wrapping_add(batch.contents.count) & i32::MAX;
        }
        self.producer_state = Some(producer_state);
        if self.in_flight.is_empty() {
            let is_known = |at| now.saturating_duration_since(at) < PRODUCER_ID_KNOWN;
            self.pipelined = batch.sequence.is_none() && producer_state.stored_at.is_some_and(is_known);
        }
        let contents = Arc::clone(&batch.contents);
        self.in_flight.push_back(InFlight { batch, sequence, node, result: None });
        Some((contents, sequence))
    }

    /// When the next batch for this broker is due; `None` while none is. `has_producer_id`: there is an id that was not used yet.
    pub(super) fn due(&self, node: i32, linger: Duration, has_producer_id: bool) -> Option<Instant> {
        let waits = self.leader != Some(node)
            || (self.producer_state.is_none() && !has_producer_id)
            || self.in_flight.iter().any(|request| request.result.is_some() || request.node != node);
        // A broker takes any first sequence of a producer id that it does not know (KAFKA-15591), so the second batch waits until the
        // first is stored. And it recognises the last five batches of a producer id only, so what is sent again is sent alone: it
        // would not be among the last five if it had to be sent once more (invariant 7).
        if waits || (!self.pipelined && !self.in_flight.is_empty()) {
            return None;
        }
        let first = match self.waiting.front() {
            Some(batch) => batch.opened_at,
            None => self.open.as_ref()?.opened_at + linger,
        };
        Some(self.not_before.map_or(first, |not_before| first.max(not_before)))
    }

    /// Whether it has something to send and no producer id.
    pub(super) fn needs_producer_id(&self) -> bool {
        self.producer_state.is_none() && (self.open.is_some() || !self.waiting.is_empty())
    }

    /// How much the next batch holds.
    pub(super) fn next_bytes(&self) -> usize {
        let open = || self.open.as_ref().map(|open| open.records.len());
        self.waiting.front().map(|batch| batch.contents.bytes).or_else(open).unwrap_or(0)
    }

    /// Whether no batch is open.
    pub(super) fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// The broker that a batch is in flight to, if it is not the leader any more.
    pub(super) fn former_leader(&self) -> Option<i32> {
        let request = self.in_flight.iter().find(|request| request.result.is_none())?;
        (self.leader.is_some_and(|leader| leader != request.node)).then_some(request.node)
    }

    /// The response of the broker for one batch.
    pub(super) fn completed(
        &mut self,
        sequence: BatchSequence,
        result: BatchResult,
        now: Instant,
    ) -> Vec<DeliveryReport> {
        let Some(at) = self.in_flight.iter().position(|request| request.sequence == sequence) else {
            return Vec::new();
        };
        let mut reports = Vec::new();
        if result == BatchResult::Stored {
            self.attempts = 0;
            self.producer_state.iter_mut().for_each(|producer_state| producer_state.stored_at = Some(now));
            reports.extend(
                self.in_flight.remove(at).map(|request| request.batch.report(DeliveryStatus::Stored)),
            );
        } else {
            self.in_flight[at].result = Some(result);
        }
        reports.extend(self.retry_or_return(now));
        reports
    }

    /// The connection to this broker is closed.
    pub(super) fn disconnected(&mut self, node: i32, now: Instant) -> Vec<DeliveryReport> {
        let open =
            self.in_flight.iter_mut().filter(|request| request.node == node && request.result.is_none());
        open.for_each(|request| request.result = Some(BatchResult::Retry));
        self.retry_or_return(now)
    }

    /// Once all in flight have a result: what is not stored is sent again in its order, or returned.
    fn retry_or_return(&mut self, now: Instant) -> Vec<DeliveryReport> {
        if self.in_flight.is_empty() || self.in_flight.iter().any(|request| request.result.is_none()) {
            return Vec::new();
        }
        // The oldest decides: what came after it cannot have been stored.
        match self.in_flight.front().and_then(|request| request.result.as_ref()) {
            Some(BatchResult::Refused(_)) => return self.return_all(),
            Some(BatchResult::OutOfOrderSequence) => {
                return vec![DeliveryReport {
                    delivery_ids: Vec::new(),
                    bytes: 0,
                    status: DeliveryStatus::OutOfOrderSequence,
                }];
            }
            _ => {}
        }
        while let Some(InFlight { mut batch, sequence, .. }) = self.in_flight.pop_back() {
            batch.sequence = Some(sequence);
            self.waiting.push_front(batch);
        }
        // The next leader may not know the producer id.
        self.producer_state.iter_mut().for_each(|producer_state| producer_state.stored_at = None);
        let pause = RETRY_MIN.saturating_mul(1 << self.attempts.min(8)).min(RETRY_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.not_before = Some(now + pause);
        Vec::new()
    }

    /// The sequence of a batch that was refused is never stored, so the next ones would be out of order: they are returned, and
    /// begin with another epoch when they are given again.
    fn return_all(&mut self) -> Vec<DeliveryReport> {
        let mut reports = Vec::new();
        for InFlight { batch, result, .. } in std::mem::take(&mut self.in_flight) {
            match result {
                Some(BatchResult::Refused(refusal)) => reports.extend(batch.refused(&refusal)),
                _ => reports.push(batch.report(DeliveryStatus::Returned)),
            }
        }
        self.close_batch();
        reports.extend(self.waiting.drain(..).map(|batch| batch.report(DeliveryStatus::Returned)));
        self.bump_epoch();
        reports
    }

    /// The next epoch of the same producer id, whose sequences begin at 0 again; the broker refuses what still arrives with an
    /// earlier one (KIP-360). After the last epoch comes another producer id.
    fn bump_epoch(&mut self) {
        self.blocked = true;
        self.producer_state =
            self.producer_state.and_then(|ProducerState { producer_id: (id, epoch), .. }| {
                Some(ProducerState {
                    producer_id: (id, epoch.checked_add(1)?),
                    next_sequence: 0,
                    stored_at: None,
                })
            });
    }

    /// Whether it has a producer id.
    pub(super) fn has_producer_id(&self) -> bool {
        self.producer_state.is_some()
    }

    /// Reports all that is here as refused with this error code, unless something is in flight.
    pub(super) fn fail_all(&mut self, code: i16) -> Vec<DeliveryReport> {
        if self.in_flight.iter().any(|request| request.result.is_none()) {
            return Vec::new();
        }
        self.close_batch();
        let in_flight = std::mem::take(&mut self.in_flight).into_iter().map(|request| request.batch);
        let batches: Vec<ProducerBatch> = in_flight.chain(self.waiting.drain(..)).collect();
        if !batches.is_empty() {
            self.bump_epoch();
        }
        let refused = |batch: ProducerBatch| {
            let length = batch.contents.bytes;
            batch.report(DeliveryStatus::Refused { code, alone: false, length })
        };
        batches.into_iter().map(refused).collect()
    }

    /// What was returned is about to be given again.
    pub(super) fn unblock(&mut self) {
        self.blocked = false;
        (self.attempts, self.not_before) = (0, None);
    }

    /// Whether no record is here.
    pub(super) fn holds_nothing(&self) -> bool {
        self.open.is_none() && self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Whether no record is here, and none has to be given again.
    pub(super) fn is_empty(&self) -> bool {
        self.holds_nothing() && !self.blocked
    }
}

impl BatchContents {
    fn new(records: Records) -> Self {
        let (count, bytes) = (records.count(), records.len());
        Self { count, bytes, encoding: Mutex::new(Encoding::Records(records)) }
    }

    /// The batch as it is sent, encoded at the first call; the records are dropped then.
    ///
    /// # Errors
    /// Those of the compressor.
    pub(super) fn encode(&self, encoder: &mut BatchEncoder, sequence: BatchSequence) -> io::Result<Bytes> {
        let mut encoding = self.encoding.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = match &*encoding {
            Encoding::Batch(batch) => return Ok(batch.clone()),
            Encoding::Records(records) => encoder.encode(records, sequence)?,
        };
        *encoding = Encoding::Batch(batch.clone());
        Ok(batch)
    }
}

impl ProducerBatch {
    fn report(self, status: DeliveryStatus) -> DeliveryReport {
        DeliveryReport { delivery_ids: self.delivery_ids, bytes: self.bytes, status }
    }

    fn refused(self, refusal: &Refusal) -> Vec<DeliveryReport> {
        let (Refusal { code, invalid_records }, length) = (refusal, self.contents.bytes);
        if invalid_records.is_empty() {
            let alone = self.delivery_ids.len() == 1;
            return vec![self.report(DeliveryStatus::Refused { code: *code, alone, length })];
        }
        let (invalid, valid): (Vec<_>, Vec<_>) =
            self.delivery_ids.into_iter().enumerate().partition(|(index, _)| invalid_records.contains(index));
        let delivery_ids =
            |records: Vec<(usize, usize)>| records.into_iter().map(|(_, delivery_id)| delivery_id).collect();
        let status = DeliveryStatus::Refused { code: *code, alone: true, length };
        let refused = DeliveryReport { delivery_ids: delivery_ids(invalid), bytes: self.bytes, status };
        vec![
            refused,
            DeliveryReport { delivery_ids: delivery_ids(valid), bytes: 0, status: DeliveryStatus::Returned },
        ]
    }
}
