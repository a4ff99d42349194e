//! The ledger against an obvious model: thousands of random histories, each replayable by its seed.

#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use aqueduct_api::{BatchId, Offsets, Partition};
use aqueduct_ledger::Ledger;

/// Slow and obvious: every batch ever opened, in order, and whether it is settled. A partition may move to the
/// position of the last batch before its first unsettled one.
#[derive(Default)]
struct Model {
    batches: Vec<(u64, BTreeMap<String, u64>, bool)>,
    taken: BTreeMap<String, u64>,
}

impl Model {
    fn frontier(&self) -> BTreeMap<String, u64> {
        let mut frontier = BTreeMap::new();
        let mut blocked = Vec::new();
        for (_, resume_at, settled) in &self.batches {
            for (partition, position) in resume_at {
                if !settled {
                    blocked.push(partition.clone());
                } else if !blocked.contains(partition) {
                    frontier.insert(partition.clone(), *position);
                }
            }
        }
        frontier
    }

    fn take(&mut self) -> BTreeMap<String, u64> {
        let frontier = self.frontier();
        let moved = frontier.iter().filter(|(p, at)| self.taken.get(*p) != Some(*at));
        let moved: BTreeMap<_, _> = moved.map(|(p, at)| (p.clone(), *at)).collect();
        self.taken.extend(moved.clone());
        moved
    }

    fn forget(&mut self, partition: &str) {
        for (_, resume_at, _) in &mut self.batches {
            resume_at.remove(partition);
        }
        self.taken.remove(partition);
    }
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
    for seed in 0..5_000 {
        history(seed);
    }
}

fn history(seed: u64) {
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
                ledger.open(BatchId(next), &offsets);
                model.batches.push((next, resume_at, false));
                next += 1;
            }
            5..=7 if next > 0 => {
                let pick = dice.roll(next);
                ledger.settle(BatchId(pick));
                model.batches[pick as usize].2 = true;
            }
            8 if next > 0 && dice.roll(2) == 0 => {
                // Holding changes what is waited for, never how far offsets move.
                let pick = dice.roll(next);
                ledger.hold(BatchId(pick));
                let (_, resume_at, _) = &model.batches[pick as usize];
                let alone = |(id, others, settled): &(u64, BTreeMap<String, u64>, bool)| {
                    *id == pick || *settled || others.keys().all(|p| !resume_at.contains_key(p))
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
                let taken: BTreeMap<String, u64> = ledger
                    .take_committable()
                    .iter()
                    .map(|(p, at)| (p.to_string(), at.parse().unwrap()))
                    .collect();
                assert_eq!(taken, model.take(), "seed {seed} step {step}");
            }
        }
        let unsettled = model.batches.iter().filter(|(_, _, settled)| !settled).count();
        assert_eq!(ledger.in_flight(), unsettled, "seed {seed} step {step}");
    }
}
