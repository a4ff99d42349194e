//! All that is on its way to a cluster, by topic and partition, and which of it goes to which broker next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aqueduct_api::Record;
use aqueduct_api::murmur2::partition_for_key;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::partition::{Cargo, End, Fate, Given, Partition, ProducerId, Report};
use crate::wire::record_batch::{Stamp, record_bytes_max};

/// A request takes no further batch beyond so many bytes, before compression: some services that speak Kafka's protocol
/// close the connection at a mebibyte.
const REQUEST_BYTES: usize = 1_000_000;
/// How long a topic may be unknown to a broker before that counts: it may be new, or its news be late.
const PROPAGATION: Duration = Duration::from_secs(10);
/// Topics that nothing is on its way to are forgotten when there are so many.
const TOPICS_MAX: usize = 10_000;
/// A record of more is taken for one that is too large without asking a broker: it would close the connection.
const RECORD_BYTES_MAX: usize = 100_000_000;
/// No topic is taken for one that takes smaller batches only.
const BATCH_BYTES_MIN: usize = 1 << 10;
/// Kafka's numbers for a batch that is too large.
const MESSAGE_TOO_LARGE: i16 = 10;
const RECORD_LIST_TOO_LARGE: i16 = 18;
/// Kafka's number for a topic or partition that is not there.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// See the file's header.
pub(super) struct Outgoing {
    /// By number; those that were forgotten leave theirs to others.
    topics: Vec<Topic>,
    by_name: HashMap<String, usize>,
    /// Numbers that no topic has.
    free: Vec<usize>,
    /// Partitions that hold something, and a few that did until now: the others may be many.
    busy: Vec<Place>,
    /// For partitions that nobody has written to yet.
    producer: Option<ProducerId>,
    /// Given and not answered, before compression.
    bytes: usize,
    /// Nothing waits for company until no more bytes than this are unanswered.
    hurry_to: Option<usize>,
    limits: Limits,
}

/// How much, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) unanswered_bytes_max: usize,
}

struct Topic {
    name: StrBytes,
    /// A batch was refused for its size when it was larger.
    batch_bytes: usize,
    partitions: Vec<Partition>,
    /// Where records without a key go until their batch is full.
    sticky: usize,
    /// Since when somebody says that it has fewer partitions, or none.
    doubted: Option<Instant>,
    /// Why nothing can be written to it, Kafka's number for it.
    gone: Option<i16>,
    /// Somebody waits for its leaders.
    wanted: bool,
    /// Something was handed back, and its partitions are others now: what comes next could overtake it in another one.
    held: bool,
}

/// Where a batch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: usize,
    pub(super) partition: usize,
}

/// A batch that is to be sent now.
pub(super) struct Shipment {
    pub(super) place: Place,
    pub(super) topic: StrBytes,
    pub(super) stamp: Stamp,
    pub(super) cargo: Arc<Cargo>,
}

/// What came of a record that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is on its way.
    Yes,
    /// It is, and this broker has to look.
    News(i32),
    /// It comes after one that was handed back.
    HandedBack,
    /// There is no room.
    Full,
    /// It is not known yet who leads the topic; whether that is news.
    Unknown(bool),
    /// It can go nowhere, for the reason of this number.
    Refused(i16),
}

/// What the cluster says of a topic.
pub(super) enum Seen {
    /// The leaders of its partitions, where there is one.
    Leaders(Vec<Option<i32>>),
    /// There is none of that name.
    Missing,
    /// It may not be seen, or have no such name: Kafka's number for it.
    Denied(i16),
}

impl Outgoing {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            topics: Vec::new(),
            by_name: HashMap::new(),
            free: Vec::new(),
            busy: Vec::new(),
            producer: None,
            bytes: 0,
            hurry_to: None,
            limits,
        }
    }

    /// The number of a topic, which is looked up from now on.
    pub(super) fn topic(&mut self, name: &str) -> usize {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        if self.by_name.len() >= TOPICS_MAX {
            self.forget();
        }
        let name_of = StrBytes::from_string(name.to_owned());
        let topic = Topic::new(name_of, self.limits.batch_bytes);
        let number = match self.free.pop() {
            Some(number) => {
                self.topics[number] = topic;
                number
            }
            None => {
                self.topics.push(topic);
                self.topics.len() - 1
            }
        };
        self.by_name.insert(name.to_owned(), number);
        number
    }

    /// Lets go of topics that nothing is on its way to: records may bring any number of names.
    fn forget(&mut self) {
        let Self { topics, by_name, free, .. } = self;
        by_name.retain(|_, number| {
            let idle = !topics[*number].held && topics[*number].partitions.iter().all(Partition::is_empty);
            if idle {
                topics[*number].partitions = Vec::new();
                free.push(*number);
            }
            !idle
        });
        self.busy.retain(|place| !topics[place.topic].partitions.is_empty());
        // Whoever comes again is counted from the beginning.
        self.producer = None;
    }

    /// Takes a record.
    pub(super) fn give(&mut self, topic: usize, record: &Record, ticket: usize) -> Taken {
        let Self { topics, busy, bytes, limits, .. } = self;
        let number = topic;
        let Some(topic) = topics.get_mut(number) else { return Taken::Unknown(true) };
        if topic.held {
            return Taken::HandedBack;
        }
        if topic.partitions.is_empty() {
            let news = !std::mem::replace(&mut topic.wanted, true);
            return topic.gone.map_or(Taken::Unknown(news), Taken::Refused);
        }
        let size = record_bytes_max(record);
        if size > RECORD_BYTES_MAX {
            return Taken::Refused(MESSAGE_TOO_LARGE);
        }
        if *bytes > 0 && *bytes + size > limits.unanswered_bytes_max {
            self.hurry_to.get_or_insert(limits.unanswered_bytes_max / 2);
            return Taken::Full;
        }
        let at = topic.partition_of(record);
        let now_ms = if record.timestamp_us.is_none() { now_ms() } else { 0 };
        let partition = &mut topic.partitions[at];
        if !std::mem::replace(&mut partition.listed, true) {
            busy.push(Place { topic: number, partition: at });
        }
        let given = partition.give(record, (ticket, size), topic.batch_bytes, now_ms);
        if given == Given::HandedBack {
            return Taken::HandedBack;
        }
        *bytes += size;
        match (given, partition.leader) {
            (Given::News, Some(node)) => Taken::News(node),
            _ => Taken::Yes,
        }
    }

    /// What goes to this broker in the next request: of each partition one batch at most.
    pub(super) fn take(&mut self, node: i32, now: Instant) -> Vec<Shipment> {
        let (mut shipments, mut bytes, mut at, mut last) = (Vec::new(), 0, 0, 0);
        let linger = self.linger();
        let Self { topics, busy, producer, .. } = self;
        busy.retain(|place| {
            let Some(topic) = topics.get_mut(place.topic) else { return false };
            let Some(partition) = topic.partitions.get_mut(place.partition) else { return false };
            let fits = bytes == 0 || bytes + partition.next_bytes() <= REQUEST_BYTES;
            let taken = if fits { partition.take(node, now, linger, *producer) } else { None };
            let sent = taken.is_some();
            if let Some((cargo, stamp)) = taken {
                bytes += cargo.bytes;
                shipments.push(Shipment { place: *place, topic: topic.name.clone(), stamp, cargo });
            }
            partition.listed = !partition.is_empty();
            at += usize::from(partition.listed);
            last = if sent { at } else { last };
            partition.listed
        });
        // Whoever did not fit comes first the next time.
        busy.rotate_left(last);
        // One topic after the other, as the request has them.
        shipments.sort_by_key(|shipment| (shipment.place.topic, shipment.place.partition));
        shipments
    }

    /// When something is due for this broker.
    pub(super) fn due(&self, node: i32) -> Option<Instant> {
        let (named, linger) = (self.producer.is_some(), self.linger());
        self.partitions().filter_map(|partition| partition.due(node, linger, named)).min()
    }

    fn linger(&self) -> Duration {
        if self.hurry_to.is_some() { Duration::ZERO } else { self.limits.linger }
    }

    /// What is here goes as soon as it can: somebody waits for all of it.
    pub(super) fn hurry(&mut self) {
        self.hurry_to = (self.bytes > 0).then_some(0);
    }

    /// Whether there is no producer id for those that begin anew.
    pub(super) fn lacks_producer(&self) -> bool {
        self.producer.is_none()
    }

    /// Whether something waits for a producer id.
    pub(super) fn is_nameless(&self) -> bool {
        self.producer.is_none() && self.partitions().any(Partition::is_nameless)
    }

    /// A producer id that nobody had before.
    pub(super) fn name(&mut self, producer: ProducerId) {
        self.producer = Some(producer);
    }

    /// The answer of a broker for one batch.
    pub(super) fn ended(&mut self, place: Place, stamp: Stamp, end: End, now: Instant) -> Vec<Report> {
        let Some(topic) = self.topics.get_mut(place.topic) else { return Vec::new() };
        let Some(partition) = topic.partitions.get_mut(place.partition) else { return Vec::new() };
        let reports = partition.ended(stamp, end, now);
        for report in &reports {
            if let Fate::Refused { code: MESSAGE_TOO_LARGE | RECORD_LIST_TOO_LARGE, alone: false, length } =
                report.fate
            {
                topic.batch_bytes = topic.batch_bytes.min((length / 2).max(BATCH_BYTES_MIN));
            }
        }
        let nameless = !partition.has_name();
        self.account(reports, nameless)
    }

    /// The connection to this broker is gone.
    pub(super) fn lost(&mut self, node: i32, now: Instant) -> Vec<Report> {
        let (mut reports, mut nameless) = (Vec::new(), false);
        for place in &self.busy {
            let topic = self.topics.get_mut(place.topic);
            if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(place.partition)) {
                let of_partition = partition.lost(node, now);
                nameless |= !of_partition.is_empty() && !partition.has_name();
                reports.extend(of_partition);
            }
        }
        self.account(reports, nameless)
    }

    /// What was handed back is about to come again.
    pub(super) fn mend(&mut self) {
        for place in &self.busy {
            let topic = self.topics.get_mut(place.topic);
            topic.and_then(|topic| topic.partitions.get_mut(place.partition)).map(Partition::mend);
        }
        self.topics.iter_mut().for_each(|topic| topic.held = false);
    }

    /// The topics whose leaders matter now, or ever.
    pub(super) fn names(&self, ever: bool) -> Vec<StrBytes> {
        let busy: HashSet<usize> = self.busy.iter().map(|place| place.topic).collect();
        let matters = |number: &usize, topic: &Topic| {
            topic.wanted || busy.contains(number) || (ever && !topic.partitions.is_empty())
        };
        let known = self.by_name.values().filter_map(|number| Some((number, self.topics.get(*number)?)));
        known.filter(|(number, topic)| matters(number, topic)).map(|(_, topic)| topic.name.clone()).collect()
    }

    /// What comes next to this topic could overtake what has to come again.
    pub(super) fn hold(&mut self, topic: usize) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.held = true;
        }
    }

    /// What the cluster says of a topic. That there is less of it than before is believed when it is said for long: the broker that
    /// says so may lag behind.
    pub(super) fn seen(&mut self, name: &str, seen: Seen, now: Instant) -> Vec<Report> {
        let Some(number) = self.by_name.get(name) else { return Vec::new() };
        let Some(topic) = self.topics.get_mut(*number) else { return Vec::new() };
        let (code, leaders) = match seen {
            Seen::Leaders(leaders) => (None, leaders),
            Seen::Missing => (Some(UNKNOWN_TOPIC_OR_PARTITION), Vec::new()),
            Seen::Denied(code) => (Some(code), Vec::new()),
        };
        for (partition, leader) in topic.partitions.iter_mut().zip(&leaders) {
            // One that nobody leads for the moment stays with whom it had: he says if he is it no longer.
            partition.leader = leader.or(partition.leader);
        }
        let (before, count) = (topic.partitions.len(), leaders.len());
        let denied = code.is_some_and(|code| code != UNKNOWN_TOPIC_OR_PARTITION);
        if !denied {
            topic.miss(count, now);
        }
        let less = count < before || code.is_some();
        if less && now - *topic.doubted.get_or_insert(now) < PROPAGATION {
            return Vec::new();
        }
        (topic.gone, topic.wanted) = (code, false);
        if !less {
            topic.doubted = None;
            topic.grow(&leaders);
            return Vec::new();
        }
        let left = topic.believed(now);
        if denied || left == before {
            // What is there has leaders, who say themselves what they think of us.
            return Vec::new();
        }
        topic.hold();
        let (mut reports, mut nameless) = (Vec::new(), false);
        for partition in topic.partitions.iter_mut().skip(left) {
            let given_up = partition.give_up(UNKNOWN_TOPIC_OR_PARTITION);
            nameless |= !given_up.is_empty() && !partition.has_name();
            reports.extend(given_up);
        }
        while topic.partitions.len() > left && topic.partitions.last().is_some_and(Partition::holds_nothing) {
            topic.partitions.pop();
        }
        let left = topic.partitions.len();
        self.busy.retain(|place| place.topic != *number || place.partition < left);
        // Should they come again, they are counted from the beginning.
        self.account(reports, nameless || left < before)
    }

    /// Brokers with something under way that they do not lead any more.
    pub(super) fn strays(&self) -> Vec<i32> {
        self.partitions().filter_map(Partition::stray).collect()
    }

    /// Given and not answered.
    #[cfg(test)]
    pub(super) fn unanswered_bytes(&self) -> usize {
        self.bytes
    }

    /// Those that hold something.
    fn partitions(&self) -> impl Iterator<Item = &Partition> {
        let at = |place: &Place| self.topics.get(place.topic)?.partitions.get(place.partition);
        self.busy.iter().filter_map(at)
    }

    /// `nameless`: somebody has used up all names of his producer.
    fn account(&mut self, reports: Vec<Report>, nameless: bool) -> Vec<Report> {
        let freed: usize = reports.iter().map(|report| report.bytes).sum();
        self.bytes = self.bytes.saturating_sub(freed);
        self.hurry_to = self.hurry_to.filter(|bytes| self.bytes > *bytes);
        if nameless {
            self.producer = None;
        }
        reports
    }
}

impl Topic {
    fn new(name: StrBytes, batch_bytes: usize) -> Self {
        let (partitions, sticky) = (Vec::new(), 0);
        let (doubted, gone, wanted, held) = (None, None, false, false);
        Self { name, batch_bytes, partitions, sticky, doubted, gone, wanted, held }
    }

    /// Gets partitions that are new.
    fn grow(&mut self, leaders: &[Option<i32>]) {
        let before = self.partitions.len();
        if leaders.len() > before {
            self.hold();
        }
        for leader in leaders.iter().skip(before) {
            let mut partition = Partition::default();
            partition.leader = *leader;
            self.partitions.push(partition);
        }
    }

    /// Somebody says that there are so many partitions. Each one beyond has its own time of doubt: who says that there is one
    /// where there were three does not vouch for whoever says later that there is none.
    fn miss(&mut self, count: usize, now: Instant) {
        for (at, partition) in self.partitions.iter_mut().enumerate() {
            partition.missing = (at >= count).then(|| partition.missing.unwrap_or(now));
        }
    }

    /// How many partitions there are, without those that have been missing for long.
    fn believed(&self, now: Instant) -> usize {
        let gone = |it: &Partition| it.missing.is_some_and(|since| now - since >= PROPAGATION);
        self.partitions.iter().position(gone).unwrap_or(self.partitions.len())
    }

    /// Its keys go elsewhere from now on, so what is on its way has to be answered, and what was handed back to come again, before
    /// anything else does.
    fn hold(&mut self) {
        self.held |= !self.partitions.iter().all(Partition::is_empty);
    }

    /// By its key, as the Java client does it; without one where the last one went, until that batch is closed.
    fn partition_of(&mut self, record: &Record) -> usize {
        let count = self.partitions.len();
        if let Some(key) = record.key.bytes() {
            return partition_for_key(key, count as u32) as usize;
        }
        if self.partitions.get(self.sticky).is_none_or(Partition::is_closed) {
            let others = (1..=count).map(|step| (self.sticky + step) % count);
            let led = |at: &usize| self.partitions[*at].leader.is_some();
            self.sticky = others.clone().find(led).unwrap_or((self.sticky + 1) % count);
        }
        self.sticky
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqueduct_api::{Origin, Payload};

    /// A batch that is stored and not answered would be written again, behind what followed it.
    #[test]
    fn a_doubt_about_some_partitions_is_none_about_the_others() {
        let limits = Limits { batch_bytes: 1, linger: Duration::ZERO, unanswered_bytes_max: 1 << 20 };
        let mut outgoing = Outgoing::new(limits);
        let (topic, mut now) = (outgoing.topic("t"), Instant::now());
        outgoing.seen("t", Seen::Leaders(vec![Some(0); 3]), now);
        for number in 0..20 {
            let record = Record {
                topic: "t".into(),
                origin: Origin::default(),
                key: Payload::Raw(format!("k{number}").into()),
                value: Payload::Raw("v".into()),
                headers: Default::default(),
                timestamp_us: Some(0),
            };
            assert!(matches!(outgoing.give(topic, &record, number), Taken::Yes | Taken::News(_)));
        }
        let held = |outgoing: &Outgoing| -> Vec<bool> {
            outgoing.topics[topic].partitions.iter().map(|it| !it.holds_nothing()).collect()
        };
        assert!(outgoing.seen("t", Seen::Leaders(vec![Some(0); 2]), now).is_empty());
        now += PROPAGATION;
        assert!(
            outgoing.seen("t", Seen::Missing, now).iter().all(|it| matches!(it.fate, Fate::Refused { .. }))
        );
        assert_eq!(held(&outgoing), [true, true], "the third is gone, and nothing but that");
        now += PROPAGATION / 2;
        assert!(outgoing.seen("t", Seen::Leaders(vec![Some(0)]), now).is_empty());
        now += PROPAGATION / 2;
        outgoing.seen("t", Seen::Missing, now);
        assert_eq!(held(&outgoing), [true], "the second was missing for long, the first for a moment");
        now += PROPAGATION;
        outgoing.seen("t", Seen::Missing, now);
        assert!(held(&outgoing).is_empty());
    }
}
