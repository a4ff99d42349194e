//! A whole pipeline on a paused clock, killed and stopped at moments that a seed chooses, until all is read.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{Condition, ErrorKind, Sink};
use aqueduct_engine::chain::Chain;
use aqueduct_engine::{Ends, Limits, Policy, Setting, Status, Stopper, open_source, run_task};

use aqueduct_spec::StopAfter;

use crate::dice::Dice;
use crate::ends::{WorldLetters, WorldSink, WorldSource, WorldStore, WorldTransform};
use crate::transactions::WorldTransactions;
use crate::world::{Manners, World};

const HOUR: Duration = Duration::from_secs(3_600);

/// What one seed came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Runs of the process, the last one included.
    pub runs: u64,
    /// Records made durable, repeats included.
    pub written: u64,
    /// Errors that ended a life, for tests that expect one.
    pub errors: Vec<String>,
    /// What was found wrong.
    pub violations: Vec<String>,
    /// Transactions of earlier runs that woke up in a later one and were refused.
    pub fenced: u64,
}

/// Runs one seed to its end.
pub fn simulate(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.map(|runtime| runtime.block_on(runs(seed))).unwrap_or_default()
}

async fn runs(seed: u64) -> Outcome {
    let mut dice = Dice::new(seed);
    let manners = manners(&mut dice);
    let limits = limits(&mut dice, &manners);
    let kills = dice.roll(8);
    // Some runs end because too many records were bad.
    let stop_after = (dice.roll(4) == 0).then(|| StopAfter { records: dice.roll(8), window: HOUR });
    let world = World::new(Dice::new(dice.bits()), manners);
    let mut outcome = Outcome::default();
    loop {
        outcome.runs += 1;
        let last = outcome.runs > kills;
        let end = if last { End::Finish } else { End::roll(&mut dice) };
        if last {
            world.state().manners.holds = 0;
        }
        let stop_after = stop_after.filter(|_| !last);
        let finished = life(&world, &limits, end, stop_after, &mut outcome).await;
        if !world.state().violations.is_empty() || (finished && last) {
            break;
        }
        if outcome.runs > 500 {
            world.state().violation("does not come to an end");
            break;
        }
    }
    if world.state().violations.is_empty() {
        world.finished();
    }
    let state = world.state();
    let (violations, written, fenced) = (state.violations.clone(), state.written, state.fenced);
    Outcome { violations, written, fenced, ..outcome }
}

fn manners(dice: &mut Dice) -> Manners {
    let calm = dice.percent(25);
    let transactional = dice.percent(30);
    Manners {
        records: 8 + dice.roll(40),
        partitions: 1 + dice.roll(3) as usize,
        lanes: if transactional { 1 } else { 1 + dice.roll(3) as usize },
        faults: if calm { 0 } else { 2 + dice.roll(20) },
        slow_ms: if calm { 0 } else { [0, 10, 2_000][dice.roll(3) as usize] },
        revokes: if dice.percent(50) { 5 } else { 0 },
        buffers: dice.percent(50),
        holds: if calm || transactional { 0 } else { dice.roll(2) * 30 },
        group: dice.percent(25),
        transactional,
    }
}

fn limits(dice: &mut Dice, manners: &Manners) -> Limits {
    Limits {
        batches_in_flight_max: 2 + dice.roll(6) as usize,
        bytes_in_flight_max: 1 << (10 + dice.roll(8)),
        batches_unacknowledged_max: 2 + dice.roll(20) as usize,
        commit_interval: Duration::from_millis(dice.roll(200)),
        transaction_interval: Duration::from_millis(dice.roll(300)),
        drain_timeout: Duration::from_millis(if manners.faults == 0 { 60_000 } else { 300 }),
        stop_timeout: Duration::from_secs(if dice.percent(50) { 1 } else { 600 }),
        ..Limits::default()
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// When all is read.
    Finish,
    /// In the middle of whatever it does.
    Kill(Duration),
    /// In good order.
    Stop(Duration),
}

impl End {
    fn roll(dice: &mut Dice) -> Self {
        let after = Duration::from_micros(dice.roll(400_000));
        if dice.percent(70) { End::Kill(after) } else { End::Stop(after) }
    }
}

/// One life; true when the source came to its end in good order.
async fn life(
    world: &World,
    limits: &Limits,
    end: End,
    stop_after: Option<StopAfter>,
    outcome: &mut Outcome,
) -> bool {
    let (status, stopper) = (Arc::new(Status::default()), Stopper::new());
    let manners = world.state().manners.clone();
    let kept = manners.group || manners.transactional;
    let setting = Setting {
        limits: limits.clone(),
        store: (!kept).then(|| Arc::new(WorldStore(world.clone())) as _),
        status: Arc::clone(&status),
        stop: stopper.listener(),
    };
    let running = async {
        let ends = open(world, limits, &status).await?;
        let name = Arc::from("simulated");
        tokio::select! {
            biased;
            ended = run_task(&name, 0, ends, stop_after, &setting) => ended,
            () = predecessor(world) => Ok(()),
        }
    };
    let (ended, stopped) = match end {
        End::Finish => match tokio::time::timeout(Duration::from_secs(36_000), running).await {
            Ok(ended) => (ended, false),
            Err(_) => {
                world.state().violation("does not finish: something waits for ever");
                return true;
            }
        },
        End::Kill(after) => match tokio::time::timeout(after, running).await {
            Ok(ended) => (ended, false),
            Err(_) => return false,
        },
        End::Stop(after) => {
            let stop = async {
                tokio::time::sleep(after).await;
                stopper.stop();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                ended = running => (ended, true),
                () = stop => return false,
            }
        }
    };
    judge(world, ended, stopped, outcome)
}

/// The ends of a life, in the order in which the engine opens them.
async fn open(world: &World, limits: &Limits, status: &Arc<Status>) -> aqueduct_api::Result<Ends> {
    let manners = world.state().manners.clone();
    let sink = |_| {
        let wakeup = Arc::default();
        let sink: Box<dyn Sink> = match manners.transactional {
            true => Box::new(WorldTransactions::open(world, &wakeup)),
            false => Box::new(WorldSink::open(world, &wakeup)),
        };
        (sink, wakeup)
    };
    let mut sinks: Vec<_> = (0..manners.lanes).map(sink).collect();
    let watched = Arc::clone(status);
    let in_flight = Box::new(move || watched.in_flight().0);
    let source = open_source(&mut sinks, manners.transactional, async |kept| {
        Ok(Box::new(WorldSource::open(world, kept.as_ref(), in_flight, limits.batches_in_flight_max)) as _)
    });
    Ok(Ends {
        source: source.await?,
        source_condition: Condition::default(),
        chain: Chain::of(vec![Box::new(WorldTransform)]),
        sinks,
        sink_condition: Condition::default(),
        policy: Policy::DeadLetter(Box::new(WorldLetters::open(world))),
    })
}

/// A process of an earlier life was only frozen: it wakes up in the middle of this one, and goes on for ever.
async fn predecessor(world: &World) {
    let after = {
        let mut state = world.state();
        let transactional = state.manners.transactional;
        // One that is not transactional has left nothing behind.
        transactional.then(|| Duration::from_micros(state.dice.roll(400_000)))
    };
    if let Some(after) = after {
        tokio::time::sleep(after).await;
        world.wake();
    }
    std::future::pending().await
}

fn judge(world: &World, ended: aqueduct_api::Result<()>, stopped: bool, outcome: &mut Outcome) -> bool {
    match ended {
        Ok(()) if world.state().manners.holds > 0 => !stopped,
        Ok(()) => {
            let mut state = world.state();
            let undone: Vec<String> = state
                .partitions
                .iter()
                .filter(|partition| {
                    partition.owned && !partition.leaving && partition.given != partition.stored
                })
                .map(|partition| {
                    format!("{} ended in good order, but not all it read is stored", partition.name)
                })
                .collect();
            state.violations.extend(undone);
            !stopped
        }
        Err(error) => {
            let too_many = error.says().starts_with("more than");
            if !too_many && !matches!(error.kind(), ErrorKind::Fatal | ErrorKind::Transient | ErrorKind::Bug)
            {
                world.state().violation(format!("an error that nobody made: {error}"));
            }
            outcome.errors.push(error.to_string());
            false
        }
    }
}
