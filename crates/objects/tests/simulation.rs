//! The sink of files against an obvious model, by the thousand: records of all sizes, random batches, random bounds, kills
//! at any await, lost answers, writers that lost their partitions and do not know it, topics that are made anew or
//! compacted between two runs, and files of others at the names that are needed. `SEEDS=n` runs more, `SEED=n` one.

#![allow(clippy::unwrap_used)]

mod log;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::config;
use aqueduct_api::{Batch, BatchId, Durable, ErrorKind, Incarnations, Origin, Sink, Written};
use aqueduct_objects::config::{Compression, Format, Lines, OnNullValue, Rotate};
use aqueduct_objects::{ObjectsSink, Settings};
use log::{Log, Shape, is_bad, line};
use store::{MemoryStore, Rng};
use tokio::sync::Semaphore;

#[test]
fn every_record_stands_once_and_nothing_counts_too_early() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(1_000),
    };
    let mut seen = Seen::default();
    for seed in seeds {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let one = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(World::new(seed).run())
        }));
        match one {
            Ok(one) => seen.add(&one),
            Err(panic) => {
                eprintln!("failing seed: SEED={seed} cargo test -p aqueduct-objects --test simulation");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{seen:?}");
    // A simulation in which nothing happens proves nothing.
    if number("SEED").is_none() {
        let Seen { kills, conflicts, stops, adoptions, lost_answers, flushes, rejected, zombies, .. } = seen;
        let all = [kills, conflicts, stops, adoptions, lost_answers, flushes, rejected, zombies];
        assert!(all.iter().all(|n| *n > 50));
    }
}

#[derive(Debug, Default)]
struct Seen {
    records: u64,
    objects: u64,
    kills: u64,
    conflicts: u64,
    /// Conflicts that no restart heals.
    stops: u64,
    adoptions: u64,
    lost_answers: u64,
    flushes: u64,
    rejected: u64,
    zombies: u64,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.records += other.records;
        self.objects += other.objects;
        self.kills += other.kills;
        self.conflicts += other.conflicts;
        self.stops += other.stops;
        self.adoptions += other.adoptions;
        self.lost_answers += other.lost_answers;
        self.flushes += other.flushes;
        self.rejected += other.rejected;
        self.zombies += other.zombies;
    }
}

/// What happens between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// Nothing: there is no reason to stop then, and each record stands there once.
    Plain,
    /// A partition has other records at the same offsets.
    Anew,
    /// Records that were not passed yet are gone.
    Compacted,
    /// Objects of others stand at the names that are needed first.
    Foreign,
}

/// A writer at work: where it reads, what it took and was not reported, what it set aside.
struct Task {
    sink: ObjectsSink,
    next: Vec<usize>,
    batches: BTreeMap<BatchId, Taken>,
    reported: BTreeSet<BatchId>,
    set_aside: BTreeSet<(usize, i64)>,
    batch: u64,
    /// How often logs had changed when it began.
    changes: u64,
}

struct Taken {
    ends: Vec<(usize, usize)>,
}

struct World {
    rng: Rng,
    store: Arc<MemoryStore>,
    logs: Vec<Log>,
    shape: Shape,
    settings: Settings,
    seed: u64,
    story: Story,
    /// Whether the source says to which incarnation offsets belong.
    vouches: bool,
    changes: u64,
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xABCD);
        let shape = Shape::of(&mut rng);
        let logs: Vec<Log> = (0..1 + rng.below(3))
            .map(|partition| Log::new(&mut rng, seed, shape, partition as i32, 0))
            .collect();
        let compression = [Compression::None, Compression::Zstd, Compression::Gzip][rng.below(3) as usize];
        let path =
            ["{topic}/{partition}-{start_offset}", "{topic}/{timestamp:%H}/{partition}-{start_offset}"];
        let path = path[rng.below(2) as usize];
        let story = [Story::Plain, Story::Anew, Story::Compacted, Story::Foreign, Story::Plain];
        let story = story[rng.below(5) as usize];
        let larger = rng.below(10);
        let settings = Settings {
            path: path.parse().unwrap(),
            format: Format::Lines(Lines {
                compression,
                level: Some(1).filter(|_| compression != Compression::None),
            }),
            rotate: Rotate {
                records_max: Some(10 + rng.below(60)).filter(|_| rng.0 & 8 == 0),
                bytes_max: config::Size(200 + rng.below(3_000 << larger)),
                age_max: config::Duration::from_millis(500 + rng.below(20_000)),
            },
            on_null_value: OnNullValue::Reject,
            buffer_max_bytes: 500 + rng.below(4_000 << larger) as usize,
        };
        let store = MemoryStore::new(rng.next());
        if story == Story::Foreign && !path.contains("%H") {
            for log in &logs {
                let Some(first) = log.records.iter().find(|record| !is_bad(record)) else { continue };
                let Origin { partition, offset } = first.origin;
                let name = format!("t/{partition}-{offset:020}{}", settings.format.suffix());
                store.put_foreign(name, compression, &log.records);
            }
        }
        let vouches = rng.below(2) == 0;
        Self { rng, store, logs, shape, settings, seed, story, vouches, changes: 0, seen: Seen::default() }
    }

    async fn run(mut self) -> Seen {
        let mut zombie: Option<Task> = None;
        let lives = 1 + self.rng.below(8);
        for life in 0..=lives {
            // The last life is left in peace, so that all ends.
            let in_peace = life == lives;
            self.store.calm(in_peace);
            if life > 0 {
                self.between_runs();
            }
            let mut task = self.start();
            let steps = self.rng.below(40);
            let mut alive = true;
            let mut step = 0;
            while alive && (in_peace || step < steps) {
                step += 1;
                if in_peace && (self.all_stored() || self.is_waiting(&task, step)) {
                    break;
                }
                assert!(step < 20_000, "no end in sight");
                alive = self.step(&mut task, in_peace, true).await;
                if let Some(other) = &mut zombie
                    && self.rng.below(3) == 0
                    && !self.step(other, false, false).await
                {
                    zombie = None;
                }
            }
            if in_peace && !alive {
                // A zombie was ahead, or a file was moved: as many lives as it takes, with nobody else at work.
                zombie = None;
                drop(task);
                self.get_through().await;
            } else if alive && self.rng.below(3) == 0 && !in_peace {
                zombie = Some(task);
                self.seen.zombies += 1;
            }
        }
        self.verify();
        self.seen
    }

    async fn get_through(&mut self) {
        for _ in 0..200 {
            let (mut task, mut step, mut alive) = (self.start(), 0, true);
            while alive && !self.all_stored() && !self.is_waiting(&task, step) {
                step += 1;
                alive = self.step(&mut task, true, true).await;
            }
            if alive {
                return;
            }
        }
        panic!("it never gets through");
    }

    fn start(&mut self) -> Task {
        let incarnations = Incarnations::default();
        for (partition, log) in self.logs.iter().enumerate().filter(|_| self.vouches) {
            incarnations.set("t", partition as i32, format!("generation {}", log.generation));
        }
        let context = SinkContext { incarnations, ..SinkContext::new("p") };
        let slots = Arc::new(Semaphore::new(1 + self.rng.below(3) as usize));
        let store: Arc<dyn aqueduct_objects::Store> = self.store.clone();
        Task {
            sink: ObjectsSink::new(store, self.settings.clone(), slots, &context).unwrap(),
            next: self.logs.iter().map(|log| log.stored).collect(),
            batches: BTreeMap::new(),
            reported: BTreeSet::new(),
            set_aside: BTreeSet::new(),
            batch: 0,
            changes: self.changes,
        }
    }

    fn all_stored(&self) -> bool {
        self.logs.iter().all(|log| log.stored == log.records.len())
    }

    /// The last records of an object were compacted away, and it waits for what comes next; what came is the same, as
    /// `verify` finds out.
    fn is_waiting(&self, task: &Task, step: u64) -> bool {
        let ends = self.logs.iter().map(|log| log.records.len());
        self.story == Story::Compacted && step > 1_000 && task.next.iter().copied().eq(ends)
    }

    /// Now and then a partition changes while nobody reads it.
    fn between_runs(&mut self) {
        if self.rng.below(2) == 0 {
            return;
        }
        let partition = self.rng.below(self.logs.len() as u64) as usize;
        let old = &mut self.logs[partition];
        match self.story {
            Story::Plain | Story::Foreign => return,
            Story::Anew => {
                let generation = old.generation + 1;
                *old = Log::new(&mut self.rng, self.seed, self.shape, partition as i32, generation);
            }
            Story::Compacted => {
                let (mut index, stored, rng) = (0, old.stored, &mut self.rng);
                old.records.retain(|_| {
                    index += 1;
                    index <= stored || rng.below(5) > 0
                });
            }
        }
        self.changes += 1;
    }

    /// One call of the sink; false when the writer is dead.
    async fn step(&mut self, task: &mut Task, in_peace: bool, owner: bool) -> bool {
        if self.rng.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(self.rng.below(5_000))).await;
        }
        let polls = if !in_peace && self.rng.below(12) == 0 { self.rng.below(25) } else { u64::MAX };
        // Who began before logs changed has what he read, and reads no more.
        let batch = if task.changes == self.changes { self.batch(task) } else { None };
        let action = self.rng.below(10);
        let outcome = match (&batch, action) {
            (Some(batch), 0..=6) => {
                let outcome = Killed::after(polls, task.sink.write(batch)).await;
                if matches!(outcome, Some(Ok(_))) {
                    self.taken(task, batch);
                }
                outcome
            }
            (_, 9) | (None, _) => {
                self.seen.flushes += 1;
                Killed::after(polls, task.sink.flush()).await
            }
            _ => Killed::after(polls, task.sink.tick()).await,
        };
        match outcome {
            None => {
                self.seen.kills += 1;
                false
            }
            Some(Err(error)) => {
                match error.kind() {
                    ErrorKind::Fatal => self.seen.conflicts += 1,
                    ErrorKind::Config if owner => {
                        assert!(self.story != Story::Plain, "there is no reason to stop: {error}");
                        self.seen.stops += 1;
                        // What the message says.
                        self.store.move_away(error.says().split('`').nth(1).unwrap());
                    }
                    ErrorKind::Config => {}
                    _ => panic!("{error}"),
                }
                false
            }
            Some(Ok(written)) => {
                self.acknowledge(task, written, owner);
                true
            }
        }
    }

    /// The next batch: mostly of one partition, now and then of several.
    fn batch(&mut self, task: &mut Task) -> Option<Arc<Batch>> {
        let mut parts = 1 + u64::from(self.rng.below(5) == 0);
        let mut next = task.next.clone();
        let mut records = Vec::new();
        while parts > 0 {
            parts -= 1;
            let partition = self.rng.below(self.logs.len() as u64) as usize;
            let log = &self.logs[partition];
            let records_max = [1, 10, 10, 10, 4_000][self.rng.below(5) as usize];
            let count = (1 + self.rng.below(records_max) as usize).min(log.records.len() - next[partition]);
            records.extend_from_slice(&log.records[next[partition]..next[partition] + count]);
            next[partition] += count;
        }
        if records.is_empty() {
            return None;
        }
        task.batch += 1;
        Some(Batch::new(BatchId(task.batch), records.into(), None))
    }

    fn taken(&mut self, task: &mut Task, batch: &Arc<Batch>) {
        let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
        for record in &batch.records {
            *ends.entry(record.origin.partition as usize).or_default() += 1;
        }
        for (partition, count) in &mut ends {
            task.next[*partition] += *count;
            *count = task.next[*partition];
        }
        task.batches.insert(batch.id, Taken { ends: ends.into_iter().collect() });
    }

    /// What the engine does with an answer: set aside first, then move the offsets over the batches that are
    /// reported without a gap.
    fn acknowledge(&mut self, task: &mut Task, written: Written, owner: bool) {
        for rejected in written.rejected {
            let origin = rejected.record.origin;
            task.set_aside.insert((origin.partition as usize, origin.offset));
            self.seen.rejected += 1;
        }
        let Durable::Batches(reported) = written.durable else { panic!("this sink names its batches") };
        task.reported.extend(reported);
        if !owner {
            return;
        }
        for partition in 0..self.logs.len() {
            let of_it = task.batches.iter().filter_map(|(id, taken)| {
                let end = taken.ends.iter().find(|(of, _)| *of == partition);
                end.map(|(_, end)| (*id, *end))
            });
            let acknowledged = of_it.take_while(|(id, _)| task.reported.contains(id)).last();
            let Some((_, end)) = acknowledged else { continue };
            if end > self.logs[partition].stored {
                self.check_durable(partition, self.logs[partition].stored..end, task);
                self.logs[partition].stored = end;
            }
        }
    }

    /// Invariant 1: what an offset passes over stands in the store, or was set aside.
    fn check_durable(&mut self, partition: usize, range: std::ops::Range<usize>, task: &Task) {
        for record in &self.logs[partition].records[range] {
            let id = (partition, record.origin.offset);
            if is_bad(record) {
                assert!(
                    task.set_aside.contains(&id),
                    "passed over a bad record that was not set aside: {id:?}"
                );
            } else {
                assert!(self.store.has(&line(record)), "passed over a record that stands nowhere: {id:?}");
            }
        }
    }

    /// At the end each record stands exactly once, and in order inside its object.
    fn verify(&mut self) {
        let lines = self.store.lines();
        for log in &self.logs {
            for record in &log.records {
                let times = if is_bad(record) { 0 } else { lines.get(&line(record)).copied().unwrap_or(0) };
                // What compaction took may have been where an object began.
                let enough = self.story == Story::Compacted && times > 0 && !is_bad(record);
                let once = times == u64::from(!is_bad(record));
                assert!(once || enough, "{times} times: {:?} {:?}", record.origin, self.store.names());
                self.seen.records += 1;
            }
        }
        assert!(self.story == Story::Compacted || lines.values().all(|times| *times == 1));
        self.store.check_order();
        let counts = self.store.counts();
        self.seen.objects = counts.objects;
        self.seen.adoptions = counts.found;
        self.seen.lost_answers = counts.lost_answers;
    }
}

/// A future that dies after so many polls: the process is gone at that await.
struct Killed<F> {
    polls: u64,
    inner: Pin<Box<F>>,
}

impl<F: Future> Killed<F> {
    fn after(polls: u64, inner: F) -> Self {
        Self { polls, inner: Box::pin(inner) }
    }
}

impl<F: Future> Future for Killed<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        pin!(&mut self.inner).as_mut().poll(context).map(Some)
    }
}
