//! Records that wait for a produce request or for its response, by topic and partition, and which batches go to which broker
//! next. No network here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aqueduct_api::Record;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::partition::{Added, BatchContents, BatchResult, Partition, ProducerId};
use super::report::{DeliveryReport, DeliveryStatus};
use super::topic::{PROPAGATION, Topic, TopicMetadata};
use crate::wire::record_batch::{BatchSequence, record_bytes_max};

/// A request takes no further batch beyond so many bytes, before compression: some services that speak Kafka's protocol
/// close the connection at a mebibyte.
const REQUEST_BYTES: usize = 1_000_000;
/// Topics without records are forgotten when there are so many.
const TOPICS_MAX: usize = 10_000;
/// A larger record is refused without asking the broker, which would close the connection.
const RECORD_BYTES_MAX: usize = 100_000_000;
/// Batches are never made smaller than this because a topic refused larger ones.
const BATCH_BYTES_MIN: usize = 1 << 10;
/// Kafka's error codes for a batch that is too large.
const MESSAGE_TOO_LARGE: i16 = 10;
const RECORD_LIST_TOO_LARGE: i16 = 18;
/// Kafka's error code for a topic or partition that does not exist.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// See the file's header.
pub(super) struct Accumulator {
    /// By number; the numbers of topics that were forgotten are used again.
    topics: Vec<Topic>,
    by_name: HashMap<String, usize>,
    /// Numbers that no topic has.
    free: Vec<usize>,
    /// Partitions that hold records, and a few that held some until now: there may be many others.
    active: Vec<PartitionIndex>,
    /// For partitions that were not written to yet.
    producer_id: Option<ProducerId>,
    /// Of records without a delivery report, before compression.
    bytes: usize,
    /// Nothing lingers until no more bytes than this are without a delivery report.
    flush_to_bytes: Option<usize>,
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
    /// It is, and the task of this broker may have something to send.
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

impl Accumulator {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            topics: Vec::new(),
            by_name: HashMap::new(),
            free: Vec::new(),
            active: Vec::new(),
            producer_id: None,
            bytes: 0,
            flush_to_bytes: None,
            limits,
        }
    }

    /// The number of a topic, whose leaders are asked for from now on.
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

    /// Forgets topics without records: records may name any number of topics.
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
        // A topic that comes again has its sequences from 0: with another producer id.
        self.producer_id = None;
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
            let first = !std::mem::replace(&mut topic.needs_leaders, true);
            return topic.unavailable.map_or(Appended::NoLeaders { first }, Appended::Refused);
        }
        let size = record_bytes_max(record);
        if size > RECORD_BYTES_MAX {
            return Appended::Refused(MESSAGE_TOO_LARGE);
        }
        if *bytes > 0 && *bytes + size > limits.unanswered_bytes_max {
            self.flush_to_bytes.get_or_insert(limits.unanswered_bytes_max / 2);
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

    /// What goes to this broker in the next request: one batch of each partition at most.
    pub(super) fn drain(&mut self, node: i32, now: Instant) -> Vec<DrainedBatch> {
        let (mut drained, mut bytes, mut at, mut last) = (Vec::new(), 0, 0, 0);
        let linger = self.linger();
        let Self { topics, active, producer_id, .. } = self;
        active.retain(|index| {
            let Some(topic) = topics.get_mut(index.topic) else { return false };
            let Some(partition) = topic.partitions.get_mut(index.partition) else { return false };
            let fits = bytes == 0 || bytes + partition.next_bytes() <= REQUEST_BYTES;
            let taken = if fits { partition.take_batch(node, now, linger, *producer_id) } else { None };
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
        // What did not fit comes first the next time.
        active.rotate_left(last);
        // One topic after the other, as the request has them.
        drained.sort_by_key(|batch| (batch.index.topic, batch.index.partition));
        drained
    }

    /// When the next batch for this broker is due.
    pub(super) fn due(&self, node: i32) -> Option<Instant> {
        let (has_producer_id, linger) = (self.producer_id.is_some(), self.linger());
        self.partitions().filter_map(|partition| partition.due(node, linger, has_producer_id)).min()
    }

    fn linger(&self) -> Duration {
        if self.flush_to_bytes.is_some() { Duration::ZERO } else { self.limits.linger }
    }

    /// Nothing of what is here lingers.
    pub(super) fn flush(&mut self) {
        self.flush_to_bytes = (self.bytes > 0).then_some(0);
    }

    /// Whether there is no producer id for partitions that were not written to yet.
    pub(super) fn lacks_producer_id(&self) -> bool {
        self.producer_id.is_none()
    }

    /// Whether a batch waits for a producer id.
    pub(super) fn needs_producer_id(&self) -> bool {
        self.producer_id.is_none() && self.partitions().any(Partition::needs_producer_id)
    }

    /// A producer id that was not used before.
    pub(super) fn set_producer_id(&mut self, producer_id: ProducerId) {
        self.producer_id = Some(producer_id);
    }

    /// The response of a broker for one batch.
    pub(super) fn completed(
        &mut self,
        index: PartitionIndex,
        sequence: BatchSequence,
        result: BatchResult,
        now: Instant,
    ) -> Vec<DeliveryReport> {
        let Some(topic) = self.topics.get_mut(index.topic) else { return Vec::new() };
        let Some(partition) = topic.partitions.get_mut(index.partition) else { return Vec::new() };
        let reports = partition.completed(sequence, result, now);
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
        let used_up = !partition.has_producer_id();
        self.release(reports, used_up)
    }

    /// The connection to this broker is closed: nothing that is in flight on it will have a response.
    pub(super) fn disconnected(&mut self, node: i32, now: Instant) -> Vec<DeliveryReport> {
        let (mut reports, mut used_up) = (Vec::new(), false);
        for index in &self.active {
            let topic = self.topics.get_mut(index.topic);
            if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(index.partition)) {
                let of_partition = partition.disconnected(node, now);
                used_up |= !of_partition.is_empty() && !partition.has_producer_id();
                reports.extend(of_partition);
            }
        }
        self.release(reports, used_up)
    }

    /// What was returned is about to be given again.
    pub(super) fn unblock(&mut self) {
        for index in &self.active {
            let topic = self.topics.get_mut(index.topic);
            topic.and_then(|topic| topic.partitions.get_mut(index.partition)).map(Partition::unblock);
        }
        self.topics.iter_mut().for_each(|topic| topic.blocked = false);
    }

    /// The topics whose leaders are needed now; with `all`, those that were written to before as well.
    pub(super) fn topics_to_refresh(&self, all: bool) -> Vec<StrBytes> {
        let active: HashSet<usize> = self.active.iter().map(|index| index.topic).collect();
        let needed = |number: &usize, topic: &Topic| {
            topic.needs_leaders || active.contains(number) || (all && !topic.partitions.is_empty())
        };
        let known = self.by_name.values().filter_map(|number| Some((number, self.topics.get(*number)?)));
        known.filter(|(number, topic)| needed(number, topic)).map(|(_, topic)| topic.name.clone()).collect()
    }

    /// Returns what comes next for this topic, since it could overtake what has to be given again.
    pub(super) fn block(&mut self, topic: usize) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.blocked = true;
        }
    }

    /// Metadata of a topic. That it has fewer partitions than before counts once it was said for `PROPAGATION`, since a broker's
    /// metadata may be old.
    pub(super) fn update_metadata(
        &mut self,
        name: &str,
        metadata: TopicMetadata,
        now: Instant,
    ) -> Vec<DeliveryReport> {
        let Some(number) = self.by_name.get(name) else { return Vec::new() };
        let Some(topic) = self.topics.get_mut(*number) else { return Vec::new() };
        let (code, leaders) = match metadata {
            TopicMetadata::Leaders(leaders) => (None, leaders),
            TopicMetadata::Missing => (Some(UNKNOWN_TOPIC_OR_PARTITION), Vec::new()),
            TopicMetadata::Denied(code) => (Some(code), Vec::new()),
        };
        for (partition, leader) in topic.partitions.iter_mut().zip(&leaders) {
            // A partition without a leader keeps the one it had, which answers NOT_LEADER_OR_FOLLOWER if it is that no longer.
            partition.leader = leader.or(partition.leader);
        }
        let (before, count) = (topic.partitions.len(), leaders.len());
        let denied = code.is_some_and(|code| code != UNKNOWN_TOPIC_OR_PARTITION);
        if !denied {
            topic.note_missing(count, now);
        }
        let shrunk = count < before || code.is_some();
        if shrunk && now - *topic.shrunk_since.get_or_insert(now) < PROPAGATION {
            return Vec::new();
        }
        (topic.unavailable, topic.needs_leaders) = (code, false);
        if !shrunk {
            topic.shrunk_since = None;
            topic.add_partitions(&leaders);
            return Vec::new();
        }
        let left = topic.existing_partitions(now);
        if denied || left == before {
            // The partitions that exist have leaders, which answer produce requests themselves.
            return Vec::new();
        }
        topic.block();
        let (mut reports, mut used_up) = (Vec::new(), false);
        for partition in topic.partitions.iter_mut().skip(left) {
            let failed = partition.fail_all(UNKNOWN_TOPIC_OR_PARTITION);
            used_up |= !failed.is_empty() && !partition.has_producer_id();
            reports.extend(failed);
        }
        while topic.partitions.len() > left && topic.partitions.last().is_some_and(Partition::holds_nothing) {
            topic.partitions.pop();
        }
        let left = topic.partitions.len();
        self.active.retain(|index| index.topic != *number || index.partition < left);
        // Partitions that come again have their sequences from 0: with another producer id.
        self.release(reports, used_up || left < before)
    }

    /// Brokers with a batch in flight of a partition that they do not lead any more.
    pub(super) fn former_leaders(&self) -> Vec<i32> {
        self.partitions().filter_map(Partition::former_leader).collect()
    }

    /// Bytes of records without a delivery report.
    #[cfg(test)]
    pub(super) fn unanswered_bytes(&self) -> usize {
        self.bytes
    }

    /// Those that hold records.
    fn partitions(&self) -> impl Iterator<Item = &Partition> {
        let at = |index: &PartitionIndex| self.topics.get(index.topic)?.partitions.get(index.partition);
        self.active.iter().filter_map(at)
    }

    /// Gives back the memory of these records. `used_up`: some partition has used the last epoch of its producer id.
    fn release(&mut self, reports: Vec<DeliveryReport>, used_up: bool) -> Vec<DeliveryReport> {
        let freed: usize = reports.iter().map(|report| report.bytes).sum();
        self.bytes = self.bytes.saturating_sub(freed);
        self.flush_to_bytes = self.flush_to_bytes.filter(|bytes| self.bytes > *bytes);
        if used_up {
            self.producer_id = None;
        }
        reports
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqueduct_api::{Origin, Payload};

    /// A batch that is stored and has no response would be written again, behind what followed it.
    #[test]
    fn a_missing_partition_says_nothing_about_the_others() {
        let limits = Limits { batch_bytes: 1, linger: Duration::ZERO, unanswered_bytes_max: 1 << 20 };
        let mut accumulator = Accumulator::new(limits);
        let (topic, mut now) = (accumulator.topic("t"), Instant::now());
        accumulator.update_metadata("t", TopicMetadata::Leaders(vec![Some(0); 3]), now);
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
        let holding = |accumulator: &Accumulator| -> Vec<bool> {
            accumulator.topics[topic].partitions.iter().map(|it| !it.holds_nothing()).collect()
        };
        assert!(accumulator.update_metadata("t", TopicMetadata::Leaders(vec![Some(0); 2]), now).is_empty());
        now += PROPAGATION;
        assert!(
            accumulator
                .update_metadata("t", TopicMetadata::Missing, now)
                .iter()
                .all(|it| matches!(it.status, DeliveryStatus::Refused { .. }))
        );
        assert_eq!(holding(&accumulator), [true, true], "the third is gone, and nothing but that");
        now += PROPAGATION / 2;
        assert!(accumulator.update_metadata("t", TopicMetadata::Leaders(vec![Some(0)]), now).is_empty());
        now += PROPAGATION / 2;
        accumulator.update_metadata("t", TopicMetadata::Missing, now);
        assert_eq!(holding(&accumulator), [true], "the second was missing for long, the first for a moment");
        now += PROPAGATION;
        accumulator.update_metadata("t", TopicMetadata::Missing, now);
        assert!(holding(&accumulator).is_empty());
    }
}
