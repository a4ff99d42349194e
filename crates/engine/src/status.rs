//! What a pipeline is doing, as numbers: written by the stations, read by metrics, health and the live table.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::{Condition, Offsets, Partition};

use crate::budget::Budget;
use crate::stall::Progress;

/// Counters of one pipeline, all its tasks together; they only grow, also over restarts.
#[derive(Debug, Default)]
pub struct Status {
    /// Records read from the source.
    pub records_read: AtomicU64,
    /// Bytes of keys, values and headers read.
    pub bytes_read: AtomicU64,
    /// Records that the sink holds durably.
    pub records_written: AtomicU64,
    /// Records that a transform dropped.
    pub records_dropped: AtomicU64,
    /// Records set aside: skipped or written as dead letters.
    pub records_set_aside: AtomicU64,
    /// Writes, flushes and stores tried again.
    pub retries: AtomicU64,
    /// Errors that stopped a run.
    pub errors: AtomicU64,
    /// Times offsets were stored.
    pub commits: AtomicU64,
    /// Time spent storing offsets, in microseconds.
    pub commit_us: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    phase: Phase,
    tasks: BTreeMap<usize, TaskCounts>,
    partitions: BTreeMap<Partition, PartitionStatus>,
}

/// Where a pipeline stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Opening its ends.
    #[default]
    Starting,
    /// Records may flow.
    Running,
    /// Failed, and to be started again after a pause.
    Restarting {
        /// The error that ended the last run.
        error: String,
    },
    /// Will not be started again until somebody changes something.
    Failed {
        /// Why.
        error: String,
    },
    /// Finished in good order.
    Ended,
}

/// What one task holds in memory.
#[derive(Clone, Debug, Default)]
pub struct TaskCounts {
    /// Its budget.
    pub(crate) budget: Option<Arc<Budget>>,
    /// What its source waits for.
    pub source: Condition,
    /// What its sinks wait for.
    pub sink: Condition,
    /// What its formats wait for.
    pub formats: Condition,
    /// What the stations themselves wait for, one for each: for a call that failed to be tried again. Apart from what
    /// the ends say, and from each other, so that none takes back what another one said.
    pub stations: Vec<Condition>,
}

impl TaskCounts {
    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        [&self.source, &self.sink, &self.formats].into_iter().chain(&self.stations)
    }
}

/// What is known of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The position stored last, as the source writes it.
    pub committed: Option<Arc<str>>,
    /// Between the position stored last and the end, as last known: consumer lag, as Kafka's tools show it.
    pub lag_records: Option<i64>,
    /// Of these, between what was read and the end: the others are in flight or held by the sink.
    pub unread_records: Option<i64>,
    /// Event time of the last record read, in microseconds since 1970.
    pub read_time_us: Option<i64>,
}

impl Status {
    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.inner().phase.clone()
    }

    /// Moves it on; a pipeline that is started again has new tasks, keeps its counters, and knows of no partition yet: those it
    /// had may belong to somebody else now.
    pub fn set_phase(&self, phase: Phase) {
        let mut inner = self.inner();
        if matches!(phase, Phase::Starting) {
            inner.tasks.clear();
            inner.partitions.clear();
        }
        inner.phase = phase;
    }

    /// What its ends wait for, if anything.
    pub fn waiting_for(&self) -> Option<String> {
        let inner = self.inner();
        inner.tasks.values().flat_map(TaskCounts::conditions).find_map(Condition::reason)
    }

    /// What slows its ends down, if anything.
    pub fn slowed_by(&self) -> Option<String> {
        let inner = self.inner();
        inner.tasks.values().flat_map(TaskCounts::conditions).find_map(Condition::slowed_by)
    }

    /// How many tasks have nothing to do, and why, if any.
    pub fn stands_by(&self) -> Option<(usize, String)> {
        let inner = self.inner();
        let mut reasons: Vec<String> =
            inner.tasks.values().filter_map(|task| task.source.stands_by()).collect();
        Some((reasons.len(), reasons.pop()?))
    }

    /// For the watch over stalls.
    pub fn progress(&self) -> Progress {
        let counters = [
            &self.records_read,
            &self.records_written,
            &self.records_dropped,
            &self.records_set_aside,
            &self.retries,
            &self.errors,
            &self.commits,
        ];
        let done = counters.iter().map(|counter| counter.load(Ordering::Relaxed)).fold(0, u64::wrapping_add);
        let waits = self.phase() != Phase::Running || self.waiting_for().is_some();
        Progress { done, in_flight: self.in_flight().0, waits }
    }

    /// Batches and bytes in memory.
    pub fn in_flight(&self) -> (usize, usize) {
        let inner = self.inner();
        let budgets = inner.tasks.values().filter_map(|task| task.budget.as_ref());
        budgets.map(|budget| budget.in_use()).fold((0, 0), |sum, now| (sum.0 + now.0, sum.1 + now.1))
    }

    /// All partitions met so far.
    pub fn partitions(&self) -> BTreeMap<Partition, PartitionStatus> {
        self.inner().partitions.clone()
    }

    pub(crate) fn add_task(&self, task: usize, counts: TaskCounts) {
        self.inner().tasks.insert(task, counts);
    }

    pub(crate) fn read(&self, resume_at: &Offsets, records: u64, bytes: u64, time_us: Option<i64>) {
        self.records_read.fetch_add(records, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        let mut inner = self.inner();
        for partition in resume_at.keys() {
            if let Some(known) = inner.partitions.get_mut(partition) {
                known.read_time_us = time_us.or(known.read_time_us);
            } else {
                let first = PartitionStatus { read_time_us: time_us, ..PartitionStatus::default() };
                inner.partitions.insert(Partition::clone(partition), first);
            }
        }
    }

    /// Offsets were handed over to whoever keeps them.
    pub(crate) fn committed(&self, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// Offsets are known to be kept.
    pub(crate) fn stored(&self, offsets: &Offsets) {
        let mut inner = self.inner();
        for (partition, position) in offsets {
            let known = inner.partitions.entry(Partition::clone(partition)).or_default();
            known.committed = Some(Arc::clone(position));
        }
    }

    pub(crate) fn lag(&self, lags: Vec<aqueduct_api::Lag>) {
        let mut inner = self.inner();
        for lag in lags {
            let known = inner.partitions.entry(lag.partition).or_default();
            (known.lag_records, known.unread_records) = (Some(lag.records), Some(lag.unread));
        }
    }

    /// Partitions that were given up are no longer ours to report.
    pub(crate) fn forget(&self, partitions: &[Partition]) {
        let mut inner = self.inner();
        for partition in partitions {
            inner.partitions.remove(partition);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_knows_of_no_partition_and_keeps_the_counters() {
        let status = Status::default();
        status.read(&Offsets::from([("t/0".into(), "7".into())]), 7, 70, Some(1));
        status.lag(vec![aqueduct_api::Lag { partition: "t/0".into(), records: 5, unread: 3 }]);
        let known = status.partitions().remove("t/0").map(|it| (it.lag_records, it.unread_records));
        assert_eq!(known, Some((Some(5), Some(3))));
        status.set_phase(Phase::Restarting { error: "x".into() });
        assert_eq!(status.partitions().len(), 1);
        status.set_phase(Phase::Starting);
        assert_eq!(status.partitions().len(), 0, "it may have moved away");
        assert_eq!(status.records_read.load(Ordering::Relaxed), 7);
    }
}
