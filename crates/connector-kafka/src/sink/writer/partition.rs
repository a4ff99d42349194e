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

use crate::wire::record_batch::{BatchMaker, Records, Stamp};

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
    /// Its place is among those of the busy ones.
    pub(super) listed: bool,
    /// Being filled.
    open: Option<Open>,
    /// Full, or to be sent again; the next one first.
    waiting: VecDeque<Parcel>,
    /// Under way, the oldest first. One that ended well is gone; the others stay until all have ended.
    flights: VecDeque<Flight>,
    /// What is under way may be followed: it goes for the first time, to a broker that knew the producer a moment before.
    trusted: bool,
    /// Who writes here. Without one nothing is sent.
    identity: Option<Identity>,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    attempts: u32,
    /// Something was handed back: what comes now would overtake it.
    refused: bool,
    /// As much as the last batch took: the next one will take about that.
    room: usize,
}

struct Open {
    records: Records,
    tickets: Vec<usize>,
    bytes: usize,
    opened: Instant,
}

#[derive(Clone, Copy)]
struct Identity {
    producer: ProducerId,
    /// The number of the next record.
    next: i32,
    /// When the broker last took a batch of it.
    known: Option<Instant>,
}

/// What is sent as one batch.
struct Parcel {
    /// Shared with whoever sends it.
    cargo: Arc<Cargo>,
    /// Of each record, what its answer has to name.
    tickets: Vec<usize>,
    bytes: usize,
    opened: Instant,
    /// Since it was sent first.
    stamp: Option<Stamp>,
}

/// Records, and later the batch that was made of them.
pub(super) struct Cargo {
    count: i32,
    /// Before compression.
    pub(super) bytes: usize,
    content: Mutex<Content>,
}

enum Content {
    Records(Records),
    Batch(Bytes),
}

struct Flight {
    parcel: Parcel,
    stamp: Stamp,
    node: i32,
    end: Option<End>,
}

/// How a flight ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
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
    pub(super) guilty: Vec<usize>,
}

/// What there is to tell about records.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) tickets: Vec<usize>,
    /// What they no longer hold, in the count of whoever gave them.
    pub(super) bytes: usize,
    pub(super) fate: Fate,
}

/// What became of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stored,
    /// Refused under Kafka's number for it, in a batch of that length; `alone` when it is known that it was for their own sake.
    Refused {
        code: i16,
        alone: bool,
        length: usize,
    },
    /// Not written, for the sake of another one.
    HandedBack,
    /// The broker misses what it had acknowledged, and takes nothing after it.
    Broken,
}

/// What came of a record that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// Into a batch that is open already.
    Taken,
    /// It began a batch, or filled one: whoever sends has to look.
    News,
    /// One before it was handed back.
    HandedBack,
}

impl Partition {
    /// Takes a record that takes `bytes` at most.
    pub(super) fn give(
        &mut self,
        record: &Record,
        (ticket, bytes): (usize, usize),
        batch_bytes: usize,
        now_ms: i64,
    ) -> Given {
        if self.refused {
            return Given::HandedBack;
        }
        let full = self.open.as_ref().is_some_and(|open| open.records.len() + bytes > batch_bytes);
        if full {
            self.seal();
        }
        let new = self.open.is_none();
        let room = self.room.min(ROOM_MAX);
        let open = self.open.get_or_insert_with(|| Open {
            records: Records::with_capacity(room.max(bytes)),
            tickets: Vec::new(),
            bytes: 0,
            opened: Instant::now(),
        });
        open.records.push(record, now_ms);
        open.bytes += bytes;
        open.tickets.push(ticket);
        let filled = open.records.len() >= batch_bytes;
        if filled {
            self.seal();
        }
        if new || full || filled { Given::News } else { Given::Taken }
    }

    fn seal(&mut self) {
        if let Some(Open { records, tickets, bytes, opened }) = self.open.take() {
            self.room = records.len();
            let cargo = Arc::new(Cargo::new(records));
            self.waiting.push_back(Parcel { cargo, tickets, bytes, opened, stamp: None });
        }
    }

    /// The next batch for this broker, if one is due; it is under way from now on.
    pub(super) fn take(
        &mut self,
        node: i32,
        now: Instant,
        linger: Duration,
        fresh: Option<ProducerId>,
    ) -> Option<(Arc<Cargo>, Stamp)> {
        if self.due(node, linger, fresh.is_some())? > now {
            return None;
        }
        let mut identity = match self.identity {
            Some(identity) => identity,
            None => Identity { producer: fresh?, next: 0, known: None },
        };
        if self.waiting.is_empty() {
            self.seal();
        }
        let parcel = self.waiting.pop_front()?;
        let (producer_id, producer_epoch) = identity.producer;
        let new = Stamp { producer_id, producer_epoch, base_sequence: identity.next };
        let stamp = parcel.stamp.unwrap_or(new);
        if parcel.stamp.is_none() {
            identity.next = identity.next.wrapping_add(parcel.cargo.count) & i32::MAX;
        }
        self.identity = Some(identity);
        if self.flights.is_empty() {
            let known = |at| now.saturating_duration_since(at) < REMEMBERED;
            self.trusted = parcel.stamp.is_none() && identity.known.is_some_and(known);
        }
        let cargo = Arc::clone(&parcel.cargo);
        self.flights.push_back(Flight { parcel, stamp, node, end: None });
        Some((cargo, stamp))
    }

    /// When the next batch for this broker is due; `None` while none is. `named`: there is an id for one that has none.
    pub(super) fn due(&self, node: i32, linger: Duration, named: bool) -> Option<Instant> {
        let stands = self.leader != Some(node)
            || (self.identity.is_none() && !named)
            || self.flights.iter().any(|flight| flight.end.is_some() || flight.node != node);
        // A broker takes any first number of a producer that it does not know (KAFKA-15591), so the second batch waits until it has
        // the first. And it knows again only the last batches of a producer: what goes again goes alone, so that it is not the fifth
        // before the last when it has to go once more (invariant 7).
        if stands || (!self.trusted && !self.flights.is_empty()) {
            return None;
        }
        let first = match self.waiting.front() {
            Some(parcel) => parcel.opened,
            None => self.open.as_ref()?.opened + linger,
        };
        Some(self.not_before.map_or(first, |not_before| first.max(not_before)))
    }

    /// Whether it has something to send and nobody's number to send it under.
    pub(super) fn is_nameless(&self) -> bool {
        self.identity.is_none() && (self.open.is_some() || !self.waiting.is_empty())
    }

    /// How much the next batch holds.
    pub(super) fn next_bytes(&self) -> usize {
        let open = || self.open.as_ref().map(|open| open.records.len());
        self.waiting.front().map(|parcel| parcel.cargo.bytes).or_else(open).unwrap_or(0)
    }

    /// Whether no batch is open.
    pub(super) fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// Whether something is under way to a broker that leads it no longer.
    pub(super) fn stray(&self) -> Option<i32> {
        let flight = self.flights.iter().find(|flight| flight.end.is_none())?;
        (self.leader.is_some_and(|leader| leader != flight.node)).then_some(flight.node)
    }

    /// The answer of the broker for one batch.
    pub(super) fn ended(&mut self, stamp: Stamp, end: End, now: Instant) -> Vec<Report> {
        let Some(at) = self.flights.iter().position(|flight| flight.stamp == stamp) else {
            return Vec::new();
        };
        let mut reports = Vec::new();
        if end == End::Stored {
            self.attempts = 0;
            self.identity.iter_mut().for_each(|identity| identity.known = Some(now));
            reports.extend(self.flights.remove(at).map(|flight| flight.parcel.met(Fate::Stored)));
        } else {
            self.flights[at].end = Some(end);
        }
        reports.extend(self.settle(now));
        reports
    }

    /// The connection to this broker is gone.
    pub(super) fn lost(&mut self, node: i32, now: Instant) -> Vec<Report> {
        let open = self.flights.iter_mut().filter(|flight| flight.node == node && flight.end.is_none());
        open.for_each(|flight| flight.end = Some(End::Again));
        self.settle(now)
    }

    /// Once nothing is under way: what ended badly goes again in its order, or comes back for good.
    fn settle(&mut self, now: Instant) -> Vec<Report> {
        if self.flights.is_empty() || self.flights.iter().any(|flight| flight.end.is_none()) {
            return Vec::new();
        }
        // The oldest decides: what came after it cannot have been taken.
        match self.flights.front().and_then(|flight| flight.end.as_ref()) {
            Some(End::Refused(_)) => return self.hand_back(),
            Some(End::OutOfOrder) => {
                return vec![Report { tickets: Vec::new(), bytes: 0, fate: Fate::Broken }];
            }
            _ => {}
        }
        while let Some(Flight { mut parcel, stamp, .. }) = self.flights.pop_back() {
            parcel.stamp = Some(stamp);
            self.waiting.push_front(parcel);
        }
        // Its leader may not know us any more.
        self.identity.iter_mut().for_each(|identity| identity.known = None);
        let pause = RETRY_MIN.saturating_mul(1 << self.attempts.min(8)).min(RETRY_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.not_before = Some(now + pause);
        Vec::new()
    }

    /// A number that was refused is never used, so the next ones would be out of order: we begin anew, and what is here comes again
    /// by way of whoever gave it.
    fn hand_back(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        for Flight { parcel, end, .. } in std::mem::take(&mut self.flights) {
            match end {
                Some(End::Refused(refusal)) => reports.extend(parcel.refused(&refusal)),
                _ => reports.push(parcel.met(Fate::HandedBack)),
            }
        }
        self.seal();
        reports.extend(self.waiting.drain(..).map(|parcel| parcel.met(Fate::HandedBack)));
        self.begin_anew();
        reports
    }

    /// With the next epoch of the same producer, whose numbers begin at 0 again; what is still under way with an earlier one
    /// is refused (KIP-360). The last epoch needs another producer.
    fn begin_anew(&mut self) {
        self.refused = true;
        self.identity = self.identity.and_then(|Identity { producer: (id, epoch), .. }| {
            Some(Identity { producer: (id, epoch.checked_add(1)?), next: 0, known: None })
        });
    }

    /// Whether it has a producer's name.
    pub(super) fn has_name(&self) -> bool {
        self.identity.is_some()
    }

    /// Gives back all that is here as refused for this reason, unless something is under way.
    pub(super) fn give_up(&mut self, code: i16) -> Vec<Report> {
        if self.flights.iter().any(|flight| flight.end.is_none()) {
            return Vec::new();
        }
        self.seal();
        let flights = std::mem::take(&mut self.flights).into_iter().map(|flight| flight.parcel);
        let parcels: Vec<Parcel> = flights.chain(self.waiting.drain(..)).collect();
        if !parcels.is_empty() {
            self.begin_anew();
        }
        let refused = |parcel: Parcel| {
            let length = parcel.cargo.bytes;
            parcel.met(Fate::Refused { code, alone: false, length })
        };
        parcels.into_iter().map(refused).collect()
    }

    /// What was handed back is about to come again.
    pub(super) fn mend(&mut self) {
        self.refused = false;
        (self.attempts, self.not_before) = (0, None);
    }

    /// Whether nothing is here.
    pub(super) fn holds_nothing(&self) -> bool {
        self.open.is_none() && self.waiting.is_empty() && self.flights.is_empty()
    }

    /// Whether nothing is here, and nothing has to come again.
    pub(super) fn is_empty(&self) -> bool {
        self.holds_nothing() && !self.refused
    }
}

impl Cargo {
    fn new(records: Records) -> Self {
        let (count, bytes) = (records.count(), records.len());
        Self { count, bytes, content: Mutex::new(Content::Records(records)) }
    }

    /// The batch, made when it is asked for first; the records are let go of then.
    ///
    /// # Errors
    /// Those of the compressor.
    pub(super) fn batch(&self, maker: &mut BatchMaker, stamp: Stamp) -> io::Result<Bytes> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = match &*content {
            Content::Batch(batch) => return Ok(batch.clone()),
            Content::Records(records) => maker.make(records, stamp)?,
        };
        *content = Content::Batch(batch.clone());
        Ok(batch)
    }
}

impl Parcel {
    fn met(self, fate: Fate) -> Report {
        Report { tickets: self.tickets, bytes: self.bytes, fate }
    }

    fn refused(self, refusal: &Refusal) -> Vec<Report> {
        let (Refusal { code, guilty }, length) = (refusal, self.cargo.bytes);
        if guilty.is_empty() {
            let alone = self.tickets.len() == 1;
            return vec![self.met(Fate::Refused { code: *code, alone, length })];
        }
        let (guilty, innocent): (Vec<_>, Vec<_>) =
            self.tickets.into_iter().enumerate().partition(|(index, _)| guilty.contains(index));
        let tickets = |records: Vec<(usize, usize)>| records.into_iter().map(|(_, ticket)| ticket).collect();
        let fate = Fate::Refused { code: *code, alone: true, length };
        let refused = Report { tickets: tickets(guilty), bytes: self.bytes, fate };
        vec![refused, Report { tickets: tickets(innocent), bytes: 0, fate: Fate::HandedBack }]
    }
}
