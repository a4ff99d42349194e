//! Killed again and again: 200,000 records over six partitions, fifty SIGKILLs at random moments, two broker crashes.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::Duration;

use aqueduct_tests::{Load, Report, check, until};

use crate::fixture::{Fixture, GROUP, PIPELINE, TOPIC};

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
    let fixture = Fixture::new();
    let pipeline = fixture.pipeline();
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    // Ends about when the kills do, so that most of them meet a pipeline at work.
    let rate = RECORDS / 150;
    let mut committed = HashSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| fixture.produce(0..RECORDS, rate));
        for kill in 0..KILLS {
            let (mut aqueduct, _) = fixture.run(&pipeline);
            sleep(Duration::from_millis(300 + chance.below(5_000)));
            aqueduct.kill();
            if kill == 16 || kill == 33 {
                fixture.kafka.kill();
                sleep(Duration::from_millis(chance.below(2_000)));
                fixture.kafka.start_again();
            }
            committed.insert(fixture.kafka.committed(PIPELINE, TOPIC));
        }
    });
    println!("committed after {} different numbers of records at a kill", committed.len());
    assert!(committed.len() > 15, "the kills hardly met a pipeline at work: {committed:?}");
    fixture.kafka.abort_transaction(TOPIC, 5);
    let (mut aqueduct, _) = fixture.run(&pipeline);
    fixture.until_done(Duration::from_secs(120));
    aqueduct.stop();
    let report = fixture.check();
    assert_eq!(report.produced, RECORDS as usize);
    report.assert_exact();
}

/// A backlog of one partition, behind which undone transactions stand: every part of every record arrives, in order.
#[test]
fn a_backlog_keeps_its_order_and_every_part() {
    let fixture = Fixture::new();
    for topic in ["backlog", "plain", "whole"] {
        fixture.kafka.create_topic(topic, 1);
    }
    let mut count = fixture.kafka.produce_odd("backlog");
    for first in [0, 10_000, 20_000] {
        let load = Load { topic: "backlog".into(), ids: first..first + 10_000, keys: 97, rate: 0 };
        fixture.kafka.produce(&load);
        fixture.kafka.abort_transaction("backlog", 7);
        count += 10_000;
    }
    let brokers = fixture.kafka.brokers();
    let end = |topic: &str| format!("kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topic: {topic} }}");
    let out = fixture.path("backlog.jsonl");
    let file = format!("file: {{ path: {} }}", out.display());
    let ends =
        [("plain", end("plain"), ""), ("whole", end("whole"), "delivery: exactly_once"), ("file", file, "")];
    for (name, sink, more) in &ends {
        let text = format!(
            "pipeline: {name}\n\
             source: {{ kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topics: [backlog], {GROUP} }} }}\n\
             sink: {{ {sink} }}\n{more}\n"
        );
        let (mut aqueduct, _) = fixture.run_text(&text);
        until("all of it is committed, the markers behind it too", Duration::from_secs(60), || {
            (fixture.kafka.lag(name, "backlog") == 0).then_some(())
        });
        aqueduct.stop();
    }
    let produced = fixture.kafka.read_parts("backlog");
    assert_eq!(produced.len(), count);
    for copy in ["plain", "whole"] {
        let copied = fixture.kafka.read_parts(copy);
        let differs = produced.iter().zip(&copied).position(|(a, b)| a != b);
        assert_eq!((copied.len(), differs), (count, None), "{copy}: the first that differs");
    }
    let lines = std::fs::read_to_string(out).expect("a file");
    let offset = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["offset"].as_i64();
    let offsets: Vec<i64> = lines.lines().map(|line| offset(line).expect("an offset")).collect();
    assert_eq!(offsets.len(), count);
    assert!(offsets.is_sorted_by(|a, b| a < b), "the offsets of a partition went back");
}

#[test]
fn a_mirror_that_is_killed_loses_nothing_and_keeps_the_order() {
    let fixture = Fixture::new();
    fixture.kafka.create_topic("copy", 3);
    let brokers = fixture.kafka.brokers();
    let mirror = format!(
        "pipeline: {PIPELINE}\n\
         source: {{ kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topics: [{TOPIC}], {GROUP} }} }}\n\
         sink: {{ kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topic: copy }} }}\n"
    );
    let mut chance = Chance(42);
    std::thread::scope(|scope| {
        scope.spawn(|| fixture.produce(0..60_000, 2_000));
        for _ in 0..8 {
            let (mut aqueduct, _) = fixture.run_text(&mirror);
            sleep(Duration::from_millis(500 + chance.below(5_000)));
            aqueduct.kill();
        }
    });
    let (mut aqueduct, _) = fixture.run_text(&mirror);
    fixture.until_done(Duration::from_secs(60));
    aqueduct.stop();
    let report = check(&fixture.kafka.read(TOPIC), &fixture.kafka.read("copy"));
    println!("{} records came twice", report.doubled.len());
    assert_eq!(report.produced, 60_000);
    // At least once: what was not yet committed at a kill comes again.
    Report { doubled: Vec::new(), ..report }.assert_exact();
}
