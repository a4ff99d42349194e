//! The ledger against an obvious model: thousands of random histories, each replayable by its seed.

#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, HashSet};

use aqueduct_api::{BatchId, Offsets, Origin, Partition, Record, Records};
use aqueduct_ledger::Ledger;

/// Slow and obvious: every batch ever opened, in order, and whether it is acknowledged. A partition may move to the
/// position of the last batch before its first unacknowledged one.
#[derive(Default)]
struct Model {
    batches: Vec<(u64, BTreeMap<String, u64>, bool)>,
    taken: BTreeMap<String, u64>,
    /// The batches that had something of partitions that were given up since.
    given_up: HashSet<u64>,
}

impl Model {
    /// As if `also` were acknowledged too.
    fn frontier(&self, also: &HashSet<u64>) -> BTreeMap<String, u64> {
        let mut frontier = BTreeMap::new();
        let mut blocked = Vec::new();
        for (id, resume_at, acknowledged) in &self.batches {
            for (partition, position) in resume_at {
                if !acknowledged && !also.contains(id) {
                    blocked.push(partition.clone());
                } else if !blocked.contains(partition) {
                    frontier.insert(partition.clone(), *position);
                }
            }
        }
        frontier
    }

    fn take(&mut self) -> BTreeMap<String, u64> {
        let moved = self.moved(&HashSet::new());
        self.taken.extend(moved.clone());
        moved
    }

    fn moved(&self, also: &HashSet<u64>) -> BTreeMap<String, u64> {
        let frontier = self.frontier(also).into_iter();
        frontier.filter(|(partition, at)| self.taken.get(partition) != Some(at)).collect()
    }

    fn moved_by(&self, batches: &HashSet<u64>) -> Option<BTreeMap<String, u64>> {
        let mut open = batches.iter().filter(|id| !self.batches[**id as usize].2);
        let given_up = open.any(|id| self.given_up.contains(id));
        (!given_up).then(|| self.moved(batches))
    }

    fn forget(&mut self, partition: &str) {
        for (id, resume_at, _) in &mut self.batches {
            if resume_at.remove(partition).is_some() {
                self.given_up.insert(*id);
            }
        }
        self.taken.remove(partition);
    }
}

fn numbers(offsets: &Offsets) -> BTreeMap<String, u64> {
    offsets.iter().map(|(partition, at)| (partition.to_string(), at.parse().unwrap())).collect()
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[test]
fn agrees_with_the_model_over_5000_histories() {
    let mut answers = [0; 3];
    for seed in 0..5_000 {
        history(seed, &mut answers);
    }
    assert!(
        answers.iter().all(|count| *count > 2_000),
        "hardly anything was given up, or moved: {answers:?}"
    );
}

fn history(seed: u64, answers: &mut [u64; 3]) {
    let mut dice = Dice(seed);
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    let mut next = 0;
    for step in 0..60 {
        match dice.roll(10) {
            0..=4 => {
                let mut resume_at = BTreeMap::new();
                for _ in 0..=dice.roll(2) {
                    resume_at.insert(format!("t/{}", dice.roll(3)), next * 10);
                }
                let offsets: Offsets =
                    resume_at.iter().map(|(p, at)| (p.as_str().into(), at.to_string().into())).collect();
                ledger.open(BatchId(next), &Records::default(), &offsets).unwrap();
                model.batches.push((next, resume_at, false));
                next += 1;
            }
            5..=7 if next > 0 => {
                let pick = dice.roll(next);
                ledger.acknowledge(BatchId(pick));
                model.batches[pick as usize].2 = true;
            }
            8 if next > 0 && dice.roll(2) == 0 => {
                // Holding changes what is waited for, never how far offsets move.
                let pick = dice.roll(next);
                ledger.hold(BatchId(pick));
                let (_, resume_at, _) = &model.batches[pick as usize];
                let alone = |(id, others, acknowledged): &(u64, BTreeMap<String, u64>, bool)| {
                    *id == pick || *acknowledged || others.keys().all(|p| !resume_at.contains_key(p))
                };
                if model.batches.iter().all(alone) {
                    let names: Vec<Partition> = resume_at.keys().map(|p| p.as_str().into()).collect();
                    assert!(ledger.is_drained(&names), "seed {seed} step {step}");
                }
            }
            8 => {
                let partition = format!("t/{}", dice.roll(3));
                let name: Partition = partition.as_str().into();
                ledger.forget(std::slice::from_ref(&name));
                model.forget(&partition);
                assert!(ledger.is_drained(&[name]), "seed {seed} step {step}");
            }
            _ => {
                let taken = numbers(&ledger.take_committable());
                assert_eq!(taken, model.take(), "seed {seed} step {step}");
            }
        }
        if dice.roll(6) == 0 {
            answers[moved_by_agrees(&ledger, &model, &mut dice, (seed, step))] += 1;
        }
        let unacknowledged = model.batches.iter().filter(|(_, _, acknowledged)| !acknowledged).count();
        assert_eq!(ledger.in_flight(), unacknowledged, "seed {seed} step {step}");
    }
}

/// What some of the batches would move. The answer is 0 for what was given up, 1 for nothing, 2 for something.
fn moved_by_agrees(ledger: &Ledger, model: &Model, dice: &mut Dice, (seed, step): (u64, u32)) -> usize {
    // Mostly those that are open, as a sink has them, and now and then any.
    let (any, share) = (dice.roll(4) == 0, 1 + dice.roll(4));
    let open = model
        .batches
        .iter()
        .filter(|(id, _, acknowledged)| any || !acknowledged && !model.given_up.contains(id));
    let ready: HashSet<u64> = open.map(|(id, ..)| *id).filter(|_| dice.roll(4) < share).collect();
    let moved = ledger.moved_by(&ready.iter().copied().map(BatchId).collect());
    assert_eq!(
        moved.as_ref().map(numbers),
        model.moved_by(&ready),
        "seed {seed} step {step}: {ready:?} of {:?}",
        model.batches
    );
    moved.map_or(0, |moved| 1 + usize::from(!moved.is_empty()))
}

/// Offsets of one partition.
fn records(partition: i32, offsets: &[i64]) -> Records {
    let record = |offset: &i64| Record {
        topic: "t".into(),
        origin: Origin { partition, offset: *offset },
        key: Default::default(),
        value: Default::default(),
        headers: Default::default(),
        timestamp_us: None,
    };
    offsets.iter().map(record).collect()
}

fn resume(partitions: &[&str]) -> Offsets {
    partitions.iter().map(|name| ((*name).into(), "1".into())).collect()
}

#[test]
fn offsets_that_do_not_grow_are_refused() {
    let mut ledger = Ledger::default();
    let mut next = 0;
    let mut open = |ledger: &mut Ledger, records: &Records, partitions: &[&str]| {
        next += 1;
        ledger.open(BatchId(next), records, &resume(partitions)).map_err(|error| error.to_string())
    };
    open(&mut ledger, &records(0, &[1, 2, 7]), &["t/0"]).unwrap();
    open(&mut ledger, &records(1, &[3]), &["t/1"]).unwrap();
    open(&mut ledger, &records(0, &[8]), &["t/0"]).unwrap();
    let mixed = |a: Records, b: Records, c: Records| a.into_iter().chain(b).chain(c).collect::<Records>();
    let both = mixed(records(0, &[9, 10]), records(1, &[4]), records(0, &[12]));
    open(&mut ledger, &both, &["t/0", "t/1"]).unwrap();
    for (partition, offsets) in [(0, &[12][..]), (0, &[11]), (0, &[13, 15, 14]), (0, &[13, 13]), (1, &[4])] {
        let error = open(&mut ledger, &records(partition, offsets), &["t/0"]).unwrap_err();
        assert!(error.contains("the source went back inside a partition"), "{offsets:?}: {error}");
        // A file of records says where they were once, also twice: they are not its own.
        let carried = records(0, offsets).carried();
        Ledger::default().open(BatchId(1), &carried, &resume(&["a/0"])).unwrap();
    }
    let both = mixed(records(0, &[20]), records(1, &[20]), records(0, &[19]));
    assert!(open(&mut ledger, &both, &["t/0", "t/1"]).is_err());
    // What is given up may come again from an earlier place, and only that.
    ledger.forget(&["t/1".into()]);
    open(&mut ledger, &records(1, &[0]), &["t/1"]).unwrap();
    let mut ledger = Ledger::default();
    open(&mut ledger, &records(0, &[5]), &["t/0"]).unwrap();
    open(&mut ledger, &records(1, &[5]), &["t/1"]).unwrap();
    ledger.forget(&["t/1".into()]);
    assert!(open(&mut ledger, &records(0, &[5]), &["t/0"]).is_err());
    open(&mut ledger, &records(1, &[5]), &["t/1"]).unwrap();
}
