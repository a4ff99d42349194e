//! Memory ends that misbehave by seed: a source that is revoked, a sink that forgets answers, a store that fails.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_api::{
    Batch, BatchId, Durable, Error, OffsetStore, Offsets, Outcome, Ownership, Partition, Payload, Polled,
    Projection, Proof, Record, Rejected, Result, Sink, Source, Transform, Written,
};
use aqueduct_ledger::planted::{Bug, planted};
use async_trait::async_trait;
use tokio::sync::Notify;

use crate::awkward::Awkward;
use crate::world::{Expected, World, coordinates, expected, index_of, key, numbers};

/// Gives the records of the world; owns partitions, loses them, gets them back.
pub struct WorldSource {
    world: World,
    /// Asked to be given up; the next poll lets them go.
    revoking: Vec<usize>,
    /// Partitions were lost, and with them the membership.
    lost: Arc<AtomicBool>,
    calm: bool,
    /// Checked at every poll: batches in memory, and how many may be.
    in_flight: Box<dyn Fn() -> usize + Send>,
    in_flight_max: usize,
}

impl WorldSource {
    /// A new life: every partition is ours and resumes where the sink says, or else where it was stored.
    pub fn open(
        world: &World,
        kept: Option<&Offsets>,
        in_flight: Box<dyn Fn() -> usize + Send>,
        in_flight_max: usize,
    ) -> Self {
        let kept = kept.map(|kept| numbers(kept).into_iter().collect::<BTreeMap<_, _>>());
        let mut state = world.state();
        // A member that joins makes a generation of its own.
        state.generation += 1;
        let found_itself = state.manners.transactional && kept.is_none();
        for (index, partition) in state.partitions.iter_mut().enumerate() {
            partition.owned = true;
            partition.leaving = false;
            partition.given = match &kept {
                Some(kept) => kept.get(&index).copied().unwrap_or(0),
                None => partition.stored,
            };
            if found_itself {
                // It has seen where its own system keeps the offsets: nobody has to release them.
                partition.released = partition.stored;
            }
        }
        let calm = state.manners.faults == 0;
        drop(state);
        Self {
            world: world.clone(),
            revoking: Vec::new(),
            lost: Arc::default(),
            calm,
            in_flight,
            in_flight_max,
        }
    }

    /// The engine polls again: what it was asked to give up is gone now (invariant 9).
    fn let_go(&mut self) {
        let mut state = self.world.state();
        for index in std::mem::take(&mut self.revoking) {
            let partition = &state.partitions[index];
            let (name, given, stored) = (partition.name.clone(), partition.given, partition.stored);
            if self.calm && given != stored {
                state.violation(format!(
                    "invariant 9: {name} was given up at {stored}, undrained up to {given}"
                ));
            }
            state.pass_over(index);
        }
    }

    /// Some partitions are gone without a word, and this source finds out later. Only a sink that asks for proof is safe from
    /// that.
    fn loses(&mut self) -> bool {
        let mut state = self.world.state();
        let manners = state.manners.clone();
        if !manners.transactional || manners.revokes == 0 || !state.dice.percent(1) {
            return false;
        }
        let owned = state.owned().into_keys().filter(|_| state.dice.percent(50)).collect::<Vec<_>>();
        owned.iter().for_each(|index| state.pass_over(*index));
        self.lost.store(!owned.is_empty(), Ordering::Release);
        !owned.is_empty()
    }

    /// Partitions that are away come back sooner or later.
    fn take_back(&mut self) {
        let mut state = self.world.state();
        for index in 0..state.partitions.len() {
            if !state.partitions[index].owned && state.dice.percent(30) {
                state.generation += 1;
                let partition = &mut state.partitions[index];
                partition.owned = true;
                partition.leaving = false;
                partition.given = partition.stored;
            }
        }
    }

    fn next(&mut self) -> Result<Polled> {
        let mut state = self.world.state();
        let faults = state.manners.faults;
        if state.dice.percent(faults) {
            return Err(Error::transient("the broker is away"));
        }
        let revokes = state.manners.revokes;
        let owned = state.owned();
        if !owned.is_empty() && state.dice.percent(revokes) {
            self.revoking = owned.keys().copied().filter(|_| state.dice.percent(50)).collect();
            for index in &self.revoking {
                state.partitions[*index].leaving = true;
            }
            let partitions: Vec<Partition> =
                self.revoking.iter().map(|index| state.partitions[*index].name.as_str().into()).collect();
            return Ok(if partitions.is_empty() { Polled::Idle } else { Polled::Revoked { partitions } });
        }
        let unread: Vec<usize> = owned
            .iter()
            .filter(|(_, given)| **given < state.manners.records)
            .map(|(index, _)| *index)
            .collect();
        if unread.is_empty() {
            let all_here = owned.len() == state.partitions.len();
            return Ok(if all_here { Polled::End } else { Polled::Idle });
        }
        let mut records = Vec::new();
        let mut resume_at = Offsets::new();
        for _ in 0..=u64::from(state.dice.percent(20)) {
            let index = unread[state.dice.roll(unread.len() as u64) as usize];
            let count = if state.dice.percent(10) { 60 } else { state.dice.roll(5) };
            for _ in 0..=count {
                let offset = state.partitions[index].given;
                if offset == state.manners.records {
                    break;
                }
                state.partitions[index].given += 1;
                if expected(index, offset) != Expected::Hole {
                    records.push(record(index, offset));
                }
            }
            let partition = &state.partitions[index];
            resume_at.insert(partition.name.as_str().into(), partition.given.to_string().into());
        }
        if planted(Bug::SourceWentBack) || planted(Bug::OrderNotChecked) {
            let first = usize::from(!records.is_empty());
            records.rotate_left(first);
        }
        Ok(Polled::Batch { records: records.into(), resume_at })
    }
}

#[async_trait]
impl Source for WorldSource {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        self.let_go();
        self.take_back();
        let held = (self.in_flight)();
        if held > self.in_flight_max {
            self.world.state().violation(format!("invariant 8: {held} batches in memory"));
        }
        if self.loses() {
            let found_out = self.world.state().dice.roll(1_000);
            tokio::time::sleep(Duration::from_millis(found_out)).await;
            return Err(Error::fatal("partitions were lost"));
        }
        if self.world.state().dice.percent(20) {
            let part = self.world.state().dice.roll(wait.as_millis() as u64);
            tokio::time::sleep(Duration::from_millis(part)).await;
        }
        let polled = self.next();
        if matches!(polled, Ok(Polled::Idle)) {
            tokio::time::sleep(wait).await;
        }
        polled
    }

    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        // Where nobody else may get the partitions there is nothing to show.
        let shared = self.world.state().manners.revokes > 0;
        let ownership = || WorldOwnership { world: self.world.clone(), lost: Arc::clone(&self.lost) };
        shared.then(|| Arc::new(ownership()) as _)
    }

    async fn release(&mut self, offsets: &Offsets) -> Result<()> {
        let faults = self.world.state().manners.faults;
        if self.world.state().manners.group && self.world.state().dice.percent(faults) {
            // A commit that fails is skipped, and made by a later one (invariant 6). The last one must hold.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.world.release(offsets);
        Ok(())
    }
}

/// Shows the generation of the moment.
struct WorldOwnership {
    world: World,
    lost: Arc<AtomicBool>,
}

impl Ownership for WorldOwnership {
    fn proof(&self) -> Result<Proof> {
        if self.lost.load(Ordering::Acquire) {
            return Err(Error::fatal("partitions were lost"));
        }
        Ok(Box::new(self.world.state().generation))
    }
}

/// Of all shapes, but for the key: which records are of one key is what the world checks the order by.
fn record(index: usize, offset: u64) -> Record {
    let key = match key(index, offset) {
        key if key % 3 == 0 => Payload::Absent,
        key if key % 3 == 1 => Payload::Raw(key.to_string().into()),
        key => Payload::Raw(vec![0xff, key as u8].into()),
    };
    Record { key, ..Awkward::bytes(7, 3_000).record("topic", index as i32, offset as i64) }
}

/// Drops and refuses records as is expected of them.
pub struct WorldTransform;

impl Transform for WorldTransform {
    fn projection(&self) -> Projection {
        Projection::default()
    }

    fn apply(&mut self, record: &mut Record) -> Result<Outcome> {
        let (index, offset) = coordinates(record);
        match expected(index, offset) {
            Expected::Dropped => Ok(Outcome::Drop),
            Expected::BadTransform => Err(Error::bad_record("refused by the transform")),
            Expected::Passes | Expected::Rejected | Expected::Hole => Ok(Outcome::Keep),
        }
    }
}

/// Buffers, forgets answers, refuses records, takes its time.
pub struct WorldSink {
    world: World,
    wakeup: Arc<Notify>,
    buffered: VecDeque<Arc<Batch>>,
}

impl WorldSink {
    /// A lane, which notifies `wakeup` now and then.
    pub fn open(world: &World, wakeup: &Arc<Notify>) -> Self {
        Self { world: world.clone(), wakeup: Arc::clone(wakeup), buffered: VecDeque::new() }
    }

    /// Makes records durable, refuses those of which that is expected.
    fn land(&self, records: &[Record], rejected: &mut Vec<Rejected>) {
        for record in records {
            let (index, offset) = coordinates(record);
            if expected(index, offset) == Expected::Rejected {
                let error = Error::bad_record("refused by the sink");
                rejected.push(Rejected { record: record.clone(), error });
            } else {
                self.world.durable(index, offset);
            }
        }
    }

    /// Lands the buffered batches that `pick` names, oldest first.
    fn land_buffered(&mut self, pick: impl Fn(&Batch) -> bool) -> Written {
        let (mut ids, mut rejected) = (Vec::new(), Vec::new());
        for batch in std::mem::take(&mut self.buffered) {
            if pick(&batch) {
                self.land(&batch.records, &mut rejected);
                ids.push(batch.id);
            } else {
                self.buffered.push_back(batch);
            }
        }
        Written { durable: Durable::Batches(ids), rejected }
    }

    /// Lands all buffered batches of some partitions: later batches may be durable before earlier ones, but never
    /// against the order of a partition.
    fn land_some(&mut self) -> Written {
        let pick = self.world.state().dice.roll(8) as i32;
        let mut blocked = Vec::new();
        let mut chosen: Vec<BatchId> = Vec::new();
        for batch in &self.buffered {
            let touched: Vec<i32> = batch.records.iter().map(|record| record.origin.partition).collect();
            let takes = touched.iter().all(|p| pick >> (p % 3) & 1 == 1 && !blocked.contains(p));
            if takes { chosen.push(batch.id) } else { blocked.extend(touched) }
        }
        self.land_buffered(|batch| chosen.contains(&batch.id))
    }
}

#[async_trait]
impl Sink for WorldSink {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        self.world.dawdle().await;
        let faults = self.world.faults();
        if self.world.percent(faults) {
            return Err(Error::transient("nothing was taken"));
        }
        if self.world.state().manners.buffers {
            self.buffered.push_back(Arc::clone(batch));
            if self.world.percent(20) {
                self.wakeup.notify_one();
            }
            return Ok(if self.world.percent(40) { self.land_some() } else { Written::nothing() });
        }
        if self.world.percent(faults) {
            let part = self.world.state().dice.roll(batch.records.len() as u64 + 1) as usize;
            self.land(&batch.records[..part], &mut Vec::new());
            return Err(Error::transient("some was written and the answer lost"));
        }
        let mut rejected = Vec::new();
        self.land(&batch.records, &mut rejected);
        self.world.dawdle().await;
        if self.world.percent(faults / 10) {
            return Err(Error::fatal("the connection is beyond repair"));
        }
        Ok(Written { durable: Durable::All, rejected })
    }

    async fn tick(&mut self) -> Result<Written> {
        Ok(if self.world.percent(30) { self.land_some() } else { Written::nothing() })
    }

    async fn flush(&mut self) -> Result<Written> {
        self.world.dawdle().await;
        let faults = self.world.faults();
        if self.world.percent(faults) {
            return Err(Error::transient("not now"));
        }
        let holds = self.world.state().manners.holds;
        if self.world.percent(holds) {
            // Keeps the batches of some partitions open: they are read again, unless a later answer reports them.
            return Ok(self.land_some());
        }
        let written = self.land_buffered(|_| true);
        Ok(if self.world.percent(50) { Written { durable: Durable::All, ..written } } else { written })
    }
}

/// Takes dead letters; durable when flushed.
pub struct WorldLetters {
    world: World,
    buffered: Vec<(usize, u64)>,
}

impl WorldLetters {
    /// Nothing buffered.
    pub fn open(world: &World) -> Self {
        Self { world: world.clone(), buffered: Vec::new() }
    }
}

#[async_trait]
impl Sink for WorldLetters {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        let faults = self.world.faults();
        if self.world.percent(faults) {
            return Err(Error::transient("nothing was taken"));
        }
        for record in &batch.records {
            let header = record.headers.last("aqueduct.offset").and_then(|header| header.value.clone());
            if header.as_deref() != Some(record.origin.offset.to_string().as_bytes()) {
                self.world.state().violation("a dead letter does not name its offset");
            }
            self.buffered.push(coordinates(record));
        }
        Ok(Written::nothing())
    }

    async fn flush(&mut self) -> Result<Written> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        for (index, offset) in std::mem::take(&mut self.buffered) {
            self.world.set_aside(index, offset);
        }
        Ok(Written::all())
    }
}

/// The offset store of the world: fails before, or after it has stored.
pub struct WorldStore(pub World);

#[async_trait]
impl OffsetStore for WorldStore {
    async fn load(&self, _: &str) -> Result<Offsets> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(self.0.stored())
    }

    async fn save(&self, _: &str, moved: &Offsets) -> Result<()> {
        let faults = self.0.state().manners.faults;
        if self.0.state().dice.percent(faults) {
            return Err(Error::transient("not stored"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let moved = moved.iter().filter(|(partition, _)| index_of(partition) < usize::MAX);
        self.0.store(&moved.map(|(p, at)| (Partition::clone(p), Arc::clone(at))).collect());
        if self.0.state().dice.percent(faults) {
            return Err(Error::transient("stored, and the answer lost"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(())
    }
}
