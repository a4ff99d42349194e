//! The world outside of the process: what survives a kill. It knows what is expected of every record and checks each
//! invariant at the moment it could be broken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::{Offsets, Partition, Record};

use crate::dice::Dice;

/// How the world behaves in one seed.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Records in each partition.
    pub records: u64,
    /// Partitions.
    pub partitions: usize,
    /// Lanes of the sink.
    pub lanes: usize,
    /// Percent of calls that fail or answer late.
    pub faults: u64,
    /// Longest pause of a sink call, in milliseconds.
    pub slow_ms: u64,
    /// Percent of polls that revoke partitions.
    pub revokes: u64,
    /// Whether the sink buffers.
    pub buffers: bool,
    /// Percent of flushes that leave a batch open, to be read again.
    pub holds: u64,
    /// Whether the source keeps its offsets itself, as a consumer group.
    pub group: bool,
    /// Whether the sink keeps the offsets, in the transaction of its data.
    pub transactional: bool,
}

/// The world, shared by the ends of every life.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

/// What survives a kill.
pub struct State {
    /// Chance.
    pub dice: Dice,
    /// Manners of this seed.
    pub manners: Manners,
    /// What is known of each partition.
    pub partitions: Vec<PartitionState>,
    /// What was found wrong; empty in a correct engine.
    pub violations: Vec<String>,
    /// Records made durable, repeats included.
    pub written: u64,
    /// Who may write to a transactional sink: grows with each that asks to.
    pub epoch: u64,
    /// Grows when partitions change hands.
    pub generation: u64,
    /// What the transactional sink of an earlier life had in hand when that life ended.
    pub frozen: Option<Transaction>,
    /// Transactions of earlier runs that came too late.
    pub fenced: u64,
}

/// One partition.
#[derive(Default)]
pub struct PartitionState {
    /// Its name.
    pub name: String,
    /// Records that are durable in the sink, or durably set aside.
    pub done: BTreeSet<u64>,
    /// The stored position.
    pub stored: u64,
    /// The released position.
    pub released: u64,
    /// What this life has given out.
    pub given: u64,
    /// Whether this process owns it.
    pub owned: bool,
    /// Whether it was asked to give it up.
    pub leaving: bool,
}

/// Records and offsets on their way into the world.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The epoch of the process.
    pub(crate) epoch: u64,
    /// The generation of the source which it can show.
    pub(crate) generation: Option<u64>,
    /// By partition and offset, in order.
    pub(crate) records: Vec<(usize, u64)>,
    pub(crate) offsets: Offsets,
    /// Whether the engine had asked for it when the process died.
    pub(crate) asked: bool,
}

/// Partition and offset of a record.
pub(crate) fn coordinates(record: &Record) -> (usize, u64) {
    (record.origin.partition as usize, record.origin.offset as u64)
}

/// What must become of a record: a pure function of its coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Written.
    Passes,
    /// Dropped by the transform.
    Dropped,
    /// Refused by the transform.
    BadTransform,
    /// Refused by the sink.
    Rejected,
    /// There is none: compacted away, aborted, or the marker of a transaction.
    Hole,
}

impl Expected {
    /// Whether it leaves no trace.
    fn is_nothing(self) -> bool {
        matches!(self, Expected::Dropped | Expected::Hole)
    }
}

/// See [`Expected`].
pub fn expected(partition: usize, offset: u64) -> Expected {
    // A third of the partitions end in holes, as behind a transaction.
    if partition % 3 == 1 && offset % 40 > 30 {
        return Expected::Hole;
    }
    match Dice::new((partition as u64) << 32 | offset).roll(20) {
        0 => Expected::Dropped,
        3 => Expected::Hole,
        1 => Expected::BadTransform,
        2 => Expected::Rejected,
        _ => Expected::Passes,
    }
}

/// The key of a record: one of three in its partition.
pub fn key(partition: usize, offset: u64) -> u64 {
    partition as u64 * 3 + Dice::new(offset).roll(3)
}

impl World {
    /// Nothing read, nothing stored.
    pub fn new(dice: Dice, manners: Manners) -> Self {
        let partitions = (0..manners.partitions)
            .map(|index| PartitionState { name: format!("topic/{index}"), owned: true, ..Default::default() })
            .collect();
        Self(Arc::new(Mutex::new(State {
            dice,
            manners,
            partitions,
            violations: Vec::new(),
            written: 0,
            epoch: 0,
            generation: 0,
            frozen: None,
            fenced: 0,
        })))
    }

    /// A look inside; never held across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chance, `times` out of a hundred.
    pub fn percent(&self, times: u64) -> bool {
        self.state().dice.percent(times)
    }

    /// Percent of calls that fail.
    pub fn faults(&self) -> u64 {
        self.state().manners.faults
    }

    /// Takes its time now and then, as the manners say.
    pub async fn dawdle(&self) {
        let pause = {
            let mut state = self.state();
            let slow_ms = state.manners.slow_ms;
            if slow_ms > 0 && state.dice.percent(30) { state.dice.roll(slow_ms) } else { 0 }
        };
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// What the offset store holds.
    pub fn stored(&self) -> Offsets {
        let state = self.state();
        let stored = state.partitions.iter().filter(|partition| partition.stored > 0);
        stored
            .map(|partition| (partition.name.as_str().into(), partition.stored.to_string().into()))
            .collect()
    }

    /// Offsets reach the store: invariants 1 and 9.
    pub fn store(&self, moved: &Offsets) {
        let mut state = self.state();
        for (index, position) in numbers(moved) {
            let partition = &state.partitions[index];
            let missing = (0..position)
                .find(|offset| !expected(index, *offset).is_nothing() && !partition.done.contains(offset));
            let (name, stored, owned) = (partition.name.clone(), partition.stored, partition.owned);
            if let Some(offset) = missing {
                let says = format!("invariant 1: {position} stored for {name}, but {offset} is not durable");
                state.violations.push(says);
            }
            if !owned {
                state
                    .violations
                    .push(format!("invariant 9: {position} stored for {name} after it was given up"));
            } else if position < stored {
                state.violations.push(format!("invariant 9: {name} went back from {stored} to {position}"));
            }
            let partition = &mut state.partitions[index];
            partition.stored = partition.stored.max(position);
        }
    }

    /// Offsets reach the source: invariant 4.
    pub fn release(&self, offsets: &Offsets) {
        let manners = self.state().manners.clone();
        if manners.group && !manners.transactional {
            self.store(offsets);
        }
        let mut state = self.state();
        for (index, position) in numbers(offsets) {
            let (name, stored) = (state.partitions[index].name.clone(), state.partitions[index].stored);
            if position > stored {
                state
                    .violations
                    .push(format!("invariant 4: {position} released for {name}, stored is {stored}"));
            }
            let partition = &mut state.partitions[index];
            partition.released = partition.released.max(position);
        }
    }

    /// A record becomes durable in the sink: invariants 7 and 10.
    pub fn durable(&self, index: usize, offset: u64) {
        let mut state = self.state();
        state.written += 1;
        let partition = &state.partitions[index];
        let earlier = (0..offset).filter(|other| key(index, *other) == key(index, offset));
        let mut passing = earlier.filter(|other| expected(index, *other) == Expected::Passes);
        let skipped = passing.find(|other| !partition.done.contains(other));
        let says = skipped.map(|other| {
            format!("invariant 7: {} {offset} is durable before {other} of its key", partition.name)
        });
        state.violations.extend(says);
        if !state.partitions[index].done.insert(offset) && state.manners.transactional {
            let says = format!("invariant 10: {offset} of {} is durable twice", state.partitions[index].name);
            state.violations.push(says);
        }
    }

    /// A record is durably set aside.
    pub fn set_aside(&self, index: usize, offset: u64) {
        let mut state = self.state();
        if !matches!(expected(index, offset), Expected::BadTransform | Expected::Rejected) {
            state.violations.push(format!("{offset} of partition {index} was set aside, but it passes"));
        }
        state.partitions[index].done.insert(offset);
    }

    /// What must hold when all is read.
    pub fn finished(&self) {
        let mut state = self.state();
        let records = state.manners.records;
        let mut found = Vec::new();
        for (index, partition) in state.partitions.iter().enumerate() {
            let missing = (0..records)
                .find(|offset| !expected(index, *offset).is_nothing() && !partition.done.contains(offset));
            if let Some(offset) = missing {
                found.push(format!("{offset} of {} is lost", partition.name));
            }
            if partition.stored != records {
                found.push(format!("{} ended at {}, not at {records}", partition.name, partition.stored));
            }
            if partition.released != partition.stored {
                let (released, stored) = (partition.released, partition.stored);
                found.push(format!(
                    "invariant 5: {} is released to {released}, stored {stored}",
                    partition.name
                ));
            }
        }
        state.violations.extend(found);
    }
}

impl State {
    /// Notes something wrong.
    pub fn violation(&mut self, says: impl Into<String>) {
        self.violations.push(says.into());
    }

    /// A partition goes to somebody else, who reads on from what is stored and may get somewhere.
    pub fn pass_over(&mut self, index: usize) {
        self.generation += 1;
        let stored = self.partitions[index].stored;
        let further = stored + self.dice.roll(4).min(self.manners.records - stored);
        let partition = &mut self.partitions[index];
        partition.owned = false;
        partition.done.extend(stored..further);
        partition.stored = further;
        partition.released = partition.released.max(further);
    }

    /// The position of each owned partition, in order.
    pub fn owned(&self) -> BTreeMap<usize, u64> {
        let all = self.partitions.iter().enumerate();
        all.filter(|(_, partition)| partition.owned)
            .map(|(index, partition)| (index, partition.given))
            .collect()
    }
}

/// The index in a partition's name.
pub fn index_of(partition: &Partition) -> usize {
    partition.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// The same by the index of the partition.
pub(crate) fn numbers(offsets: &Offsets) -> Vec<(usize, u64)> {
    offsets.iter().map(|(name, at)| (index_of(name), at.parse().unwrap_or_default())).collect()
}
