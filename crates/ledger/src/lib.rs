//! Which batches are acknowledged, and how far offsets may move. Pure: no clock, no I/O, no locks.
//!
//! Every partition has a queue of its open batches in the order they were read. A position may be stored when its
//! batch and all before it in the same partition are acknowledged (invariant 1); partitions do not wait for each other.

pub mod planted;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use aqueduct_api::{BatchId, Error, Offsets, Origin, Partition, Position, Records, Result};
use planted::{Bug, planted};

/// The ledger of one engine.
#[derive(Debug, Default)]
pub struct Ledger {
    queues: HashMap<Partition, VecDeque<Entry>>,
    open: HashMap<BatchId, Vec<Partition>>,
    held: HashSet<BatchId>,
    committable: Offsets,
    /// By topic and partition.
    last: HashMap<(Arc<str>, i32), Last>,
}

/// The last record that was entered of a partition.
#[derive(Debug)]
struct Last {
    offset: i64,
    /// As its batch names its partitions in positions.
    partitions: Vec<Partition>,
}

#[derive(Debug)]
struct Entry {
    batch: BatchId,
    resume_at: Position,
    acknowledged: bool,
}

impl Ledger {
    /// Enters a batch before any of its records goes on (invariant 2). Ids must grow from call to call. Offsets that do not
    /// grow inside a partition are an error: whatever the source, its records would arrive out of order (invariant 7), and
    /// a position stored behind them would stand for records that were not read (invariant 1). Records that carry the
    /// coordinates of another place are not held to them.
    pub fn open(&mut self, batch: BatchId, records: &Records, resume_at: &Offsets) -> Result<()> {
        self.advance(records, resume_at)?;
        for (partition, position) in resume_at {
            let entry = Entry { batch, resume_at: Position::clone(position), acknowledged: false };
            self.queues.entry(Partition::clone(partition)).or_default().push_back(entry);
        }
        self.open.insert(batch, resume_at.keys().cloned().collect());
        Ok(())
    }

    fn advance(&mut self, records: &Records, resume_at: &Offsets) -> Result<()> {
        if records.are_carried() || planted(Bug::OrderNotChecked) {
            return Ok(());
        }
        // Records of one partition mostly stand together, so the map is asked once for all of them.
        let mut run: Option<(&Arc<str>, i32, i64)> = None;
        for (topic, Origin { partition, offset }) in records.origins() {
            let before = match run {
                Some((of, number, last))
                    if number == partition && (Arc::ptr_eq(of, topic) || of == topic) =>
                {
                    Some(last)
                }
                _ => {
                    self.enter(run, resume_at);
                    self.last.get(&(Arc::clone(topic), partition)).map(|last| last.offset)
                }
            };
            if let Some(before) = before.filter(|before| offset <= *before) {
                return Err(went_back(topic, partition, before, offset));
            }
            run = Some((topic, partition, offset));
        }
        self.enter(run, resume_at);
        Ok(())
    }

    fn enter(&mut self, run: Option<(&Arc<str>, i32, i64)>, resume_at: &Offsets) {
        let Some((topic, partition, offset)) = run else { return };
        if let Some(last) = self.last.get_mut(&(Arc::clone(topic), partition)) {
            last.offset = offset;
            if !last.partitions.iter().eq(resume_at.keys()) {
                last.partitions = resume_at.keys().cloned().collect();
            }
            return;
        }
        let last = Last { offset, partitions: resume_at.keys().cloned().collect() };
        self.last.insert((Arc::clone(topic), partition), last);
    }

    /// All records of that batch are done. Acknowledging twice, or what was forgotten, changes nothing.
    pub fn acknowledge(&mut self, batch: BatchId) {
        self.held.remove(&batch);
        for partition in self.open.remove(&batch).unwrap_or_default() {
            let Some(queue) = self.queues.get_mut(&partition) else {
                continue;
            };
            let Ok(at) = queue.binary_search_by_key(&batch, |entry| entry.batch) else {
                continue;
            };
            queue[at].acknowledged = true;
            if planted(Bug::GapIgnored) {
                self.committable.insert(Partition::clone(&partition), Position::clone(&queue[at].resume_at));
            }
            while let Some(entry) = queue.pop_front_if(|entry| entry.acknowledged) {
                self.committable.insert(Partition::clone(&partition), entry.resume_at);
            }
        }
    }

    /// The sink was flushed and keeps this batch open on purpose: nobody waits for it any more. It is acknowledged later, or
    /// never, and then read again.
    pub fn hold(&mut self, batch: BatchId) {
        if self.open.contains_key(&batch) {
            self.held.insert(batch);
        }
    }

    /// How far offsets would move if these batches were acknowledged too, for a sink that commits them together with its data.
    /// `None` when a partition of them was given up meanwhile: then nothing of these batches may be committed (invariant 9).
    pub fn moved_by(&self, batches: &HashSet<BatchId>) -> Option<Offsets> {
        let mut partitions = HashSet::new();
        for batch in batches {
            for partition in self.open.get(batch).into_iter().flatten() {
                let queue = self.queues.get(partition);
                let here =
                    queue.is_some_and(|queue| queue.binary_search_by_key(batch, |it| it.batch).is_ok());
                if !here && !planted(Bug::GivenUpButCommitted) {
                    return None;
                }
                partitions.insert(partition);
            }
        }
        let mut moved = self.committable.clone();
        for partition in partitions {
            let queue = self.queues.get(partition).into_iter().flatten();
            let done = queue.take_while(|entry| entry.acknowledged || batches.contains(&entry.batch));
            moved.extend(done.last().map(|it| (Partition::clone(partition), Position::clone(&it.resume_at))));
        }
        Some(moved)
    }

    /// The positions that moved since the last call.
    pub fn take_committable(&mut self) -> Offsets {
        std::mem::take(&mut self.committable)
    }

    /// Whether anything may be stored now.
    pub fn has_committable(&self) -> bool {
        !self.committable.is_empty()
    }

    /// Whether none of these partitions has a batch that is waited for.
    pub fn is_drained(&self, partitions: &[Partition]) -> bool {
        let mut entries = partitions.iter().filter_map(|partition| self.queues.get(partition)).flatten();
        entries.all(|entry| entry.acknowledged || self.held.contains(&entry.batch))
    }

    /// Gives partitions up: what is acknowledged of them from now on moves nothing (invariant 9). They may come again from an
    /// earlier place.
    pub fn forget(&mut self, partitions: &[Partition]) {
        self.last.retain(|_, last| !last.partitions.iter().any(|it| partitions.contains(it)));
        if planted(Bug::AcknowledgedAfterRevoke) {
            return;
        }
        for partition in partitions {
            self.queues.remove(partition);
            self.committable.remove(partition);
        }
    }

    /// Batches entered and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.open.len()
    }

    /// Whether every batch is acknowledged or held.
    pub fn is_quiet(&self) -> bool {
        self.open.len() == self.held.len()
    }
}

fn went_back(topic: &Arc<str>, partition: i32, before: i64, offset: i64) -> Error {
    Error::fatal("the source went back inside a partition: its records would be written out of order")
        .with("topic", topic)
        .with("partition", partition)
        .with("offset", offset)
        .with("before", before)
        .remedy("nothing behind this place was stored; please report it with the log")
}
