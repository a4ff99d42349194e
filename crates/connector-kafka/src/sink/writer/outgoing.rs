//! All that is on its way to a cluster, by topic and partition, and which of it goes to which broker next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aqueduct_api::Record;
use aqueduct_api::murmur2::partition_for_key;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::partition::{Cargo, End, Fate, Given, Partition, ProducerId, Report};
use crate::wire::record_batch::{Stamp, record_bytes_max};

/// A request takes no further batch when it has so many bytes, before compression.
const REQUEST_BYTES: usize = 8 << 20;
/// How long a topic may be unknown to a broker before that counts: it may be new, or its news be late.
const PROPAGATION: Duration = Duration::from_secs(10);
/// Kafka's number for a topic or partition that is not there.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// See the file's header.
pub(super) struct Outgoing {
    topics: Vec<Topic>,
    by_name: HashMap<String, usize>,
    /// For partitions that nobody has written to yet.
    producer: Option<ProducerId>,
    /// Given and not answered, before compression.
    bytes: usize,
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
    partitions: Vec<Partition>,
    /// Where records without a key go until their batch is full.
    sticky: usize,
    /// Since when no broker knows it.
    missing: Option<Instant>,
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
    /// It is not known yet who leads the topic.
    Unknown,
}

/// What the cluster says of a topic.
pub(super) enum Seen {
    /// The leaders of its partitions, where there is one.
    Leaders(Vec<Option<i32>>),
    /// There is none of that name.
    Missing,
}

impl Outgoing {
    pub(super) fn new(limits: Limits) -> Self {
        Self { topics: Vec::new(), by_name: HashMap::new(), producer: None, bytes: 0, limits }
    }

    /// The number of a topic, which is looked up from now on.
    pub(super) fn topic(&mut self, name: &str) -> usize {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let text = StrBytes::from_string(name.to_owned());
        self.topics.push(Topic { name: text, partitions: Vec::new(), sticky: 0, missing: None });
        self.by_name.insert(name.to_owned(), self.topics.len() - 1);
        self.topics.len() - 1
    }

    /// Takes a record.
    pub(super) fn give(&mut self, topic: usize, record: &Record, ticket: usize) -> Taken {
        let Self { topics, bytes, limits, .. } = self;
        let Some(topic) = topics.get_mut(topic).filter(|topic| !topic.partitions.is_empty()) else {
            return Taken::Unknown;
        };
        let size = record_bytes_max(record);
        if *bytes > 0 && *bytes + size > limits.unanswered_bytes_max {
            return Taken::Full;
        }
        let at = topic.partition_of(record);
        let now_ms = if record.timestamp_us.is_none() { now_ms() } else { 0 };
        let partition = &mut topic.partitions[at];
        let given = partition.give(record, (ticket, size), limits.batch_bytes, now_ms);
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
        let (mut shipments, mut bytes) = (Vec::new(), 0);
        let Self { topics, producer, limits, .. } = self;
        for (number, topic) in topics.iter_mut().enumerate() {
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                let Some((cargo, stamp)) = partition.take(node, now, limits.linger, *producer) else {
                    continue;
                };
                bytes += cargo.bytes;
                let place = Place { topic: number, partition: index };
                shipments.push(Shipment { place, topic: topic.name.clone(), stamp, cargo });
                if bytes >= REQUEST_BYTES {
                    return shipments;
                }
            }
        }
        shipments
    }

    /// When something is due for this broker.
    pub(super) fn due(&self, node: i32) -> Option<Instant> {
        let named = self.producer.is_some();
        self.partitions().filter_map(|partition| partition.due(node, self.limits.linger, named)).min()
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
        let partition =
            self.topics.get_mut(place.topic).and_then(|it| it.partitions.get_mut(place.partition));
        let reports = partition.map(|partition| partition.ended(stamp, end, now)).unwrap_or_default();
        self.account(reports)
    }

    /// The connection to this broker is gone.
    pub(super) fn lost(&mut self, node: i32, now: Instant) -> Vec<Report> {
        let partitions = self.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        let reports = partitions.flat_map(|partition| partition.lost(node, now)).collect();
        self.account(reports)
    }

    /// What was handed back is about to come again.
    pub(super) fn mend(&mut self) {
        self.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(Partition::mend);
    }

    /// The topics that are written to.
    pub(super) fn names(&self) -> Vec<StrBytes> {
        self.by_name.values().filter_map(|number| Some(self.topics.get(*number)?.name.clone())).collect()
    }

    /// What the cluster says of a topic; it may be too much or too little.
    pub(super) fn seen(&mut self, name: &str, seen: Seen, now: Instant) -> Vec<Report> {
        let Some(topic) = self.by_name.get(name).and_then(|number| self.topics.get_mut(*number)) else {
            return Vec::new();
        };
        let gone = match seen {
            Seen::Leaders(leaders) => {
                topic.missing = None;
                let count = leaders.len();
                if topic.partitions.len() < count {
                    topic.partitions.resize_with(count, Partition::default);
                }
                for (partition, leader) in topic.partitions.iter_mut().zip(leaders) {
                    // One that nobody leads for the moment stays with whom it had: he says if he is it no longer.
                    partition.leader = leader.or(partition.leader);
                }
                count
            }
            Seen::Missing if now - *topic.missing.get_or_insert(now) < PROPAGATION => return Vec::new(),
            Seen::Missing => 0,
        };
        let beyond = topic.partitions.iter_mut().skip(gone);
        let reports: Vec<Report> =
            beyond.flat_map(|partition| partition.give_up(UNKNOWN_TOPIC_OR_PARTITION)).collect();
        while topic.partitions.len() > gone && topic.partitions.last().is_some_and(Partition::is_idle) {
            topic.partitions.pop();
            // Should they come again, they are counted from the beginning.
            self.producer = None;
        }
        self.account(reports)
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

    fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    /// A number that was refused is not used again, so whoever begins anew does so as another producer.
    fn account(&mut self, reports: Vec<Report>) -> Vec<Report> {
        for report in &reports {
            self.bytes = self.bytes.saturating_sub(report.bytes);
            if report.fate != Fate::Stored {
                self.producer = None;
            }
        }
        reports
    }
}

impl Topic {
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
