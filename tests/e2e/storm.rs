//! Rebalance storms: runners are added, killed, stopped and frozen under load. `AQUEDUCT_STORM=full` makes 200 changes in
//! ten minutes of it, else it is 40 s, and 20 s for each further way to share a topic out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use aqueduct_tests::{Aqueduct, Kafka, Report};
use tokio::time::Instant;

use crate::runners::{Runners, freeze, stop, thaw};

const RUNNERS_MAX: usize = 4;
/// Records a second.
const RATE: u64 = 1_500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Add,
    Kill,
    Stop,
    Freeze,
}

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

/// One runner, with a number that no other running or frozen one has.
struct Runner {
    number: usize,
    process: Aqueduct,
}

/// The runners of a storm.
struct Storm<'a> {
    runners: &'a Runners,
    chance: Chance,
    running: Vec<Runner>,
    /// Each with the moment at which it goes on.
    frozen: Vec<(Instant, Runner)>,
    longest_stop: Duration,
    counts: [usize; 4],
}

impl Storm<'_> {
    fn change(&mut self, allowed: &[Change]) {
        let here = self.running.len() + self.frozen.len();
        let change = allowed[self.chance.below(allowed.len() as u64) as usize];
        // One always runs, and never too many.
        let change = match change {
            Change::Add if here >= RUNNERS_MAX => Change::Stop,
            Change::Add => Change::Add,
            _ if self.running.len() < 2 => Change::Add,
            other => other,
        };
        self.counts[change as usize] += 1;
        if change == Change::Add {
            return self.add();
        }
        let which = self.chance.below(self.running.len() as u64) as usize;
        let mut runner = self.running.swap_remove(which);
        match change {
            Change::Kill => runner.process.kill(),
            Change::Freeze => {
                freeze(&runner.process);
                let pause = Duration::from_millis(1_000 + self.chance.below(5_000));
                self.frozen.push((Instant::now() + pause, runner));
            }
            _ => self.longest_stop = self.longest_stop.max(stop(&mut runner.process)),
        }
    }

    /// One more, under the first free number: a static member may come back within its session.
    fn add(&mut self) {
        let present = self.running.iter().chain(self.frozen.iter().map(|(_, runner)| runner));
        let taken: Vec<usize> = present.map(|runner| runner.number).collect();
        let number = (0..).find(|number| !taken.contains(number)).expect("a free one");
        self.running.push(Runner { number, process: self.runners.run_as(number) });
    }

    /// Waits, and thaws those whose time has come.
    fn wait(&mut self, until: Instant) {
        while Instant::now() < until {
            self.thaw(Instant::now());
            for Runner { process, .. } in &mut self.running {
                let ended = process.exited();
                assert!(ended.is_none(), "a runner ended by itself with {ended:?}:\n{}", process.output());
            }
            sleep(Duration::from_millis(50));
        }
    }

    fn thaw(&mut self, now: Instant) {
        for index in (0..self.frozen.len()).rev() {
            if self.frozen[index].0 <= now {
                let (_, runner) = self.frozen.swap_remove(index);
                thaw(&runner.process);
                self.running.push(runner);
            }
        }
    }
}

/// So many changes in a time, under load; then all that was produced has to be there.
fn storm(runners: &Runners, allowed: &[Change], seed: u64, changes: u32) -> Report {
    let full = std::env::var("AQUEDUCT_STORM").is_ok_and(|value| value == "full");
    let (changes, pace) =
        if full { (200, Duration::from_secs(3)) } else { (changes, Duration::from_secs(2)) };
    let time = pace * changes;
    let mut storm = Storm {
        runners,
        chance: Chance(seed),
        running: Vec::new(),
        frozen: Vec::new(),
        longest_stop: Duration::ZERO,
        counts: [0; 4],
    };
    storm.add();
    storm.running[0].process.says("partitions assigned", Duration::from_secs(30));
    let (producing, watching) = (AtomicBool::new(true), AtomicBool::new(true));
    let watched = std::thread::scope(|scope| {
        let produced = scope.spawn(|| runners.produce(RATE, &producing));
        let watched = scope.spawn(|| runners.watch(&watching));
        // The threads must end when an assertion fails here.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let begun = Instant::now();
            for change in 1..=changes {
                // Not evenly: some follow closely on others.
                let (even, spread) = (time / changes, storm.chance.below(1_000) as f64 / 1_000.0);
                storm.wait(begun + even * (change - 1) + even.mul_f64(spread));
                storm.change(allowed);
            }
            storm.wait(begun + time);
            producing.store(false, Ordering::Relaxed);
            storm.thaw(Instant::now() + Duration::from_secs(60));
            produced.join().expect("all is produced");
            runners.until_done(Duration::from_secs(120));
        }));
        producing.store(false, Ordering::Relaxed);
        watching.store(false, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
        watched.join().expect("the watcher ends")
    });
    for runner in &mut storm.running {
        storm.longest_stop = storm.longest_stop.max(stop(&mut runner.process));
    }
    let report = runners.check();
    let Storm { counts: [add, kill, stop, freeze], longest_stop, .. } = storm;
    println!(
        "{add} added, {kill} killed, {stop} stopped, {freeze} frozen; {} records, {} of them twice; the longest pause \
         of all commits {:.1} s, the longest stop {:.1} s",
        report.produced,
        report.doubled.len(),
        watched.longest_pause.as_secs_f64(),
        longest_stop.as_secs_f64()
    );
    assert!(watched.back.is_empty(), "committed offsets moved back: {:?}", watched.back);
    report
}

const ALL: [Change; 4] = [Change::Add, Change::Kill, Change::Stop, Change::Freeze];

const STOPS: [Change; 2] = [Change::Add, Change::Stop];

#[test]
fn a_storm_of_clean_stops_loses_and_doubles_nothing() {
    let runners = Runners::of(Kafka::start());
    storm(&runners, &STOPS, 0x9E37_79B9_7F4A_7C15, 20).assert_exact();
}

/// At least once: what a killed one had written and not committed comes again.
fn assert_nothing_lost(report: Report) {
    Report { doubled: Vec::new(), ..report }.assert_exact();
}

#[test]
fn a_storm_of_kills_and_freezes_loses_nothing() {
    let runners = Runners::of(Kafka::start());
    assert_nothing_lost(storm(&runners, &ALL, 0x2545_F491_4F6C_DD1D, 20));
}

#[test]
fn a_storm_over_a_folder_loses_and_doubles_nothing() {
    let runners = Runners::of(Kafka::start()).into_folder();
    storm(&runners, &ALL, 0xD1B5_4A32_D192_ED03, 20).assert_exact();
}

/// KIP-848: a broker that decides soon.
fn broker_decides() -> Kafka {
    let kafka = Kafka::new().set(
        "group.consumer.session.timeout.ms=3000\n\
         group.consumer.min.heartbeat.interval.ms=100\n\
         group.consumer.heartbeat.interval.ms=500",
    );
    kafka.start_again();
    kafka
}

/// KIP-848: the broker shares the partitions out, and decides about sessions.
#[test]
fn a_storm_under_the_protocol_of_the_broker_loses_nothing() {
    let runners = Runners::of(broker_decides()).reading(", group_protocol: consumer");
    assert_nothing_lost(storm(&runners, &ALL, 0xA076_1D64_78BD_642F, 10));
}

/// Every change takes all partitions from everybody.
#[test]
fn a_storm_under_an_eager_assignor_loses_nothing() {
    let runners = Runners::of(Kafka::start()).reading(", assignor: range, session_timeout: 2s");
    assert_nothing_lost(storm(&runners, &ALL, 0xE703_7ED1_A0B4_28DB, 10));
}

#[test]
fn a_storm_of_static_members_loses_nothing() {
    let runners = Runners::of(Kafka::start()).named();
    assert_nothing_lost(storm(&runners, &ALL, 0x8EBC_6AF0_9C88_C6E3, 10));
}

/// A runner that was killed or frozen has committed all of a record or nothing, and commits nothing after it is thawed.
#[test]
fn a_storm_under_exactly_once_loses_and_doubles_nothing() {
    let runners = Runners::of(Kafka::start()).exactly_once();
    storm(&runners, &ALL, 0x1656_67B1_9E37_79F9, 20).assert_exact();
}

#[test]
fn a_storm_of_transactions_under_the_protocol_of_the_broker_loses_and_doubles_nothing() {
    let runners = Runners::of(broker_decides()).reading(", group_protocol: consumer").exactly_once();
    storm(&runners, &ALL, 0x85EB_CA77_C2B2_AE63, 10).assert_exact();
}
