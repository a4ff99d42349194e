//! Killed again and again: 200,000 records over six partitions, fifty SIGKILLs at random moments, two broker crashes.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::Duration;

use aqueduct_tests::{Report, check};

use crate::scene::{GROUP, PIPELINE, Scene, TOPIC};

const RECORDS: u64 = 200_000;
const KILLS: u64 = 50;

/// Numbers below a bound, the same in every run; what they hit is not.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn fifty_kills_and_two_broker_crashes_lose_and_double_nothing() {
    let scene = Scene::new();
    let pipeline = scene.pipeline();
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    // Ends about when the kills do, so that most of them meet a pipeline at work.
    let rate = RECORDS / 150;
    let mut committed = HashSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| scene.produce(0..RECORDS, rate));
        for kill in 0..KILLS {
            let (mut aqueduct, _) = scene.run(&pipeline);
            sleep(Duration::from_millis(300 + chance.below(5_000)));
            aqueduct.kill();
            if kill == 16 || kill == 33 {
                scene.kafka.kill();
                sleep(Duration::from_millis(chance.below(2_000)));
                scene.kafka.start_again();
            }
            committed.insert(scene.kafka.committed(PIPELINE, TOPIC));
        }
    });
    println!("committed after {} different numbers of records at a kill", committed.len());
    assert!(committed.len() > 15, "the kills hardly met a pipeline at work: {committed:?}");
    let (mut aqueduct, _) = scene.run(&pipeline);
    scene.until_done(Duration::from_secs(120));
    aqueduct.stop();
    let report = scene.check();
    assert_eq!(report.produced, RECORDS as usize);
    report.assert_exact();
}

#[test]
fn a_mirror_that_is_killed_loses_nothing_and_keeps_the_order() {
    let scene = Scene::new();
    scene.kafka.create_topic("copy", 3);
    let brokers = scene.kafka.brokers();
    let mirror = format!(
        "pipeline: {PIPELINE}\n\
         source: {{ kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topics: [{TOPIC}], {GROUP} }} }}\n\
         sink: {{ kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topic: copy }} }}\n"
    );
    let mut chance = Chance(42);
    std::thread::scope(|scope| {
        scope.spawn(|| scene.produce(0..60_000, 2_000));
        for _ in 0..8 {
            let (mut aqueduct, _) = scene.run_text(&mirror);
            sleep(Duration::from_millis(500 + chance.below(5_000)));
            aqueduct.kill();
        }
    });
    let (mut aqueduct, _) = scene.run_text(&mirror);
    scene.until_done(Duration::from_secs(60));
    aqueduct.stop();
    let report = check(&scene.kafka.read(TOPIC), &scene.kafka.read("copy"));
    println!("{} records came twice", report.doubled.len());
    assert_eq!(report.produced, 60_000);
    // At least once: what was not yet committed at a kill comes again.
    Report { doubled: Vec::new(), ..report }.assert_exact();
}
