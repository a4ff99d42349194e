//! Faults of a cluster: leaders move, brokers die, all of them are away, connections go silent; and a great many topics.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use aqueduct_tests::{Aqueduct, Folder, Kafka, Load, Report, Toxiproxy, until};
use serde_json::json;
use tokio::time::Instant;

use crate::runners::{PIPELINE, Runners, TOPIC, stop};

const SOON: Duration = Duration::from_secs(60);

/// Does something while a runner copies, and waits until all is copied.
fn while_copying(runners: &Runners, rate: u64, work: impl FnOnce(&mut Aqueduct)) -> Copied {
    let producing = AtomicBool::new(true);
    let mut runner = runners.run_until_assigned();
    std::thread::scope(|scope| {
        let produced = scope.spawn(|| runners.produce(rate, &producing));
        sleep(Duration::from_secs(2));
        let work = std::panic::AssertUnwindSafe(|| work(&mut runner));
        let done = std::panic::catch_unwind(work);
        producing.store(false, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
        produced.join().expect("all is produced");
    });
    runners.until_done(SOON * 2);
    stop(&mut runner);
    let said = runner.output();
    let restarts = said.matches("will be started again").count();
    // A transaction that its coordinator has aborted ends a producer.
    assert!(restarts == 0 || runners.is_exactly_once(), "it failed meanwhile:\n{said}");
    if restarts > 0 {
        println!("it started again {restarts} times");
    }
    Copied { report: runners.check(), expelled: said.contains("lost=true") }
}

/// What came of it.
struct Copied {
    report: Report,
    /// The group did not answer for a whole session meanwhile, so what was not committed is read again.
    expelled: bool,
}

/// How long it takes from now until something more is committed.
fn until_it_goes_on(runners: &Runners) -> Duration {
    let (watch, begun) = (runners.kafka.watch(PIPELINE, TOPIC), Instant::now());
    let sum = || Some(watch.progress()?.iter().map(|(committed, _)| committed).sum::<i64>());
    let before = until("the group's offsets are known", SOON * 2, sum);
    until("it goes on", SOON * 2, || (sum()? > before + 1_000).then_some(()));
    begun.elapsed()
}

/// Each of the three brokers dies, and comes back when the runner has gone on without it.
fn kill_one_after_the_other(runners: &Runners) {
    for broker in 0..3 {
        runners.kafka.kill_broker(broker);
        let took = until_it_goes_on(runners);
        println!("after broker {broker} was killed it went on within {:.1} s", took.as_secs_f64());
        runners.kafka.start_broker(broker);
        sleep(Duration::from_secs(2));
        runners.kafka.elect_preferred();
    }
}

#[test]
fn leaders_move_and_nothing_is_lost_or_doubled() {
    let runners = Runners::of(Kafka::cluster(3)).reading("");
    let copied = while_copying(&runners, 2_000, |_| kill_one_after_the_other(&runners));
    copied.report.assert_exact();
}

/// Coordinators of groups and transactions die, freeze and move as well; then all of them are away for longer than a
/// transaction may take.
#[test]
fn transactions_get_through_whatever_brokers_do() {
    let runners = Runners::of(Kafka::cluster(3)).reading("").exactly_once();
    let copied = while_copying(&runners, 1_500, |_| {
        kill_one_after_the_other(&runners);
        runners.kafka.freeze_broker(0);
        let took = until_it_goes_on(&runners);
        println!("after broker 0 was frozen it went on within {:.1} s", took.as_secs_f64());
        runners.kafka.thaw_broker(0);
        sleep(Duration::from_secs(3));
        runners.kafka.kill();
        sleep(Duration::from_secs(20));
        runners.kafka.start_again();
        println!("it went on within {:.1} s of their return", until_it_goes_on(&runners).as_secs_f64());
    });
    copied.report.assert_exact();
}

#[test]
fn a_frozen_broker_is_left_for_another() {
    let runners = Runners::of(Kafka::cluster(3)).reading("");
    let copied = while_copying(&runners, 2_000, |_| {
        for broker in 0..3 {
            runners.kafka.freeze_broker(broker);
            let took = until_it_goes_on(&runners);
            println!("after broker {broker} was frozen it went on within {:.1} s", took.as_secs_f64());
            assert!(took < Duration::from_secs(30), "it waited {took:?} for a broker that says nothing");
            runners.kafka.thaw_broker(broker);
            sleep(Duration::from_secs(3));
        }
    });
    // A broker that is thawed may have stored what it never answered: at least once.
    println!("{} records came twice", copied.report.doubled.len());
    Report { doubled: Vec::new(), ..copied.report }.assert_exact();
}

#[test]
fn all_brokers_are_away_for_a_while() {
    let full = std::env::var("AQUEDUCT_STORM").is_ok_and(|value| value == "full");
    let runners = Runners::of(Kafka::cluster(3)).reading("");
    let copied = while_copying(&runners, 1_000, |_| {
        runners.kafka.kill();
        sleep(Duration::from_secs(if full { 60 } else { 20 }));
        runners.kafka.start_again();
        println!("it went on within {:.1} s of their return", until_it_goes_on(&runners).as_secs_f64());
    });
    // On a slow machine it may take longer than a session.
    let Copied { report, expelled } = copied;
    println!("{} records came twice, the membership was lost: {expelled}", report.doubled.len());
    let doubled = if expelled { Vec::new() } else { report.doubled.clone() };
    Report { doubled, ..report }.assert_exact();
}

#[test]
fn a_silent_connection_is_given_up_and_made_anew() {
    let kafka = Kafka::new();
    let proxy = Toxiproxy::start(kafka.port_of(0, 5));
    let kafka = kafka.advertise(&[proxy.port]);
    kafka.start_again();
    let mut runners = Runners::of(kafka);
    runners.brokers = runners.kafka.proxied_brokers();
    let copied = while_copying(&runners, 1_000, |runner| {
        proxy.toxic("downstream", "timeout", &json!({ "timeout": 0 }));
        proxy.toxic("upstream", "timeout", &json!({ "timeout": 0 }));
        let begun = Instant::now();
        runner.says("waiting reason=", SOON);
        println!("the silence was reported after {:.1} s", begun.elapsed().as_secs_f64());
        sleep(Duration::from_secs(5));
        proxy.heal();
        println!("it went on within {:.1} s of the end of it", until_it_goes_on(&runners).as_secs_f64());
    });
    println!("{} records came twice", copied.report.doubled.len());
    Report { doubled: Vec::new(), ..copied.report }.assert_exact();
}

/// A field of `/proc/PID/status`, in KiB.
fn memory_kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number")
}

#[test]
fn five_hundred_topics_by_pattern_take_little() {
    let kafka = Kafka::start();
    let names: Vec<String> = (0..500).map(|number| format!("shop.topic-{number}")).collect();
    for some in names.chunks(100) {
        kafka.create_topics(&some.iter().map(String::as_str).collect::<Vec<_>>(), 2, &[]);
    }
    // The cluster knows a topic before the broker serves it.
    until("the last is there", SOON, || {
        names.iter().rev().all(|name| kafka.leader(name, 1).is_some()).then_some(())
    });
    let mut runners = Runners::of(kafka);
    runners.topics = "{ pattern: \"shop\\\\..*\" }".into();
    let begun = Instant::now();
    runners.source = String::new();
    let mut runner = runners.run_with("discard: {}");
    runner.says("partitions=1000", SOON);
    let took = begun.elapsed();
    for name in names.iter().step_by(20) {
        let load = Load { topic: name.clone(), ids: 0..20_000, keys: 20, rate: 0 };
        runners.kafka.produce(&load);
    }
    sleep(Duration::from_secs(3));
    let peak = memory_kib(runner.pid(), "VmHWM:");
    println!("1,000 partitions assigned after {:.1} s, {} MB at most", took.as_secs_f64(), peak / 1_000);
    assert!(took < Duration::from_secs(10), "the assignment took {took:?}");
    assert!(peak < 150_000, "it took {peak} KiB");
    stop(&mut runner);
}

/// Throughput over TLS, as `aqueduct bench` prints it. The figure is for people: it means something on a quiet machine and
/// from a release binary only.
#[test]
fn plain_and_tls_are_measured_in_one_run() {
    let kafka = Kafka::new().compiled();
    kafka.start_again();
    kafka.allow("User:client", "topic:*", &["Read", "Describe"]);
    kafka.allow("User:client", "group:*", &["Read"]);
    let file = |name| kafka.certificate(name).display().to_string();
    let tls = json!({ "ca": file("ca.crt"), "certificate": file("client.crt"), "key": file("client.key") });
    let tls = json!({ "brokers": kafka.tls_brokers(), "tls": tls }).to_string();
    let folder = Folder::new("bench");
    let brokers = kafka.brokers();
    let arguments = ["bench", "kafka-tls", "--records", "2000000", "--brokers", &brokers, "--tls", &tls];
    let mut bench = Aqueduct::spawn(folder.path(), &arguments, &[]);
    assert!(bench.wait(Duration::from_secs(300)).success(), "{}", bench.output());
    let said = bench.output();
    println!("{said}");
    let ratio = said.lines().find_map(|line| line.strip_prefix("ratio")).expect("a ratio");
    let percent: f64 = ratio.trim().trim_end_matches(" %").parse().expect("a number");
    assert!(percent > 0.0 && said.contains("kafka -> discard, TLS"), "{said}");
}
