//! One topic of the accumulator: its partitions, whether it exists, and which partition a record goes to.

use std::time::Duration;

use aqueduct_api::Record;
use aqueduct_api::murmur2::partition_for_key;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::partition::Partition;

/// How long a topic may be unknown to a broker before that counts: it may be new, or the broker's metadata old.
pub(super) const PROPAGATION: Duration = Duration::from_secs(10);
/// See the file's header.
pub(super) struct Topic {
    pub(super) name: StrBytes,
    /// A batch was refused for its size when it was larger.
    pub(super) batch_bytes: usize,
    pub(super) partitions: Vec<Partition>,
    /// Where records without a key go until their batch is full.
    sticky: usize,
    /// Since when some broker says that it has fewer partitions, or none.
    pub(super) shrunk_since: Option<Instant>,
    /// Why nothing can be written to it: Kafka's error code.
    pub(super) unavailable: Option<i16>,
    /// Records wait for its leaders.
    pub(super) needs_leaders: bool,
    /// Records were returned, and keys may go to other partitions now: what comes next could overtake them in another one.
    pub(super) blocked: bool,
}

/// What the cluster says of a topic.
pub(super) enum TopicMetadata {
    /// The leaders of its partitions, where there is one.
    Leaders(Vec<Option<i32>>),
    /// There is none of that name.
    Missing,
    /// It may not be described, or its name is invalid: Kafka's error code.
    Denied(i16),
}

impl Topic {
    pub(super) fn new(name: StrBytes, batch_bytes: usize) -> Self {
        let (partitions, sticky) = (Vec::new(), 0);
        let (shrunk_since, unavailable, needs_leaders, blocked) = (None, None, false, false);
        Self { name, batch_bytes, partitions, sticky, shrunk_since, unavailable, needs_leaders, blocked }
    }

    /// Adds partitions that are new.
    pub(super) fn add_partitions(&mut self, leaders: &[Option<i32>]) {
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

    /// Some broker says that there are so many partitions. For each partition beyond it is kept since when that is said: of three
    /// partitions one may be missing first and another later.
    pub(super) fn note_missing(&mut self, count: usize, now: Instant) {
        for (at, partition) in self.partitions.iter_mut().enumerate() {
            partition.missing = (at >= count).then(|| partition.missing.unwrap_or(now));
        }
    }

    /// How many partitions there are, without those that have been missing for long.
    pub(super) fn existing_partitions(&self, now: Instant) -> usize {
        let gone = |it: &Partition| it.missing.is_some_and(|since| now - since >= PROPAGATION);
        self.partitions.iter().position(gone).unwrap_or(self.partitions.len())
    }

    /// Keys go to other partitions from now on, so what is in flight has to have its response, and what was returned has to be
    /// given again, before anything else.
    pub(super) fn block(&mut self) {
        self.blocked |= !self.partitions.iter().all(Partition::is_empty);
    }

    /// By its key, as the Java client does it; without one to the partition of the record before, until that batch is closed.
    pub(super) fn partition_of(&mut self, record: &Record) -> usize {
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
