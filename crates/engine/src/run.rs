//! Opens what a pipeline names and joins the stations. Stopping is a wave: a station ends when its input closes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use aqueduct_api::catalog::{SinkContext, SourceContext};
use aqueduct_api::{Condition, Error, Incarnations, OffsetStore, Offsets, Result, Sink, Source, Unfinished};
use aqueduct_ledger::planted::{Bug, planted};
use aqueduct_spec::{OnBadRecord, Pipeline};
use futures_util::future::try_join_all;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinSet};

use crate::ack::SharedLedger;
use crate::budget::{Budget, Limits};
use crate::chain::Chain;
use crate::route::{ReadPlan, routes};
use crate::set_aside::{Policy, SetAside};
use crate::stations::ToLane;
use crate::stations::commit::Commit;
use crate::stations::poll::Poll;
use crate::stations::process::Process;
use crate::stations::transaction::Transaction;
use crate::stations::write::Write;
use crate::status::{Phase, Status, TaskCounts};
use crate::stop::Stop;

/// Batches between two stations: enough to keep both busy, few enough to stop quickly.
const STATION_QUEUE_MAX: usize = 4;
/// How long a source or a sink that was dropped may take to finish: to leave its group, when its server does not answer.
const FINISH_MAX: Duration = Duration::from_secs(10);

/// What a run needs besides the pipeline.
#[derive(Clone)]
pub struct Setting {
    /// The bounds of each task.
    pub limits: Limits,
    /// Where offsets go when the source keeps none.
    pub store: Option<Arc<dyn OffsetStore>>,
    /// Written by the stations.
    pub status: Arc<Status>,
    /// Listened to.
    pub stop: Stop,
}

/// The opened ends of one task.
pub struct Ends {
    /// Gives.
    pub source: Box<dyn Source>,
    /// What the source waits for.
    pub source_condition: Condition,
    /// Decodes, transforms and encodes.
    pub chain: Chain,
    /// One for each lane, and what it notifies when it has something to report.
    pub sinks: Vec<(Box<dyn Sink>, Arc<Notify>)>,
    /// What the sinks wait for.
    pub sink_condition: Condition,
    /// What happens to bad records.
    pub policy: Policy,
}

impl Ends {
    fn counts(&self, budget: &Arc<Budget>, stations: &[Condition]) -> TaskCounts {
        TaskCounts {
            budget: Some(Arc::clone(budget)),
            source: self.source_condition.clone(),
            sink: self.sink_condition.clone(),
            formats: self.chain.condition().clone(),
            stations: stations.to_vec(),
        }
    }
}

/// Runs all tasks of a pipeline until its source ends, a stop is asked for, or one task fails: then all are dropped,
/// and the pipeline may be started again from its stored offsets.
pub async fn run(pipeline: &Pipeline, setting: &Setting) -> Result<()> {
    setting.status.set_phase(Phase::Starting);
    let (unfinished, finishing) = Unfinished::new();
    let mut tasks = JoinSet::new();
    for task in 0..pipeline.tasks {
        let (pipeline, setting, unfinished) = (pipeline.clone(), setting.clone(), unfinished.clone());
        tasks.spawn(async move {
            let ends = open(&pipeline, &setting, task, unfinished).await?;
            setting.status.set_phase(Phase::Running);
            run_task(&pipeline.name, task, ends, pipeline.errors.stop_after, &setting).await
        });
    }
    drop(unfinished);
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        result = ended.unwrap_or_else(|panic| Err(panicked("a task of the pipeline panicked", panic)));
        if result.is_err() {
            break;
        }
    }
    // Nothing of this run may be at work any more when the next one begins, or when the process ends.
    tasks.shutdown().await;
    if !finishing.within(FINISH_MAX).await {
        tracing::warn!(pipeline = %pipeline.name, "the source or the sink is not closed in time");
    }
    result
}

/// A panic as an error, with its message; where it was, is logged when it happens.
pub fn panicked(says: &str, error: JoinError) -> Error {
    let message = error.try_into_panic().map(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
    });
    Error::bug(says).caused_by(message.unwrap_or_else(|error| error.to_string()))
}

async fn open(pipeline: &Pipeline, setting: &Setting, task: usize, unfinished: Unfinished) -> Result<Ends> {
    let (limits, mut stop) = (&setting.limits, setting.stop.clone());
    let traits = pipeline.sink.connector.configured.traits();
    let resume = match &setting.store {
        Some(store) => store.load(&pipeline.name).await?,
        None => Default::default(),
    };
    let source_condition = Condition::default();
    let [_, value, _] = routes(pipeline)?;
    let transactional = pipeline.delivery.is_transactional();
    let mut context = SourceContext {
        pipeline: Arc::clone(&pipeline.name),
        task,
        tasks: pipeline.tasks,
        has_store: setting.store.is_some(),
        kept_by_sink: transactional,
        resume,
        batch_records_max: limits.batch_records_max.min(traits.batch_records_max.unwrap_or(usize::MAX)),
        batch_bytes_max: limits.batch_bytes_max,
        drain_timeout: limits.drain_timeout,
        typed: matches!(value.read, ReadPlan::Typed),
        named_by_offsets: pipeline.sink.connector.configured.names_by_offsets(),
        rows: pipeline.source.formats.value.as_ref().and_then(|format| format.configured.rows()),
        condition: source_condition.clone(),
        incarnations: Incarnations::default(),
        unfinished,
    };
    let (incarnations, unfinished) = (context.incarnations.clone(), context.unfinished.clone());
    let sink_condition = Condition::default();
    let chain = Chain::build(pipeline)?;
    let counts = TaskCounts {
        source: source_condition.clone(),
        sink: sink_condition.clone(),
        formats: chain.condition().clone(),
        ..TaskCounts::default()
    };
    setting.status.add_task(task, counts);
    let opening = async {
        // Sinks first: nothing is read before there is a place for it.
        let mut sinks = Vec::new();
        for lane in 0..traits.lanes {
            let mut context = sink_context(pipeline, task, lane, &sink_condition);
            context.transactional = transactional;
            (context.incarnations, context.unfinished) = (incarnations.clone(), unfinished.clone());
            context.buffer_max_bytes = limits.buffer_max_bytes / traits.lanes.max(1);
            let wakeup = Arc::clone(&context.wakeup);
            sinks.push((pipeline.sink.connector.configured.open(context).await?, wakeup));
        }
        let aside = SinkContext { unfinished, ..sink_context(pipeline, task, traits.lanes, &sink_condition) };
        let policy = open_policy(&pipeline.errors.on_bad_record, aside).await?;
        let source = open_source(&mut sinks, transactional, |kept| {
            context.resume = kept.unwrap_or(context.resume);
            pipeline.source.connector.configured.open(context)
        });
        let source = source.await?;
        Ok::<_, Error>((sinks, policy, source))
    };
    let (sinks, policy, source) = tokio::select! {
        biased;
        opened = opening => opened?,
        () = stop.wait() => return Err(Error::transient("stopped while opening")),
    };
    Ok(Ends { source, source_condition, chain, sinks, sink_condition, policy })
}

/// Opens what bad records are written to, if anything.
async fn open_policy(on_bad_record: &OnBadRecord, context: SinkContext) -> Result<Policy> {
    Ok(match on_bad_record {
        OnBadRecord::Stop => Policy::Stop,
        OnBadRecord::Skip => Policy::Skip,
        OnBadRecord::DeadLetter(letter) => Policy::DeadLetter(letter.sink.configured.open(context).await?),
    })
}

/// Opens the source behind sinks that are open already. A sink that keeps the offsets takes its epoch before: whoever wrote
/// there until now is fenced off first, and then the source gets the place to resume at (invariant 10).
pub async fn open_source<Opening>(
    sinks: &mut [(Box<dyn Sink>, Arc<Notify>)],
    transactional: bool,
    open: impl FnOnce(Option<Offsets>) -> Opening,
) -> Result<Box<dyn Source>>
where
    Opening: Future<Output = Result<Box<dyn Source>>>,
{
    let kept = match sinks {
        _ if !transactional || planted(Bug::EpochNotTaken) => None,
        [(sink, _)] => stored(sink.as_mut()).await?,
        _ => return Err(keeps_none()),
    };
    let mut source = open(kept.clone()).await?;
    release_again(source.as_mut(), &kept.unwrap_or_default()).await?;
    Ok(source)
}

/// A crash may have fallen between storing and releasing (invariant 5).
async fn release_again(source: &mut dyn Source, stored: &Offsets) -> Result<()> {
    if stored.is_empty() || planted(Bug::NotReleasedAtStart) {
        return Ok(());
    }
    source.release(stored).await
}

async fn stored(sink: &mut dyn Sink) -> Result<Option<Offsets>> {
    sink.transactional().ok_or_else(keeps_none)?.stored().await
}

fn keeps_none() -> Error {
    Error::bug("the sink was asked to keep the offsets, and does not")
}

fn sink_context(pipeline: &Pipeline, task: usize, lane: usize, condition: &Condition) -> SinkContext {
    let (pipeline, condition) = (Arc::clone(&pipeline.name), condition.clone());
    SinkContext { task, lane, condition, ..SinkContext::new(pipeline) }
}

/// Runs the stations of one task over ends that are open.
pub async fn run_task(
    pipeline: &Arc<str>,
    task: usize,
    mut ends: Ends,
    stop_after: Option<aqueduct_spec::StopAfter>,
    setting: &Setting,
) -> Result<()> {
    let Setting { limits, store, status, stop } = setting;
    let budget = Budget::new(limits);
    let [reading, setting_aside, storing] = [(); 3].map(|()| Condition::default());
    let writing: Vec<Condition> = ends.sinks.iter().map(|_| Condition::default()).collect();
    let said = [&writing[..], &[reading.clone(), setting_aside.clone(), storing.clone()]].concat();
    status.add_task(task, ends.counts(&budget, &said));
    if let Some(store) = store {
        let stored = store.load(pipeline).await?;
        release_again(ends.source.as_mut(), &stored).await?;
    }
    let ledger = Arc::new(SharedLedger::default());
    let flushing = Arc::new(AtomicBool::new(false));
    let set_aside =
        SetAside::new(Arc::clone(pipeline), ends.policy, stop_after, Arc::clone(status), setting_aside);
    let set_aside = Arc::new(set_aside);
    let (read, reads) = mpsc::channel(STATION_QUEUE_MAX);
    let (release, releases) = mpsc::channel(STATION_QUEUE_MAX);
    let (drain, drains) = mpsc::channel(1);
    let transactional = is_transactional(&mut ends.sinks);
    let ownership = ends.source.ownership();
    let lane = |(sink, condition): (_, Condition)| {
        let begin = || Transaction::new(&ledger, &budget, limits.transaction_interval, ownership.clone());
        lane(sink, &condition, &set_aside, status, &flushing, transactional.then(begin))
    };
    let (lanes, writes): (Vec<_>, Vec<_>) = ends.sinks.into_iter().zip(writing).map(lane).unzip();
    let poll = Poll {
        source: ends.source,
        limits: limits.clone(),
        budget,
        ledger: Arc::clone(&ledger),
        status: Arc::clone(status),
        stop: stop.clone(),
        out: read,
        releases,
        drains: drain,
        flushing: Arc::clone(&flushing),
        condition: reading,
    };
    let process = Process {
        chain: ends.chain,
        input: reads,
        lanes,
        set_aside: Arc::clone(&set_aside),
        status: Arc::clone(status),
        transactional,
    };
    let commit = Commit {
        pipeline: Arc::clone(pipeline),
        store: store.clone(),
        limits: limits.clone(),
        ledger,
        status: Arc::clone(status),
        releases: release,
        drains,
        condition: storing,
    };
    within_deadline(join(poll, process, writes, commit), stop.clone(), &set_aside, limits.stop_timeout).await
}

/// Until all stations have ended, or one has failed.
async fn join(poll: Poll, process: Process, writes: Vec<Write>, commit: Commit) -> Result<()> {
    let writes = try_join_all(writes.into_iter().map(|lane| Box::pin(lane.run())));
    let (poll, process) = (Box::pin(poll.run()), Box::pin(process.run()));
    tokio::try_join!(biased; poll, process, writes, Box::pin(commit.run())).map(|_| ())
}

/// A transaction is that of one writer.
fn is_transactional(sinks: &mut [(Box<dyn Sink>, Arc<Notify>)]) -> bool {
    match sinks {
        [(sink, _)] => sink.transactional().is_some(),
        _ => false,
    }
}

fn lane(
    (sink, wakeup): (Box<dyn Sink>, Arc<Notify>),
    condition: &Condition,
    set_aside: &Arc<SetAside>,
    status: &Arc<Status>,
    flushing: &Arc<AtomicBool>,
    transaction: Option<Transaction>,
) -> (mpsc::Sender<ToLane>, Write) {
    let (lane, input) = mpsc::channel(STATION_QUEUE_MAX);
    let write = Write {
        sink,
        wakeup,
        input,
        open: VecDeque::new(),
        set_aside: Arc::clone(set_aside),
        status: Arc::clone(status),
        condition: condition.clone(),
        flushing: Arc::clone(flushing),
        transaction,
        refused: Vec::new(),
    };
    (lane, write)
}

/// Ends with the error of the record that stopped the pipeline, where one did: all that stood before it is delivered and
/// committed by then, unless that takes longer than a stop may.
async fn within_deadline(
    stations: impl Future<Output = Result<()>>,
    mut stop: Stop,
    set_aside: &SetAside,
    stop_timeout: std::time::Duration,
) -> Result<()> {
    let stopping = async {
        tokio::select! {
            biased;
            () = stop.wait() => {}
            () = set_aside.stopped() => {}
        }
        tokio::time::sleep(stop_timeout).await;
    };
    tokio::select! {
        biased;
        ended = stations => ended.and_then(|()| set_aside.take_refusal().map_or(Ok(()), Err)),
        () = stopping => {
            let timeout = aqueduct_api::config::Duration(stop_timeout);
            let late = || {
                Error::fatal(format!("not everything became durable within stop_timeout ({timeout}); it will be read again"))
                    .remedy("raise stop_timeout, or see what the sink waits for")
            };
            Err(set_aside.take_refusal().unwrap_or_else(late))
        }
    }
}
