//! Partitions that move between runners: how fast, without a duplicate, and away from a runner that was frozen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use aqueduct_tests::{Kafka, Load, Report, check, until};

use crate::runners::{COPY, PIPELINE, Runners, TOPIC, freeze, stop, thaw};

const SOON: Duration = Duration::from_secs(40);

/// Does something under load, of so many records a second.
fn under_load(runners: &Runners, rate: u64, work: impl FnOnce()) {
    let producing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let produced = scope.spawn(|| runners.produce(rate, &producing));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        producing.store(false, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
        produced.join().expect("all is produced");
    });
}

/// From the last record that one wrote of a partition to the first that the other wrote of it: the longest.
fn longest_handover(runners: &Runners, from: &str, to: &str) -> Duration {
    let mut last: HashMap<i32, i64> = HashMap::new();
    for (partition, ms) in runners.kafka.times(from) {
        let last = last.entry(partition).or_insert(ms);
        *last = ms.max(*last);
    }
    let mut gaps: HashMap<i32, i64> = HashMap::new();
    for (partition, ms) in runners.kafka.times(to) {
        if let Some(last) = last.get(&partition).filter(|last| **last <= ms) {
            gaps.entry(partition).or_insert(ms - last);
        }
    }
    assert!(!gaps.is_empty(), "no partition moved");
    Duration::from_millis(gaps.into_values().max().unwrap_or_default() as u64)
}

/// Two runners that write to topics of their own, and one stops: partitions move within 2 s of their last record.
fn moves_soon(runners: &Runners) {
    let (from, to) = (runners.copying_to("copy-from"), runners.copying_to("copy-to"));
    let mut stayed = runners.run_with(&to);
    under_load(runners, 3_000, || {
        stayed.says("partitions assigned", SOON);
        let mut going = runners.run_with(&from);
        until("the second writes", SOON, || (runners.kafka.times("copy-from").len() > 3_000).then_some(()));
        let took = stop(&mut going);
        println!("the stop took {:.2} s", took.as_secs_f64());
        sleep(Duration::from_secs(8));
    });
    runners.until_done(SOON);
    stop(&mut stayed);
    let longest = longest_handover(runners, "copy-from", "copy-to");
    println!("a partition moved within {:.2} s of its last record", longest.as_secs_f64());
    assert!(longest < Duration::from_secs(2), "a partition moved only after {longest:?}");
    let both = [runners.kafka.read("copy-from"), runners.kafka.read("copy-to")].concat();
    let report = check(&runners.kafka.read(TOPIC), &both);
    // Two topics have no order between them.
    Report { disordered: Vec::new(), ..report }.assert_exact();
}

#[test]
fn a_cleanly_stopped_runner_hands_over_within_two_seconds() {
    moves_soon(&Runners::of(Kafka::start()).reading(""));
}

#[test]
fn two_replicas_are_replaced_one_by_one_without_a_duplicate() {
    let runners = Runners::of(Kafka::start()).reading("");
    under_load(&runners, 3_000, || {
        let (mut first, mut second) = (runners.run_until_assigned(), runners.run_until_assigned());
        // As a Deployment does it with maxSurge 1: the new one first. Then as with maxUnavailable 1.
        let mut third = runners.run_until_assigned();
        sleep(Duration::from_secs(3));
        stop(&mut first);
        sleep(Duration::from_secs(2));
        stop(&mut second);
        let mut fourth = runners.run_until_assigned();
        sleep(Duration::from_secs(4));
        // Both at once, one of them while the group is still on the move.
        let mut fifth = runners.run();
        sleep(Duration::from_millis(700));
        stop(&mut third);
        stop(&mut fourth);
        sleep(Duration::from_secs(3));
        stop(&mut fifth);
        let mut sixth = runners.run_until_assigned();
        sleep(Duration::from_secs(2));
        stop(&mut sixth);
    });
    let mut last = runners.run();
    runners.until_done(SOON);
    stop(&mut last);
    runners.check().assert_exact();
}

/// Under load: what was read is drained and committed, and what was given to a producer is acknowledged, before the next
/// client takes over.
#[test]
fn certificates_are_replaced_without_a_duplicate() {
    let runners = Runners::of(Kafka::start()).over_tls();
    let certificate = runners.folder.path().join("client.crt");
    let mut runner = runners.run_until_assigned();
    under_load(&runners, 2_000, || {
        for round in 1..=2 {
            sleep(Duration::from_secs(3));
            // The same pair in another form is another content.
            let again = std::fs::read_to_string(&certificate).expect("a certificate") + "\n";
            std::fs::write(&certificate, again).expect("a file");
            until("it starts again", SOON, || {
                (runner.output().matches("will be started again").count() == round).then_some(())
            });
        }
        sleep(Duration::from_secs(5));
    });
    runners.until_done(SOON);
    stop(&mut runner);
    runners.check().assert_exact();
}

/// The same with transactions: what was on its way to the sink then is never seen by those who read committed records.
#[test]
fn a_runner_that_was_frozen_too_long_writes_nothing_late_under_exactly_once() {
    let runners = Runners::of(Kafka::start()).exactly_once();
    runners.kafka.produce_uniform(&Load { topic: TOPIC.into(), ids: 0..600_000, keys: 997, rate: 0 });
    let copied =
        || runners.kafka.progress(PIPELINE, TOPIC).iter().map(|(committed, _)| committed).sum::<i64>();
    let mut frozen = runners.run();
    until("it commits", SOON, || (copied() > 20_000).then_some(()));
    freeze(&frozen);
    let before = runners.kafka.progress(PIPELINE, TOPIC);
    let mut other = runners.run();
    until("the other has gone on with all of them", SOON, || {
        let now = runners.kafka.progress(PIPELINE, TOPIC);
        before.iter().zip(now).all(|(before, now)| now.0 > before.0).then_some(())
    });
    thaw(&frozen);
    // Where the other needs longer than transaction.timeout.ms (15 s) to go on with all of them, the cluster has aborted the
    // open transaction and fenced its producer by then.
    let either = [
        "group `runners` took partitions away while a transaction was open: it is not committed",
        "the cluster has fenced off the producer of the transactional id `",
    ];
    frozen.says_one_of(&either, SOON);
    runners.until_done(Duration::from_secs(120));
    stop(&mut frozen);
    stop(&mut other);
    runners.check().assert_exact();
}

/// One is frozen in the middle of its work, and goes on when another has all of its partitions. What was on its way to the sink
/// is written late then, which no consumer group can prevent; nothing of it is committed.
#[test]
fn a_runner_that_was_frozen_too_long_is_fenced() {
    let runners = Runners::of(Kafka::start());
    let (of_frozen, of_other) = (runners.copying_to("copy-frozen"), runners.copying_to("copy-other"));
    runners.kafka.produce_uniform(&Load { topic: TOPIC.into(), ids: 0..600_000, keys: 997, rate: 0 });
    let written =
        |topic: &str| runners.kafka.progress("nobody", topic).iter().map(|(_, end)| end).sum::<i64>();
    let mut frozen = runners.run_with(&of_frozen);
    until("it writes", SOON, || (written("copy-frozen") > 20_000).then_some(()));
    freeze(&frozen);
    let mut other = runners.run_with(&of_other);
    until("the other has them all", SOON, || {
        let ends = runners.kafka.progress("nobody", "copy-other");
        ends.iter().all(|(_, end)| *end > 0).then_some(())
    });
    let watch = runners.kafka.watch(PIPELINE, TOPIC);
    let mut committed: Vec<_> = watch.progress().into_iter().collect();
    let before = written("copy-frozen");
    thaw(&frozen);
    frozen.says("lost=true", SOON);
    let late = written("copy-frozen") - before;
    println!("{before} records before it was frozen, at most {late} after it and before it knew");
    for _ in 0..20 {
        sleep(Duration::from_millis(100));
        committed.extend(watch.progress());
    }
    stop(&mut frozen);
    runners.until_done(SOON);
    stop(&mut other);
    for (before, after) in committed.iter().zip(&committed[1..]) {
        assert!(before.iter().zip(after).all(|(before, after)| before.0 <= after.0), "an offset moved back");
    }
    // What the producer's queue and the engine may hold, and no more.
    assert!(late < 60_000, "{late} records were written by a runner that was no member any more");
    let both = [runners.kafka.read("copy-frozen"), runners.kafka.read("copy-other")].concat();
    let report = check(&runners.kafka.read(TOPIC), &both);
    println!("{} records came twice", report.doubled.len());
    Report { doubled: Vec::new(), disordered: Vec::new(), ..report }.assert_exact();
    assert_eq!(runners.kafka.read(COPY).len(), 0);
}
