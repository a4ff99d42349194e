//! Partitions that cannot be read on: at which offset each is stopped, and why. A state machine behind one lock; it calls no
//! library.
//!
//! librdkafka may skip a batch that it cannot read and return what comes behind it, so the records behind the offset are cut
//! off here, before they reach the engine: the partition ends there until its reading is tried again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::{Partition, Records};
use tokio::time::Instant;

use super::handoff::name_of;

/// How long a partition is paused before a batch that cannot be read is tried again.
pub(crate) const TRY_AGAIN: Duration = Duration::from_secs(20);

/// See the file's header.
#[derive(Default)]
pub(crate) struct StoppedPartitions {
    partitions: Mutex<HashMap<Partition, StoppedPartition>>,
    /// The time of the record that was polled last.
    times_us: Mutex<HashMap<Partition, i64>>,
}

/// One stopped partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoppedPartition {
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
    /// Everything before this offset is polled, nothing from it on.
    pub(crate) at: i64,
    /// Why it cannot be read on.
    pub(crate) why: StopReason,
    /// What the event thread has done about it.
    pub(crate) retry: Retry,
    /// When it has to do something again.
    due: Instant,
}

/// What the event thread has done about a stopped partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Nothing yet.
    Pending,
    /// It has paused the partition for a while.
    Paused,
    /// It has restarted the reading, and nothing was read yet.
    Restarted,
}

/// Why a partition cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// There is no such offset.
    OffsetOutOfRange,
    /// The topic was deleted and created again.
    TopicRecreated,
    /// The partition has no leader, so that no broker says where it begins.
    NoLeader,
    /// The batch there cannot be read, for this reason.
    Damaged(String),
}

impl StoppedPartitions {
    /// The partition ends here. Of one that is stopped already the first report counts, until its reading is restarted.
    pub(crate) fn stop(&self, topic: &str, partition: i32, at: i64, why: StopReason) {
        let mut partitions = self.lock();
        let stopped = partitions.entry(name_of(topic, partition)).or_insert_with(|| StoppedPartition {
            topic: topic.to_owned(),
            partition,
            at,
            why: why.clone(),
            retry: Retry::Pending,
            due: Instant::now(),
        });
        if stopped.retry == Retry::Restarted {
            *stopped =
                StoppedPartition { at, why, retry: Retry::Pending, due: Instant::now(), ..stopped.clone() };
        }
    }

    /// Cuts off the records behind the offset at which the partition is stopped; returns the offset to go on from. Nothing behind
    /// it may be stored as done (invariant 1).
    pub(crate) fn cut(&self, name: &Partition, records: &mut Records, next: i64) -> i64 {
        if let Some(time) = records.last_timestamp_us() {
            self.times_us.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), time);
        }
        let mut partitions = self.lock();
        let Some(stopped) = partitions.get(name).filter(|it| it.at < next) else { return next };
        if stopped.retry == Retry::Restarted {
            partitions.remove(name);
            return next;
        }
        records.cut(stopped.at);
        stopped.at
    }

    /// Those for which the event thread has to do something now.
    pub(crate) fn due(&self) -> Vec<StoppedPartition> {
        let now = Instant::now();
        let partitions = self.lock();
        partitions.values().filter(|it| it.retry != Retry::Restarted && it.due <= now).cloned().collect()
    }

    /// Something has been done about it; it is due again after that time.
    pub(crate) fn retry_in(&self, stopped: &StoppedPartition, retry: Retry, wait: Duration) {
        if let Some(stopped) = self.lock().get_mut(&name_of(&stopped.topic, stopped.partition)) {
            (stopped.retry, stopped.due) = (retry, Instant::now() + wait);
        }
    }

    /// These are not assigned any more, or go on at another offset.
    pub(crate) fn remove(&self, names: &[Partition]) {
        self.lock().retain(|name, _| !names.contains(name));
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<StoppedPartition> {
        let mut all: Vec<StoppedPartition> = self.lock().values().cloned().collect();
        all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        all
    }

    /// The time of the record that was polled last, in microseconds since 1970.
    pub(crate) fn time_us(&self, name: &Partition) -> Option<i64> {
        self.times_us.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Partition, StoppedPartition>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqueduct_api::{Origin, Payload, Record};

    fn records(offsets: std::ops::Range<i64>) -> Records {
        let record = |offset| Record {
            topic: "t".into(),
            origin: Origin { partition: 0, offset },
            key: Payload::Absent,
            value: Payload::Absent,
            headers: Default::default(),
            timestamp_us: Some(offset),
        };
        offsets.map(record).collect()
    }

    #[test]
    fn nothing_behind_a_stop_is_polled_until_it_is_tried_again() {
        let (stopped, name) = (StoppedPartitions::default(), name_of("t", 0));
        assert_eq!(stopped.cut(&name, &mut records(0..5), 5), 5);
        stopped.stop("t", 0, 8, StopReason::Damaged("x".into()));
        let mut batch = records(5..7);
        assert_eq!((stopped.cut(&name, &mut batch, 7), batch.len()), (7, 2));
        let batch = records(7..8);
        let mut batch: Records = batch.into_iter().chain(records(10..12)).collect();
        assert_eq!((stopped.cut(&name, &mut batch, 12), batch.len()), (8, 1));
        let mut batch = records(12..13);
        assert_eq!((stopped.cut(&name, &mut batch, 13), batch.len()), (8, 0));

        let partition = stopped.due().remove(0);
        stopped.retry_in(&partition, Retry::Paused, TRY_AGAIN);
        assert_eq!(stopped.due(), []);
        stopped.retry_in(&partition, Retry::Restarted, Duration::ZERO);
        stopped.stop("t", 0, 8, StopReason::Damaged("x".into()));
        assert_eq!(stopped.due().len(), 1, "the same again");
        stopped.retry_in(&partition, Retry::Restarted, Duration::ZERO);
        let mut batch = records(8..13);
        assert_eq!((stopped.cut(&name, &mut batch, 13), batch.len()), (13, 5));
        assert_eq!(stopped.all(), []);
    }
}
