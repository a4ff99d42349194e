//! Keeps pipelines running: each in its own task, started again from its stored offsets when it fails, with backoff.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aqueduct_api::{Catalog, Error, ErrorKind, OffsetStore, Result};
use aqueduct_engine::{Limits, Phase, Setting, StallWatch, Status, Stop, Stopper};
use aqueduct_spec::{Health, Pipeline, Runtime, State};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::memory;
use crate::recurrence::{self, Recurrences};

/// The first pause before a start; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A pipeline that ran this long before it failed begins with the shortest pause again.
const STEADY_AFTER: Duration = Duration::from_secs(300);
/// How often it is looked whether pipelines get on.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What one task may hold at least: two full batches.
const TASK_BYTES_MIN: usize = 2 << 20;
/// What the open files of one task may hold at least, with their compressors: a few of them.
const TASK_BUFFER_BYTES_MIN: usize = 16 << 20;
/// What one task may hold at most: more makes nothing faster.
const TASK_BYTES_MAX: usize = 32 << 20;

/// A pipeline and what it is doing.
pub(crate) struct Member {
    pub(crate) pipeline: Pipeline,
    pub(crate) status: Arc<Status>,
    /// Starts after a failure.
    pub(crate) restarts: AtomicU64,
    limits: Limits,
    health: Health,
    watch: Mutex<StallWatch>,
    /// Until somebody looks again: what the watch found.
    stalled: AtomicBool,
}

/// All pipelines of the process.
pub(crate) struct Fleet {
    members: Arc<[Arc<Member>]>,
    stopper: Stopper,
    supervisors: JoinSet<bool>,
    /// None of those that ended so far had failed.
    good: bool,
}

impl Member {
    /// Why it is not ready; nothing when `runtime.health` finds nothing wrong with its state.
    pub(crate) fn not_ready(&self) -> Option<String> {
        self.among(&self.health.not_ready)
    }

    /// Why a restart of the process is asked for, if it is.
    pub(crate) fn not_alive(&self) -> Option<String> {
        self.among(&self.health.not_alive)
    }

    fn among(&self, states: &[State]) -> Option<String> {
        self.trouble().filter(|(state, _)| states.contains(state)).map(|(_, says)| says)
    }

    /// What is to be said of it besides its state: why it is in it, or what slows it down.
    pub(crate) fn remark(&self) -> Option<String> {
        let slowed = || self.status.slowed_by().map(|reason| format!("slowed down: {reason}"));
        let idle = || {
            let (count, reason) = self.standing_by()?;
            Some(match self.pipeline.tasks {
                tasks if count < tasks => format!("running, {count} of {tasks} tasks stand by: {reason}"),
                _ => format!("standing by: {reason}"),
            })
        };
        self.trouble().map(|(_, says)| says).or_else(slowed).or_else(idle)
    }

    /// How many of its tasks have nothing to do, and why.
    fn standing_by(&self) -> Option<(usize, String)> {
        self.status.stands_by().filter(|_| self.status.phase() == Phase::Running)
    }

    /// Whether none of them has.
    fn stands_by(&self) -> bool {
        self.standing_by().is_some_and(|(count, _)| count >= self.pipeline.tasks)
    }

    /// Its state in one word.
    pub(crate) fn state(&self) -> &'static str {
        match (self.trouble(), self.status.phase()) {
            (Some((State::Starting, _)), _) => "starting",
            (Some((State::Waiting, _)), _) => "waiting",
            (Some((State::Restarting, _)), _) => "restarting",
            (Some((State::Failed, _)), _) => "failed",
            (Some((State::Stalled, _)), _) => "stalled",
            (None, Phase::Ended) => "ended",
            (None, _) if self.stands_by() => "standby",
            (None, _) => "running",
        }
    }

    /// The state that somebody may worry about, with the reason; nothing when records may flow, or when it has ended in
    /// good order.
    fn trouble(&self) -> Option<(State, String)> {
        let waiting = self.status.waiting_for();
        match self.status.phase() {
            Phase::Starting => {
                let says = waiting.map_or("starting".to_owned(), |reason| format!("starting: {reason}"));
                Some((State::Starting, says))
            }
            Phase::Running if self.stalled.load(Ordering::Relaxed) => {
                let time = aqueduct_api::config::Duration(self.health.stalled_after);
                Some((
                    State::Stalled,
                    format!(
                        "stalled: for {time} or longer records are in flight and nothing was read, written or tried \
                         again; see what hangs at its ends, a restart of the process begins from the stored offsets"
                    ),
                ))
            }
            Phase::Running => waiting.map(|reason| (State::Waiting, format!("waiting: {reason}"))),
            Phase::Restarting { error } => {
                Some((State::Restarting, format!("failed and will be started again: {error}")))
            }
            Phase::Failed { error } => Some((State::Failed, format!("failed: {error}"))),
            Phase::Ended => None,
        }
    }

    fn look(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled = watch.observe(self.status.progress(), Instant::now()) >= self.health.stalled_after;
        let before = self.stalled.swap(stalled, Ordering::Relaxed);
        let pipeline = &self.pipeline.name;
        let (in_flight_batches, in_flight_bytes) = self.status.in_flight();
        match (before, stalled) {
            (false, true) => error!(%pipeline, in_flight_batches, in_flight_bytes, "pipeline is stalled"),
            (true, false) => info!(%pipeline, "pipeline is no longer stalled"),
            _ => {}
        }
    }
}

impl Fleet {
    /// Starts all of them; returns at once.
    pub(crate) fn start(pipelines: Vec<Pipeline>, runtime: &Runtime, catalog: &Catalog) -> Self {
        let limit = memory::limit(Path::new("/"));
        memory::report(runtime.memory_max_bytes, limit);
        let memory_max_bytes = memory::budget(runtime.memory_max_bytes, limit);
        let stopper = Stopper::new();
        let tasks = pipelines.iter().map(|pipeline| pipeline.tasks).sum();
        let members: Arc<[Arc<Member>]> = pipelines
            .into_iter()
            .map(|pipeline| {
                let limits = limits(&pipeline, memory_max_bytes, tasks);
                Arc::new(Member {
                    pipeline,
                    status: Arc::default(),
                    restarts: AtomicU64::new(0),
                    limits,
                    health: runtime.health.clone(),
                    watch: Mutex::default(),
                    stalled: AtomicBool::new(false),
                })
            })
            .collect();
        let mut supervisors = JoinSet::new();
        for member in members.iter() {
            supervisors.spawn(supervise(Arc::clone(member), catalog.clone(), stopper.listener()));
        }
        // Ends with the last of the members.
        tokio::spawn(keep_looking(Arc::downgrade(&members)));
        Self { members, stopper, supervisors, good: true }
    }

    /// The pipelines, for those who look on.
    pub(crate) fn members(&self) -> Arc<[Arc<Member>]> {
        Arc::clone(&self.members)
    }

    /// Asks all to read no more, to finish what was read, and to end.
    pub(crate) fn stop(&self) {
        self.stopper.stop();
    }

    /// Hears when they are asked to stop.
    pub(crate) fn stopping(&self) -> Stop {
        self.stopper.listener()
    }

    /// Waits until none runs any more. True when all ended in good order. May be dropped and called again.
    pub(crate) async fn ended(&mut self) -> bool {
        while let Some(ended) = self.supervisors.join_next().await {
            self.good &= ended.unwrap_or(false);
        }
        self.good
    }
}

async fn keep_looking(members: Weak<[Arc<Member>]>) {
    while let Some(members) = members.upgrade() {
        members.iter().for_each(|member| member.look());
        drop(members);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// What one task of this pipeline may hold: an eighth of `memory_max` is for records, in equal parts for all `tasks`
/// of the process, and three quarters for what sinks write to, such as open files with their compressors; the rest is for
/// client libraries.
pub(crate) fn limits(pipeline: &Pipeline, memory_max_bytes: u64, tasks: usize) -> Limits {
    let share = usize::try_from(memory_max_bytes / 8).unwrap_or(usize::MAX) / tasks.max(1);
    let bytes_in_flight_max = share.clamp(TASK_BYTES_MIN, TASK_BYTES_MAX);
    let buffer_max_bytes = share.saturating_mul(6).max(TASK_BUFFER_BYTES_MIN);
    let stop_timeout = pipeline.stop_timeout;
    let mut limits = Limits { bytes_in_flight_max, buffer_max_bytes, stop_timeout, ..Limits::default() };
    // A batch may overshoot the budget, so it must be small beside it.
    limits.batch_bytes_max = limits.batch_bytes_max.min(bytes_in_flight_max / 4);
    limits
}

/// Runs one pipeline until it ends, is stopped, cannot work, or fails in the same way again and again. True when it ended in good order.
async fn supervise(member: Arc<Member>, catalog: Catalog, mut stop: Stop) -> bool {
    let pipeline = Arc::clone(&member.pipeline.name);
    let mut pause = PAUSE_MIN;
    let mut store = None;
    let mut recurrences = Recurrences::default();
    loop {
        let begun = Instant::now();
        let error = match attempt(&member, &catalog, &mut store, &stop).await {
            Ok(()) => {
                info!(%pipeline, "pipeline ended");
                member.status.set_phase(Phase::Ended);
                return true;
            }
            Err(error) => error,
        };
        // A call that waited for a server when the stop came held nothing.
        if stop.requested() && error.kind() == ErrorKind::Transient {
            info!(%pipeline, %error, "pipeline stopped while it was waiting");
            member.status.set_phase(Phase::Ended);
            return true;
        }
        member.status.errors.fetch_add(1, Ordering::Relaxed);
        // Stop means stop: the same record would come again, and so would the same configuration.
        let hopeless = matches!(error.kind(), ErrorKind::Config | ErrorKind::BadRecord);
        let steady = begun.elapsed() >= STEADY_AFTER;
        let commits = member.status.commits.load(Ordering::Relaxed);
        let stored = |partition: &str| member.status.partitions().remove(partition)?.committed;
        let stuck = recurrences.is_stuck(&error, steady, commits, stored);
        if stop.requested() || hopeless || stuck {
            let again = if stuck { recurrence::SAYS } else { "" };
            error!(%pipeline, %error, "pipeline failed{again}");
            member.status.set_phase(Phase::Failed { error: format!("{error}{again}") });
            return false;
        }
        if steady {
            pause = PAUSE_MIN;
        }
        let wait = jittered(pause);
        pause = (pause * 2).min(PAUSE_MAX);
        warn!(%pipeline, %error, pause_ms = wait.as_millis() as u64, "pipeline failed, it will be started again");
        member.status.set_phase(Phase::Restarting { error: error.to_string() });
        tokio::select! {
            biased;
            () = stop.wait() => {
                member.status.set_phase(Phase::Ended);
                return true;
            }
            () = tokio::time::sleep(wait) => {}
        }
        member.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

/// One run. The store is opened once and kept: offsets in memory live as long as the process.
async fn attempt(
    member: &Arc<Member>,
    catalog: &Catalog,
    store: &mut Option<Arc<dyn OffsetStore>>,
    stop: &Stop,
) -> Result<()> {
    let keeps_offsets = member.pipeline.source.connector.configured.traits().keeps_offsets;
    let needed = keeps_offsets.needs_store(member.pipeline.offset_store.is_some());
    if store.is_none() && needed && !member.pipeline.delivery.is_transactional() {
        *store = Some(open_store(&member.pipeline, catalog).await?);
    }
    let setting = Setting {
        limits: member.limits.clone(),
        store: store.clone(),
        status: Arc::clone(&member.status),
        stop: stop.clone(),
    };
    // In a task of its own, so that a panic is an error like any other; the set takes it along when dropped.
    let mut run = JoinSet::new();
    let member = Arc::clone(member);
    run.spawn(async move { aqueduct_engine::run(&member.pipeline, &setting).await });
    match run.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(panic)) => Err(aqueduct_engine::panicked("the pipeline panicked", panic)),
        None => Err(Error::bug("the pipeline did not start")),
    }
}

/// Where a pipeline keeps its offsets when its source does not.
pub(crate) async fn open_store(pipeline: &Pipeline, catalog: &Catalog) -> Result<Arc<dyn OffsetStore>> {
    if let Some(store) = &pipeline.offset_store {
        return store.configured.open().await;
    }
    let memory =
        catalog.offset_stores.get("memory").and_then(|entry| entry.configure(Default::default()).ok());
    match memory {
        Some(memory) => memory.open().await,
        None => Err(Error::config("there is no offset store in memory").remedy("name an offset_store")),
    }
}

/// Up to a quarter less, so that many pipelines do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    let chance = RandomState::new().hash_one(()) as u32;
    pause - pause.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 4.0)
}

#[cfg(test)]
mod tests;
