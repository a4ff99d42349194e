//! What is on its way to one partition: in order, in numbered batches of which some are under way. What is not answered goes
//! again under the same number, so that the broker knows it (KIP-98), and nothing overtakes it (invariant 7). No clock and
//! no network here.

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
/// For so long a broker is trusted to know a producer that sends nothing: the topic may be made anew meanwhile.
const REMEMBERED: Duration = Duration::from_secs(1);
/// A new batch gets room for as much as the one before it had, but not for more than this.
const ROOM_MAX: usize = 64 << 10;

/// A producer's id and epoch, as the cluster gave it.
pub(super) type ProducerId = (i64, i16);

/// What one partition of a topic is to get.
#[derive(Default)]
pub(super) struct Partition {
    /// The broker that takes it.
    pub(super) leader: Option<i32>,
    /// Since when the cluster says that there is no such partition.
    pub(super) missing: Option<Instant>,
    /// Its index is among those of the active ones.
    pub(super) listed: bool,
    /// Being filled.
    open: Option<Open>,
    /// Full, or to be sent again; the next one first.
    waiting: VecDeque<ProducerBatch>,
    /// Under way, the oldest first. One that ended well is gone; the others stay until all have ended.
    in_flight: VecDeque<InFlight>,
    /// What is under way may be followed: it goes for the first time, to a broker that knew the producer a moment before.
    trusted: bool,
    /// Who writes here. Without one nothing is sent.
    producer_state: Option<ProducerState>,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    attempts: u32,
    /// Something was returned: what comes now would overtake it.
    refused: bool,
    /// As much as the last batch took: the next one will take about that.
    room: usize,
}

struct Open {
    records: Records,
    delivery_ids: Vec<usize>,
    bytes: usize,
    opened: Instant,
}

#[derive(Clone, Copy)]
struct ProducerState {
    producer: ProducerId,
    /// The number of the next record.
    next: i32,
    /// When the broker last took a batch of it.
    known: Option<Instant>,
}

/// What is sent as one batch.
struct ProducerBatch {
    /// Shared with whoever sends it.
    contents: Arc<BatchContents>,
    /// Of each record, what its answer has to name.
    delivery_ids: Vec<usize>,
    bytes: usize,
    opened: Instant,
    /// Since it was sent first.
    sequence: Option<BatchSequence>,
}

/// Records, and later the batch that was made of them.
pub(super) struct BatchContents {
    count: i32,
    /// Before compression.
    pub(super) bytes: usize,
    content: Mutex<Content>,
}

enum Content {
    Records(Records),
    Batch(Bytes),
}

struct InFlight {
    batch: ProducerBatch,
    sequence: BatchSequence,
    node: i32,
    end: Option<BatchResult>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BatchResult {
    /// All replicas have it.
    Stored,
    /// Nobody knows, or not yet: it goes again.
    Again,
    /// One before it is missing.
    OutOfOrder,
    /// It will not be taken as it is.
    Refused(Refusal),
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Kafka's number for the reason.
    pub(super) code: i16,
    /// The records that are to blame, by index; none when the broker does not tell.
    pub(super) invalid_records: Vec<usize>,
}

/// What came of a record that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// Into a batch that is open already.
    ToOpenBatch,
    /// It began a batch, or filled one: the task of the broker has to look.
    ToNewBatch,
    /// One before it was returned.
    Returned,
}

impl Partition {
    /// Takes a record that takes `bytes` at most.
    pub(super) fn append(
        &mut self,
        record: &Record,
        (delivery_id, bytes): (usize, usize),
        batch_bytes: usize,
        now_ms: i64,
    ) -> Added {
        if self.refused {
            return Added::Returned;
        }
        let full = self.open.as_ref().is_some_and(|open| open.records.len() + bytes > batch_bytes);
        if full {
            self.seal();
        }
        let new = self.open.is_none();
        let room = self.room.min(ROOM_MAX);
        let open = self.open.get_or_insert_with(|| Open {
            records: Records::with_capacity(room.max(bytes)),
            delivery_ids: Vec::new(),
            bytes: 0,
            opened: Instant::now(),
        });
        open.records.push(record, now_ms);
        open.bytes += bytes;
        open.delivery_ids.push(delivery_id);
        let filled = open.records.len() >= batch_bytes;
        if filled {
            self.seal();
        }
        if new || full || filled { Added::ToNewBatch } else { Added::ToOpenBatch }
    }

    fn seal(&mut self) {
        if let Some(Open { records, delivery_ids, bytes, opened }) = self.open.take() {
            self.room = records.len();
            let contents = Arc::new(BatchContents::new(records));
            self.waiting.push_back(ProducerBatch { contents, delivery_ids, bytes, opened, sequence: None });
        }
    }

    /// The next batch for this broker, if one is due; it is under way from now on.
    pub(super) fn take(
        &mut self,
        node: i32,
        now: Instant,
        linger: Duration,
        fresh: Option<ProducerId>,
    ) -> Option<(Arc<BatchContents>, BatchSequence)> {
        if self.due(node, linger, fresh.is_some())? > now {
            return None;
        }
        let mut producer_state = match self.producer_state {
            Some(producer_state) => producer_state,
            None => ProducerState { producer: fresh?, next: 0, known: None },
        };
        if self.waiting.is_empty() {
            self.seal();
        }
        let batch = self.waiting.pop_front()?;
        let (producer_id, producer_epoch) = producer_state.producer;
        let new = BatchSequence { producer_id, producer_epoch, base_sequence: producer_state.next };
        let sequence = batch.sequence.unwrap_or(new);
        if batch.sequence.is_none() {
            producer_state.next = producer_state.next.wrapping_add(batch.contents.count) & i32::MAX;
        }
        self.producer_state = Some(producer_state);
        if self.in_flight.is_empty() {
            let known = |at| now.saturating_duration_since(at) < REMEMBERED;
            self.trusted = batch.sequence.is_none() && producer_state.known.is_some_and(known);
        }
        let contents = Arc::clone(&batch.contents);
        self.in_flight.push_back(InFlight { batch, sequence, node, end: None });
        Some((contents, sequence))
    }

    /// When the next batch for this broker is due; `None` while none is. `named`: there is an id for one that has none.
    pub(super) fn due(&self, node: i32, linger: Duration, named: bool) -> Option<Instant> {
        let stands = self.leader != Some(node)
            || (self.producer_state.is_none() && !named)
            || self.in_flight.iter().any(|request| request.end.is_some() || request.node != node);
        // A broker takes any first number of a producer that it does not know (KAFKA-15591), so the second batch waits until it has
        // the first. And it knows again only the last batches of a producer: what goes again goes alone, so that it is not the fifth
        // before the last when it has to go once more (invariant 7).
        if stands || (!self.trusted && !self.in_flight.is_empty()) {
            return None;
        }
        let first = match self.waiting.front() {
            Some(batch) => batch.opened,
            None => self.open.as_ref()?.opened + linger,
        };
        Some(self.not_before.map_or(first, |not_before| first.max(not_before)))
    }

    /// Whether it has something to send and nobody's number to send it under.
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

    /// Whether something is under way to a broker that leads it no longer.
    pub(super) fn former_leader(&self) -> Option<i32> {
        let request = self.in_flight.iter().find(|request| request.end.is_none())?;
        (self.leader.is_some_and(|leader| leader != request.node)).then_some(request.node)
    }

    /// The answer of the broker for one batch.
    pub(super) fn ended(
        &mut self,
        sequence: BatchSequence,
        end: BatchResult,
        now: Instant,
    ) -> Vec<DeliveryReport> {
        let Some(at) = self.in_flight.iter().position(|request| request.sequence == sequence) else {
            return Vec::new();
        };
        let mut reports = Vec::new();
        if end == BatchResult::Stored {
            self.attempts = 0;
            self.producer_state.iter_mut().for_each(|producer_state| producer_state.known = Some(now));
            reports
                .extend(self.in_flight.remove(at).map(|request| request.batch.met(DeliveryStatus::Stored)));
        } else {
            self.in_flight[at].end = Some(end);
        }
        reports.extend(self.settle(now));
        reports
    }

    /// The connection to this broker is gone.
    pub(super) fn lost(&mut self, node: i32, now: Instant) -> Vec<DeliveryReport> {
        let open = self.in_flight.iter_mut().filter(|request| request.node == node && request.end.is_none());
        open.for_each(|request| request.end = Some(BatchResult::Again));
        self.settle(now)
    }

    /// Once nothing is under way: what ended badly goes again in its order, or comes back for good.
    fn settle(&mut self, now: Instant) -> Vec<DeliveryReport> {
        if self.in_flight.is_empty() || self.in_flight.iter().any(|request| request.end.is_none()) {
            return Vec::new();
        }
        // The oldest decides: what came after it cannot have been taken.
        match self.in_flight.front().and_then(|request| request.end.as_ref()) {
            Some(BatchResult::Refused(_)) => return self.return_all(),
            Some(BatchResult::OutOfOrder) => {
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
        // Its leader may not know us any more.
        self.producer_state.iter_mut().for_each(|producer_state| producer_state.known = None);
        let pause = RETRY_MIN.saturating_mul(1 << self.attempts.min(8)).min(RETRY_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.not_before = Some(now + pause);
        Vec::new()
    }

    /// A number that was refused is never used, so the next ones would be out of order: we begin anew, and what is here comes again
    /// by way of whoever gave it.
    fn return_all(&mut self) -> Vec<DeliveryReport> {
        let mut reports = Vec::new();
        for InFlight { batch, end, .. } in std::mem::take(&mut self.in_flight) {
            match end {
                Some(BatchResult::Refused(refusal)) => reports.extend(batch.refused(&refusal)),
                _ => reports.push(batch.met(DeliveryStatus::Returned)),
            }
        }
        self.seal();
        reports.extend(self.waiting.drain(..).map(|batch| batch.met(DeliveryStatus::Returned)));
        self.bump_epoch();
        reports
    }

    /// With the next epoch of the same producer, whose numbers begin at 0 again; what is still under way with an earlier one
    /// is refused (KIP-360). The last epoch needs another producer.
    fn bump_epoch(&mut self) {
        self.refused = true;
        self.producer_state =
            self.producer_state.and_then(|ProducerState { producer: (id, epoch), .. }| {
                Some(ProducerState { producer: (id, epoch.checked_add(1)?), next: 0, known: None })
            });
    }

    /// Whether it has a producer's name.
    pub(super) fn has_producer_id(&self) -> bool {
        self.producer_state.is_some()
    }

    /// Gives back all that is here as refused for this reason, unless something is under way.
    pub(super) fn fail_all(&mut self, code: i16) -> Vec<DeliveryReport> {
        if self.in_flight.iter().any(|request| request.end.is_none()) {
            return Vec::new();
        }
        self.seal();
        let in_flight = std::mem::take(&mut self.in_flight).into_iter().map(|request| request.batch);
        let batches: Vec<ProducerBatch> = in_flight.chain(self.waiting.drain(..)).collect();
        if !batches.is_empty() {
            self.bump_epoch();
        }
        let refused = |batch: ProducerBatch| {
            let length = batch.contents.bytes;
            batch.met(DeliveryStatus::Refused { code, alone: false, length })
        };
        batches.into_iter().map(refused).collect()
    }

    /// What was returned is about to come again.
    pub(super) fn unblock(&mut self) {
        self.refused = false;
        (self.attempts, self.not_before) = (0, None);
    }

    /// Whether nothing is here.
    pub(super) fn holds_nothing(&self) -> bool {
        self.open.is_none() && self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Whether nothing is here, and nothing has to come again.
    pub(super) fn is_empty(&self) -> bool {
        self.holds_nothing() && !self.refused
    }
}

impl BatchContents {
    fn new(records: Records) -> Self {
        let (count, bytes) = (records.count(), records.len());
        Self { count, bytes, content: Mutex::new(Content::Records(records)) }
    }

    /// The batch, made when it is asked for first; the records are let go of then.
    ///
    /// # Errors
    /// Those of the compressor.
    pub(super) fn batch(&self, encoder: &mut BatchEncoder, sequence: BatchSequence) -> io::Result<Bytes> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = match &*content {
            Content::Batch(batch) => return Ok(batch.clone()),
            Content::Records(records) => encoder.encode(records, sequence)?,
        };
        *content = Content::Batch(batch.clone());
        Ok(batch)
    }
}

impl ProducerBatch {
    fn met(self, status: DeliveryStatus) -> DeliveryReport {
        DeliveryReport { delivery_ids: self.delivery_ids, bytes: self.bytes, status }
    }

    fn refused(self, refusal: &Refusal) -> Vec<DeliveryReport> {
        let (Refusal { code, invalid_records }, length) = (refusal, self.contents.bytes);
        if invalid_records.is_empty() {
            let alone = self.delivery_ids.len() == 1;
            return vec![self.met(DeliveryStatus::Refused { code: *code, alone, length })];
        }
        let (invalid_records, innocent): (Vec<_>, Vec<_>) =
            self.delivery_ids.into_iter().enumerate().partition(|(index, _)| invalid_records.contains(index));
        let delivery_ids =
            |records: Vec<(usize, usize)>| records.into_iter().map(|(_, delivery_id)| delivery_id).collect();
        let status = DeliveryStatus::Refused { code: *code, alone: true, length };
        let refused =
            DeliveryReport { delivery_ids: delivery_ids(invalid_records), bytes: self.bytes, status };
        vec![
            refused,
            DeliveryReport {
                delivery_ids: delivery_ids(innocent),
                bytes: 0,
                status: DeliveryStatus::Returned,
            },
        ]
    }
}
