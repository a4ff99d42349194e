//! All that is on its way to a cluster, by topic and partition, and which of it goes to which broker next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aqueduct_api::Record;
use aqueduct_api::murmur2::partition_for_key;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::partition::{Added, BatchContents, BatchResult, Partition, ProducerId};
use super::report::{DeliveryReport, DeliveryStatus};
use crate::wire::record_batch::{BatchSequence, record_bytes_max};

/// A request takes no further batch beyond so many bytes, before compression: some services that speak Kafka's protocol
/// close the connection at a mebibyte.
const REQUEST_BYTES: usize = 1_000_000;
/// How long a topic may be unknown to a broker before that counts: it may be new, or its wake be late.
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
pub(super) struct Accumulator {
    /// By number; those that were forgotten close theirs to others.
    topics: Vec<Topic>,
    by_name: HashMap<String, usize>,
    /// Numbers that no topic has.
    free: Vec<usize>,
    /// Partitions that block something, and a few that did until now: the others may be many.
    active: Vec<PartitionIndex>,
    /// For partitions that nobody has written to yet.
    producer: Option<ProducerId>,
    /// Given and not answered, before compression.
    bytes: usize,
    /// Nothing waits for company until no more bytes than this are unanswered.
    flush_to: Option<usize>,
    limits: Limits,
}

/// How much, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a batch, before compression; a larger record is a batch of its own.
    pub batch_bytes: usize,
    /// How long a record may wait for others to share its batch.
    pub linger: Duration,
    /// Bytes of records without a delivery report, before compression.
    pub unanswered_bytes_max: usize,
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
    /// Something was returned, and its partitions are others now: what comes next could overtake it in another one.
    blocked: bool,
}

/// Where a batch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionIndex {
    pub(super) topic: usize,
    pub(super) partition: usize,
}

/// A batch that is to be sent now.
pub(super) struct DrainedBatch {
    pub(super) index: PartitionIndex,
    pub(super) topic: StrBytes,
    pub(super) sequence: BatchSequence,
    pub(super) contents: Arc<BatchContents>,
}

/// What came of a record that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// It is in a batch.
    Accepted,
    /// It is, and the task of this broker has to look.
    AcceptedWake(i32),
    /// It comes after one that was returned.
    Returned,
    /// There is no room.
    Full,
    /// It is not known yet who leads the partitions of the topic.
    NoLeaders {
        /// Nobody has asked for them yet.
        first: bool,
    },
    /// It can be written nowhere: Kafka's error code.
    Refused(i16),
}

/// What the cluster says of a topic.
pub(super) enum TopicMetadata {
    /// The leaders of its partitions, where there is one.
    Leaders(Vec<Option<i32>>),
    /// There is none of that name.
    Missing,
    /// It may not be seen, or have no such name: Kafka's number for it.
    Denied(i16),
}

impl Accumulator {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            topics: Vec::new(),
            by_name: HashMap::new(),
            free: Vec::new(),
            active: Vec::new(),
            producer: None,
            bytes: 0,
            flush_to: None,
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
            let idle = !topics[*number].blocked && topics[*number].partitions.iter().all(Partition::is_empty);
            if idle {
                topics[*number].partitions = Vec::new();
                free.push(*number);
            }
            !idle
        });
        self.active.retain(|index| !topics[index.topic].partitions.is_empty());
        // Whoever comes again is counted from the beginning.
        self.producer = None;
    }

    /// Takes a record.
    pub(super) fn append(&mut self, topic: usize, record: &Record, delivery_id: usize) -> Appended {
        let Self { topics, active, bytes, limits, .. } = self;
        let number = topic;
        let Some(topic) = topics.get_mut(number) else { return Appended::NoLeaders { first: true } };
        if topic.blocked {
            return Appended::Returned;
        }
        if topic.partitions.is_empty() {
            let first = !std::mem::replace(&mut topic.wanted, true);
            return topic.gone.map_or(Appended::NoLeaders { first }, Appended::Refused);
        }
        let size = record_bytes_max(record);
        if size > RECORD_BYTES_MAX {
            return Appended::Refused(MESSAGE_TOO_LARGE);
        }
        if *bytes > 0 && *bytes + size > limits.unanswered_bytes_max {
            self.flush_to.get_or_insert(limits.unanswered_bytes_max / 2);
            return Appended::Full;
        }
        let at = topic.partition_of(record);
        let now_ms = if record.timestamp_us.is_none() { now_ms() } else { 0 };
        let partition = &mut topic.partitions[at];
        if !std::mem::replace(&mut partition.listed, true) {
            active.push(PartitionIndex { topic: number, partition: at });
        }
        let added = partition.append(record, (delivery_id, size), topic.batch_bytes, now_ms);
        if added == Added::Returned {
            return Appended::Returned;
        }
        *bytes += size;
        match (added, partition.leader) {
            (Added::ToNewBatch, Some(node)) => Appended::AcceptedWake(node),
            _ => Appended::Accepted,
        }
    }

    /// What goes to this broker in the next request: of each partition one batch at most.
    pub(super) fn take(&mut self, node: i32, now: Instant) -> Vec<DrainedBatch> {
        let (mut drained, mut bytes, mut at, mut last) = (Vec::new(), 0, 0, 0);
        let linger = self.linger();
        let Self { topics, active, producer, .. } = self;
        active.retain(|index| {
            let Some(topic) = topics.get_mut(index.topic) else { return false };
            let Some(partition) = topic.partitions.get_mut(index.partition) else { return false };
            let fits = bytes == 0 || bytes + partition.next_bytes() <= REQUEST_BYTES;
            let taken = if fits { partition.take(node, now, linger, *producer) } else { None };
            let sent = taken.is_some();
            if let Some((contents, sequence)) = taken {
                bytes += contents.bytes;
                drained.push(DrainedBatch { index: *index, topic: topic.name.clone(), sequence, contents });
            }
            partition.listed = !partition.is_empty();
            at += usize::from(partition.listed);
            last = if sent { at } else { last };
            partition.listed
        });
        // Whoever did not fit comes first the next time.
        active.rotate_left(last);
        // One topic after the other, as the request has them.
        drained.sort_by_key(|batch| (batch.index.topic, batch.index.partition));
        drained
    }

    /// When something is due for this broker.
    pub(super) fn due(&self, node: i32) -> Option<Instant> {
        let (named, linger) = (self.producer.is_some(), self.linger());
        self.partitions().filter_map(|partition| partition.due(node, linger, named)).min()
    }

    fn linger(&self) -> Duration {
        if self.flush_to.is_some() { Duration::ZERO } else { self.limits.linger }
    }

    /// What is here goes as soon as it can: somebody waits for all of it.
    pub(super) fn flush(&mut self) {
        self.flush_to = (self.bytes > 0).then_some(0);
    }

    /// Whether there is no producer id for those that begin anew.
    pub(super) fn lacks_producer_id(&self) -> bool {
        self.producer.is_none()
    }

    /// Whether something waits for a producer id.
    pub(super) fn needs_producer_id(&self) -> bool {
        self.producer.is_none() && self.partitions().any(Partition::needs_producer_id)
    }

    /// A producer id that nobody had before.
    pub(super) fn name(&mut self, producer: ProducerId) {
        self.producer = Some(producer);
    }

    /// The answer of a broker for one batch.
    pub(super) fn ended(
        &mut self,
        index: PartitionIndex,
        sequence: BatchSequence,
        end: BatchResult,
        now: Instant,
    ) -> Vec<DeliveryReport> {
        let Some(topic) = self.topics.get_mut(index.topic) else { return Vec::new() };
        let Some(partition) = topic.partitions.get_mut(index.partition) else { return Vec::new() };
        let reports = partition.ended(sequence, end, now);
        for report in &reports {
            if let DeliveryStatus::Refused {
                code: MESSAGE_TOO_LARGE | RECORD_LIST_TOO_LARGE,
                alone: false,
                length,
            } = report.status
            {
                topic.batch_bytes = topic.batch_bytes.min((length / 2).max(BATCH_BYTES_MIN));
            }
        }
        let nameless = !partition.has_producer_id();
        self.account(reports, nameless)
    }

    /// The connection to this broker is gone.
    pub(super) fn lost(&mut self, node: i32, now: Instant) -> Vec<DeliveryReport> {
        let (mut reports, mut nameless) = (Vec::new(), false);
        for index in &self.active {
            let topic = self.topics.get_mut(index.topic);
            if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(index.partition)) {
                let of_partition = partition.lost(node, now);
                nameless |= !of_partition.is_empty() && !partition.has_producer_id();
                reports.extend(of_partition);
            }
        }
        self.account(reports, nameless)
    }

    /// What was returned is about to come again.
    pub(super) fn unblock(&mut self) {
        for index in &self.active {
            let topic = self.topics.get_mut(index.topic);
            topic.and_then(|topic| topic.partitions.get_mut(index.partition)).map(Partition::unblock);
        }
        self.topics.iter_mut().for_each(|topic| topic.blocked = false);
    }

    /// The topics whose leaders matter now, or ever.
    pub(super) fn names(&self, ever: bool) -> Vec<StrBytes> {
        let active: HashSet<usize> = self.active.iter().map(|index| index.topic).collect();
        let matters = |number: &usize, topic: &Topic| {
            topic.wanted || active.contains(number) || (ever && !topic.partitions.is_empty())
        };
        let known = self.by_name.values().filter_map(|number| Some((number, self.topics.get(*number)?)));
        known.filter(|(number, topic)| matters(number, topic)).map(|(_, topic)| topic.name.clone()).collect()
    }

    /// What comes next to this topic could overtake what has to come again.
    pub(super) fn block(&mut self, topic: usize) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.blocked = true;
        }
    }

    /// What the cluster says of a topic. That there is less of it than before is believed when it is said for long: the broker that
    /// says so may lag behind.
    pub(super) fn seen(&mut self, name: &str, seen: TopicMetadata, now: Instant) -> Vec<DeliveryReport> {
        let Some(number) = self.by_name.get(name) else { return Vec::new() };
        let Some(topic) = self.topics.get_mut(*number) else { return Vec::new() };
        let (code, leaders) = match seen {
            TopicMetadata::Leaders(leaders) => (None, leaders),
            TopicMetadata::Missing => (Some(UNKNOWN_TOPIC_OR_PARTITION), Vec::new()),
            TopicMetadata::Denied(code) => (Some(code), Vec::new()),
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
        topic.block();
        let (mut reports, mut nameless) = (Vec::new(), false);
        for partition in topic.partitions.iter_mut().skip(left) {
            let given_up = partition.fail_all(UNKNOWN_TOPIC_OR_PARTITION);
            nameless |= !given_up.is_empty() && !partition.has_producer_id();
            reports.extend(given_up);
        }
        while topic.partitions.len() > left && topic.partitions.last().is_some_and(Partition::holds_nothing) {
            topic.partitions.pop();
        }
        let left = topic.partitions.len();
        self.active.retain(|index| index.topic != *number || index.partition < left);
        // Should they come again, they are counted from the beginning.
        self.account(reports, nameless || left < before)
    }

    /// Brokers with something under way that they do not lead any more.
    pub(super) fn former_leaders(&self) -> Vec<i32> {
        self.partitions().filter_map(Partition::former_leader).collect()
    }

    /// Given and not answered.
    #[cfg(test)]
    pub(super) fn unanswered_bytes(&self) -> usize {
        self.bytes
    }

    /// Those that block something.
    fn partitions(&self) -> impl Iterator<Item = &Partition> {
        let at = |index: &PartitionIndex| self.topics.get(index.topic)?.partitions.get(index.partition);
        self.active.iter().filter_map(at)
    }

    /// `nameless`: somebody has used up all names of his producer.
    fn account(&mut self, reports: Vec<DeliveryReport>, nameless: bool) -> Vec<DeliveryReport> {
        let freed: usize = reports.iter().map(|report| report.bytes).sum();
        self.bytes = self.bytes.saturating_sub(freed);
        self.flush_to = self.flush_to.filter(|bytes| self.bytes > *bytes);
        if nameless {
            self.producer = None;
        }
        reports
    }
}

impl Topic {
    fn new(name: StrBytes, batch_bytes: usize) -> Self {
        let (partitions, sticky) = (Vec::new(), 0);
        let (doubted, gone, wanted, blocked) = (None, None, false, false);
        Self { name, batch_bytes, partitions, sticky, doubted, gone, wanted, blocked }
    }

    /// Gets partitions that are new.
    fn grow(&mut self, leaders: &[Option<i32>]) {
        let before = self.partitions.len();
        if leaders.len() > before {
            self.block();
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

    /// Its keys go elsewhere from now on, so what is on its way has to be answered, and what was returned to come again, before
    /// anything else does.
    fn block(&mut self) {
        self.blocked |= !self.partitions.iter().all(Partition::is_empty);
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
        let mut accumulator = Accumulator::new(limits);
        let (topic, mut now) = (accumulator.topic("t"), Instant::now());
        accumulator.seen("t", TopicMetadata::Leaders(vec![Some(0); 3]), now);
        for number in 0..20 {
            let record = Record {
                topic: "t".into(),
                origin: Origin::default(),
                key: Payload::Raw(format!("k{number}").into()),
                value: Payload::Raw("v".into()),
                headers: Default::default(),
                timestamp_us: Some(0),
            };
            assert!(matches!(
                accumulator.append(topic, &record, number),
                Appended::Accepted | Appended::AcceptedWake(_)
            ));
        }
        let blocked = |accumulator: &Accumulator| -> Vec<bool> {
            accumulator.topics[topic].partitions.iter().map(|it| !it.holds_nothing()).collect()
        };
        assert!(accumulator.seen("t", TopicMetadata::Leaders(vec![Some(0); 2]), now).is_empty());
        now += PROPAGATION;
        assert!(
            accumulator
                .seen("t", TopicMetadata::Missing, now)
                .iter()
                .all(|it| matches!(it.status, DeliveryStatus::Refused { .. }))
        );
        assert_eq!(blocked(&accumulator), [true, true], "the third is gone, and nothing but that");
        now += PROPAGATION / 2;
        assert!(accumulator.seen("t", TopicMetadata::Leaders(vec![Some(0)]), now).is_empty());
        now += PROPAGATION / 2;
        accumulator.seen("t", TopicMetadata::Missing, now);
        assert_eq!(blocked(&accumulator), [true], "the second was missing for long, the first for a moment");
        now += PROPAGATION;
        accumulator.seen("t", TopicMetadata::Missing, now);
        assert!(blocked(&accumulator).is_empty());
    }
}
