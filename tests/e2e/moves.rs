//! Partitions that move: how fast, without a duplicate, and past a runner that slept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use aqueduct_tests::{Kafka, Load, Report, check, until};

use crate::herd::{COPY, Herd, PIPELINE, TOPIC, freeze, stop, thaw};

const SOON: Duration = Duration::from_secs(40);

/// Runs a scene under load, of so many records a second, and waits until all of it is committed.
fn under_load(herd: &Herd, rate: u64, scene: impl FnOnce()) {
    let producing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let produced = scope.spawn(|| herd.produce(rate, &producing));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(scene));
        producing.store(false, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
        produced.join().expect("all is produced");
    });
}

/// From the last record that one wrote of a partition to the first that the other wrote of it: the longest.
fn longest_handover(herd: &Herd, from: &str, to: &str) -> Duration {
    let mut last: HashMap<i32, i64> = HashMap::new();
    for (partition, ms) in herd.kafka.times(from) {
        let last = last.entry(partition).or_insert(ms);
        *last = ms.max(*last);
    }
    let mut gaps: HashMap<i32, i64> = HashMap::new();
    for (partition, ms) in herd.kafka.times(to) {
        if let Some(last) = last.get(&partition).filter(|last| **last <= ms) {
            gaps.entry(partition).or_insert(ms - last);
        }
    }
    assert!(!gaps.is_empty(), "no partition moved");
    Duration::from_millis(gaps.into_values().max().unwrap_or_default() as u64)
}

/// Two runners that write to topics of their own, and one stops: partitions move within 2 s of their last record.
fn moves_soon(herd: &Herd) {
    let (from, to) = (herd.copying_to("copy-from"), herd.copying_to("copy-to"));
    let mut stayed = herd.run_with(&to);
    under_load(herd, 3_000, || {
        stayed.says("partitions assigned", SOON);
        let mut going = herd.run_with(&from);
        until("the second writes", SOON, || (herd.kafka.times("copy-from").len() > 3_000).then_some(()));
        let took = stop(&mut going);
        println!("the stop took {:.2} s", took.as_secs_f64());
        sleep(Duration::from_secs(8));
    });
    herd.until_done(SOON);
    stop(&mut stayed);
    let longest = longest_handover(herd, "copy-from", "copy-to");
    println!("a partition moved within {:.2} s of its last record", longest.as_secs_f64());
    assert!(longest < Duration::from_secs(2), "a partition moved only after {longest:?}");
    let both = [herd.kafka.read("copy-from"), herd.kafka.read("copy-to")].concat();
    let report = check(&herd.kafka.read(TOPIC), &both);
    // Two topics have no order between them.
    Report { disordered: Vec::new(), ..report }.assert_exact();
}

#[test]
fn a_cleanly_stopped_runner_hands_over_within_two_seconds() {
    moves_soon(&Herd::of(Kafka::start()).reading(""));
}

#[test]
fn two_replicas_are_replaced_one_by_one_without_a_duplicate() {
    let herd = Herd::of(Kafka::start()).reading("");
    under_load(&herd, 3_000, || {
        let (mut first, mut second) = (herd.run_until_assigned(), herd.run_until_assigned());
        // As a Deployment does it with maxSurge 1: the new one first. Then as with maxUnavailable 1.
        let mut third = herd.run_until_assigned();
        sleep(Duration::from_secs(3));
        stop(&mut first);
        sleep(Duration::from_secs(2));
        stop(&mut second);
        let mut fourth = herd.run_until_assigned();
        sleep(Duration::from_secs(4));
        // Both at once, one of them while the group is still on the move.
        let mut fifth = herd.run();
        sleep(Duration::from_millis(700));
        stop(&mut third);
        stop(&mut fourth);
        sleep(Duration::from_secs(3));
        stop(&mut fifth);
        let mut sixth = herd.run_until_assigned();
        sleep(Duration::from_secs(2));
        stop(&mut sixth);
    });
    let mut last = herd.run();
    herd.until_done(SOON);
    stop(&mut last);
    herd.check().assert_exact();
}

/// Under load: what was read is drained and committed, and what was given to a producer is acknowledged, before the next
/// client takes over.
#[test]
fn certificates_are_replaced_without_a_duplicate() {
    let herd = Herd::of(Kafka::start()).over_tls();
    let certificate = herd.folder.path().join("client.crt");
    let mut runner = herd.run_until_assigned();
    under_load(&herd, 2_000, || {
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
    herd.until_done(SOON);
    stop(&mut runner);
    herd.check().assert_exact();
}

/// The same with transactions: what was on its way to the sink then is never seen by those who read committed records.
#[test]
fn a_runner_that_slept_too_long_writes_nothing_late_under_exactly_once() {
    let herd = Herd::of(Kafka::start()).exactly_once();
    herd.kafka.produce_uniform(&Load { topic: TOPIC.into(), ids: 0..600_000, keys: 997, rate: 0 });
    let copied = || herd.kafka.progress(PIPELINE, TOPIC).iter().map(|(committed, _)| committed).sum::<i64>();
    let mut sleeper = herd.run();
    until("it commits", SOON, || (copied() > 20_000).then_some(()));
    freeze(&sleeper);
    let before = herd.kafka.progress(PIPELINE, TOPIC);
    let mut other = herd.run();
    until("the other has gone on with all of them", SOON, || {
        let now = herd.kafka.progress(PIPELINE, TOPIC);
        before.iter().zip(now).all(|(before, now)| now.0 > before.0).then_some(())
    });
    thaw(&sleeper);
    // Where the other needs longer than transaction.timeout.ms (15 s) to go on with all of them, the cluster has aborted the
    // open transaction and fenced its producer by then.
    let either = [
        "group `herd` took partitions away while a transaction was open: it is not committed",
        "the cluster has fenced off the producer of the transactional id `",
    ];
    sleeper.says_one_of(&either, SOON);
    herd.until_done(Duration::from_secs(120));
    stop(&mut sleeper);
    stop(&mut other);
    herd.check().assert_exact();
}

/// One falls asleep in the middle of work, and wakes when another has all of its partitions. What was on its way to the
/// sink then is written late, which no consumer group can prevent; nothing of it is committed.
#[test]
fn a_runner_that_slept_too_long_is_fenced() {
    let herd = Herd::of(Kafka::start());
    let (sleeps, wakes) = (herd.copying_to("copy-asleep"), herd.copying_to("copy-awake"));
    herd.kafka.produce_uniform(&Load { topic: TOPIC.into(), ids: 0..600_000, keys: 997, rate: 0 });
    let written = |topic: &str| herd.kafka.progress("nobody", topic).iter().map(|(_, end)| end).sum::<i64>();
    let mut sleeper = herd.run_with(&sleeps);
    until("it writes", SOON, || (written("copy-asleep") > 20_000).then_some(()));
    freeze(&sleeper);
    let mut other = herd.run_with(&wakes);
    until("the other has them all", SOON, || {
        let ends = herd.kafka.progress("nobody", "copy-awake");
        ends.iter().all(|(_, end)| *end > 0).then_some(())
    });
    let watch = herd.kafka.watch(PIPELINE, TOPIC);
    let mut committed: Vec<_> = watch.progress().into_iter().collect();
    let before = written("copy-asleep");
    thaw(&sleeper);
    sleeper.says("lost=true", SOON);
    let late = written("copy-asleep") - before;
    println!("{before} records before it slept, at most {late} after it woke and before it knew");
    for _ in 0..20 {
        sleep(Duration::from_millis(100));
        committed.extend(watch.progress());
    }
    stop(&mut sleeper);
    herd.until_done(SOON);
    stop(&mut other);
    for (before, after) in committed.iter().zip(&committed[1..]) {
        assert!(before.iter().zip(after).all(|(before, after)| before.0 <= after.0), "an offset moved back");
    }
    // What the producer's queue and the engine may hold, and no more.
    assert!(late < 60_000, "{late} records were written by one that was no member any more");
    let both = [herd.kafka.read("copy-asleep"), herd.kafka.read("copy-awake")].concat();
    let report = check(&herd.kafka.read(TOPIC), &both);
    println!("{} records came twice", report.doubled.len());
    Report { doubled: Vec::new(), disordered: Vec::new(), ..report }.assert_exact();
    assert_eq!(herd.kafka.read(COPY).len(), 0);
}
