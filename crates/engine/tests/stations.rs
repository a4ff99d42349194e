//! Single stations where the simulation looks past details: what is said, how long is waited, what is counted.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_api::{
    Batch, Condition, Error, ErrorKind, Headers, OffsetStore, Offsets, Origin, Outcome, Payload, Polled,
    Projection, Record, Records, Rejected, Result, Sink, Source, Transform, Written,
};
use aqueduct_engine::chain::Chain;
use aqueduct_engine::{Ends, Limits, Policy, Setting, Status, Stopper, open_source, run_task};
use aqueduct_spec::StopAfter;
use async_trait::async_trait;

/// Gives numbered records, ten a batch, then ends, or idles when there is no end.
struct Numbers {
    next: i64,
    count: i64,
    ends: bool,
    released: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Source for Numbers {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        if self.next == self.count {
            if self.ends {
                return Ok(Polled::End);
            }
            tokio::time::sleep(wait).await;
            return Ok(Polled::Idle);
        }
        let upto = (self.next + 10).min(self.count);
        let records = (self.next..upto).map(record).collect();
        self.next = upto;
        Ok(Polled::Batch { records, resume_at: Offsets::from([("n/0".into(), upto.to_string().into())]) })
    }

    async fn release(&mut self, offsets: &Offsets) -> Result<()> {
        self.released.lock().unwrap().extend(offsets.values().map(ToString::to_string));
        Ok(())
    }
}

fn record(offset: i64) -> Record {
    Record {
        topic: "n".into(),
        origin: Origin { partition: 0, offset },
        key: Payload::Absent,
        value: offset.to_string().into(),
        headers: Headers::default(),
        timestamp_us: None,
    }
}

#[derive(Clone, Default)]
struct Collects {
    got: Arc<Mutex<Vec<Record>>>,
    stuck: bool,
    /// Nothing is durable before the test says so.
    lazy: bool,
    /// Takes none of these offsets.
    refuses: &'static [i64],
    /// So many ticks fail, from the second on.
    failing_ticks: Arc<Mutex<u32>>,
    /// What it says of itself.
    condition: Condition,
}

#[async_trait]
impl Sink for Collects {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        if self.stuck {
            return Err(Error::transient("the sink does not answer"));
        }
        let refused = |record: &&Record| self.refuses.contains(&record.origin.offset);
        let taken = batch.records.iter().filter(|record| !refused(record)).cloned();
        self.got.lock().unwrap().extend(taken);
        let too_large = || Error::bad_record("it is too large").remedy("make it smaller");
        let refused = batch.records.iter().filter(refused).cloned();
        let rejected = refused.map(|record| Rejected { record, error: too_large() }).collect();
        let written = if self.lazy { Written::nothing() } else { Written::all() };
        Ok(Written { rejected, ..written })
    }

    async fn tick(&mut self) -> Result<Written> {
        let mut failing = self.failing_ticks.lock().unwrap();
        if *failing > 0 {
            *failing -= 1;
            return Err(Error::transient("nobody answers"));
        }
        Ok(Written::nothing())
    }

    async fn flush(&mut self) -> Result<Written> {
        Ok(Written::all())
    }
}

/// Refuses every fifth record.
struct EveryFifth;

impl Transform for EveryFifth {
    fn projection(&self) -> Projection {
        Projection::default()
    }

    fn apply(&mut self, record: &mut Record) -> Result<Outcome> {
        if record.origin.offset % 5 == 4 {
            Err(Error::bad_record("it is a fifth"))
        } else {
            Ok(Outcome::Keep)
        }
    }
}

struct Run {
    ended: Result<()>,
    got: Vec<Record>,
    released: Vec<String>,
    status: Arc<Status>,
}

async fn run(policy: Policy, stop_after: Option<StopAfter>, sink: Collects, ends: bool) -> Run {
    run_through(Chain::of(vec![Box::new(EveryFifth)]), policy, stop_after, sink, ends).await
}

async fn run_through(
    chain: Chain,
    policy: Policy,
    stop_after: Option<StopAfter>,
    sink: Collects,
    ends: bool,
) -> Run {
    let released = Arc::new(Mutex::new(Vec::new()));
    let (status, stopper) = (Arc::new(Status::default()), Stopper::new());
    let limits = Limits { stop_timeout: Duration::from_secs(5), ..Limits::default() };
    let setting = Setting { limits, store: None, status: Arc::clone(&status), stop: stopper.listener() };
    let opened = Ends {
        source: Box::new(Numbers { next: 0, count: 40, ends, released: Arc::clone(&released) }),
        source_condition: Condition::default(),
        chain,
        sinks: vec![(Box::new(sink.clone()), Arc::default())],
        sink_condition: Condition::default(),
        policy,
    };
    let name = Arc::from("numbers");
    let running = run_task(&name, 0, opened, stop_after, &setting);
    let ended = tokio::select! {
        biased;
        ended = running => ended,
        () = async { tokio::time::sleep(Duration::from_secs(60)).await; stopper.stop(); std::future::pending().await } => Ok(()),
    };
    let (got, released) = (sink.got.lock().unwrap().clone(), released.lock().unwrap().clone());
    Run { ended, got, released, status }
}

#[tokio::test(start_paused = true)]
async fn stop_names_the_record_and_the_remedy() {
    let run = run(Policy::Stop, None, Collects::default(), true).await;
    let error = run.ended.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRecord);
    assert_eq!(
        error.to_string(),
        "a record does not pass: it is a fifth (topic=n, partition=0, offset=4, stage=transform); correct it at its \
         source, or set errors.on_bad_record to dead_letter or skip"
    );
    assert_eq!(run.released, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn skip_counts_and_goes_on() {
    let run = run(Policy::Skip, None, Collects::default(), true).await;
    run.ended.unwrap();
    assert_eq!(run.got.len(), 32);
    assert_eq!(run.status.records_set_aside.load(std::sync::atomic::Ordering::Relaxed), 8);
    assert_eq!(run.released.last().unwrap(), "40");
}

#[tokio::test(start_paused = true)]
async fn stop_after_bounds_what_is_skipped() {
    let limit = StopAfter { records: 7, window: Duration::from_secs(60) };
    let error = run(Policy::Skip, Some(limit), Collects::default(), true).await.ended.unwrap_err();
    assert!(error.to_string().starts_with("more than 7 bad records in 1m"), "{error}");
    let limit = StopAfter { records: 8, window: Duration::from_secs(60) };
    run(Policy::Skip, Some(limit), Collects::default(), true).await.ended.unwrap();
}

/// The same where it is the sink that refuses the record: in the middle of its batch, at its begin and at its end.
#[tokio::test(start_paused = true)]
async fn what_stands_before_a_record_that_the_sink_refuses_is_committed_first() {
    for refuses in [&[23][..], &[20], &[29], &[23, 31], &[39]] {
        for (lazy, ends) in [(false, false), (false, true), (true, false), (true, true)] {
            let sink = Collects { lazy, refuses, ..Collects::default() };
            let run = run_through(Chain::of(vec![]), Policy::Stop, None, sink, ends).await;
            let error = run.ended.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadRecord, "{error}");
            assert!(error.to_string().contains(&format!("offset={}, stage=write", refuses[0])), "{error}");
            let before = (refuses[0] / 10 * 10).to_string();
            assert_eq!(run.released.last(), Some(&before), "{refuses:?} {lazy} {ends}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_before_a_record_that_stops_the_pipeline_is_delivered_first() {
    let limit = StopAfter { records: 7, window: Duration::from_secs(60) };
    for lazy in [false, true] {
        for ends in [false, true] {
            let run = run(Policy::Skip, Some(limit), Collects { lazy, ..Collects::default() }, ends).await;
            assert_eq!(run.ended.unwrap_err().kind(), ErrorKind::BadRecord);
            // The eighth bad record is in the fourth batch.
            assert_eq!(run.got.iter().map(|it| it.origin.offset).max(), Some(28));
            assert_eq!(run.released.last().unwrap(), "30", "and it is not delivered again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_source_cannot_read_is_set_aside_as_any_bad_record() {
    let batch = || {
        let records = (0..3).map(record).collect::<Vec<_>>();
        Records::from(records).with_refused(vec![(1, Error::bad_record("it is no record"))])
    };
    let passed = Chain::default().apply(batch()).await.unwrap();
    assert_eq!(passed.kept.iter().map(|it| it.origin.offset).collect::<Vec<_>>(), [0, 2]);
    let [bad] = &passed.bad[..] else { panic!("{:?}", passed.bad) };
    assert_eq!((&bad.record, bad.stage.to_string().as_str()), (&record(1), "read"));
    assert_eq!(bad.error.says(), "it is no record");
    // Nobody else looks at it first.
    let passed = Chain::of(vec![Box::new(EveryFifth)]).apply(batch()).await.unwrap();
    assert_eq!((passed.kept.len(), passed.bad.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_keeps_the_record_and_says_why() {
    let letters = Collects::default();
    let run = run(Policy::DeadLetter(Box::new(letters.clone())), None, Collects::default(), true).await;
    run.ended.unwrap();
    let letters = letters.got.lock().unwrap();
    assert_eq!(letters.len(), 8);
    assert_eq!(letters[0].value, Payload::from("4".to_owned()));
    let header = |name: &str| {
        let value = letters[0].headers.last(name).and_then(|header| header.value.clone()).unwrap();
        String::from_utf8(value.to_vec()).unwrap()
    };
    let facts = ["pipeline", "stage", "error", "topic", "partition", "offset"];
    let facts = facts.map(|fact| header(&format!("aqueduct.{fact}")));
    assert_eq!(facts, ["numbers", "transform", "it is a fifth", "n", "0", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_written_holds_the_batch() {
    let stuck = Collects { stuck: true, ..Collects::default() };
    let begun = tokio::time::Instant::now();
    let run = run(Policy::DeadLetter(Box::new(stuck)), None, Collects::default(), true).await;
    // It waits for the dead letter sink until a stop is requested, and past stop_timeout nothing is stored.
    assert!(run.ended.unwrap_err().to_string().contains("stop_timeout (5s)"));
    assert_eq!(run.released, Vec::<String>::new());
    assert!(begun.elapsed() >= Duration::from_secs(65));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_refused_stops_the_pipeline_for_good() {
    let letters = Collects { refuses: &[9, 14], ..Collects::default() };
    let run = run(Policy::DeadLetter(Box::new(letters.clone())), None, Collects::default(), true).await;
    let error = run.ended.unwrap_err();
    // Another run would meet the same record, and write again what it wrote before.
    assert_eq!(error.kind(), ErrorKind::BadRecord);
    assert_eq!(
        error.to_string(),
        "a record does not pass: it is a fifth; and its dead letter is refused: it is too large (topic=n, partition=0, \
         offset=9, stage=transform); give dead letters a place that takes it: a topic with a larger limit, or \
         `dead_letter: { file: PATH }`; or leave such records behind with errors.on_bad_record: skip"
    );
    // What was refused together with it is not lost.
    assert_eq!(letters.got.lock().unwrap().len(), 1);
    assert_eq!(run.released, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_dead_letter_sink_keeps_its_kind() {
    struct Absent;
    #[async_trait]
    impl Sink for Absent {
        async fn write(&mut self, _: &Arc<Batch>) -> Result<Written> {
            Err(Error::config("there is no such bucket").remedy("make it"))
        }
        async fn flush(&mut self) -> Result<Written> {
            Ok(Written::all())
        }
    }
    let run = run(Policy::DeadLetter(Box::new(Absent)), None, Collects::default(), true).await;
    let error = run.ended.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.to_string(), "cannot write a dead letter: there is no such bucket; make it");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_recovers_between_writes_is_no_longer_waited_for() {
    let sink = Collects { failing_ticks: Arc::new(Mutex::new(3)), ..Collects::default() };
    sink.condition.waiting("for its own reasons");
    let (status, stopper) = (Arc::new(Status::default()), Stopper::new());
    let setting = Setting {
        limits: Limits::default(),
        store: None,
        status: Arc::clone(&status),
        stop: stopper.listener(),
    };
    let opened = Ends {
        source: Box::new(Numbers { next: 0, count: 0, ends: false, released: Arc::default() }),
        source_condition: Condition::default(),
        chain: Chain::default(),
        sinks: vec![(Box::new(sink.clone()), Arc::default())],
        sink_condition: sink.condition.clone(),
        policy: Policy::Stop,
    };
    let observing = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        sink.condition.clear();
        assert_eq!(status.waiting_for().as_deref(), Some("nobody answers"));
        sink.condition.waiting("for its own reasons");
        tokio::time::sleep(Duration::from_millis(500)).await;
        // What the sink says of itself is not taken back with it.
        assert_eq!(status.waiting_for().as_deref(), Some("for its own reasons"));
        sink.condition.clear();
        assert_eq!(status.waiting_for(), None);
        stopper.stop();
    };
    let name = Arc::from("idle");
    let (ended, ()) = tokio::join!(run_task(&name, 0, opened, None, &setting), observing);
    ended.unwrap();
}

/// Stores nothing for a second, then all.
#[derive(Debug)]
struct FullDisk(tokio::time::Instant);

#[async_trait]
impl OffsetStore for FullDisk {
    async fn load(&self, _: &str) -> Result<Offsets> {
        Ok(Offsets::new())
    }

    async fn save(&self, _: &str, _: &Offsets) -> Result<()> {
        if self.0.elapsed() < Duration::from_secs(5) {
            Err(Error::transient("the disk is full"))
        } else {
            Ok(())
        }
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_that_cannot_be_stored_are_said_to_be_waited_for() {
    let (status, stopper) = (Arc::new(Status::default()), Stopper::new());
    let store = Some(Arc::new(FullDisk(tokio::time::Instant::now())) as _);
    let setting =
        Setting { limits: Limits::default(), store, status: Arc::clone(&status), stop: stopper.listener() };
    let opened = Ends {
        source: Box::new(Numbers { next: 0, count: 40, ends: false, released: Arc::default() }),
        source_condition: Condition::default(),
        chain: Chain::default(),
        sinks: vec![(Box::new(Collects::default()), Arc::default())],
        sink_condition: Condition::default(),
        policy: Policy::Stop,
    };
    let observing = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(status.waiting_for().as_deref(), Some("the disk is full"));
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(status.waiting_for(), None);
        stopper.stop();
    };
    let name = Arc::from("full");
    let (ended, ()) = tokio::join!(run_task(&name, 0, opened, None, &setting), observing);
    ended.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_no_longer_than_its_timeout() {
    let stuck = Collects { stuck: true, ..Collects::default() };
    let begun = tokio::time::Instant::now();
    let run = run(Policy::Skip, None, stuck, false).await;
    let error = run.ended.unwrap_err();
    assert!(
        error.to_string().starts_with("not everything became durable within stop_timeout (5s)"),
        "{error}"
    );
    assert_eq!(begun.elapsed().as_secs(), 65);
    assert!(run.status.retries.load(std::sync::atomic::Ordering::Relaxed) > 5);
}

#[tokio::test(start_paused = true)]
async fn stopping_in_good_order_releases_everything() {
    let run = run(Policy::Skip, None, Collects::default(), false).await;
    run.ended.unwrap();
    assert_eq!((run.got.len(), run.released.last().unwrap().as_str()), (32, "40"));
}

#[tokio::test(start_paused = true)]
async fn exactly_once_is_never_quietly_weakened() {
    let error_of = async |count: usize| {
        let mut sinks: Vec<_> =
            (0..count).map(|_| (Box::<Collects>::default() as _, Arc::default())).collect();
        let source = open_source(&mut sinks, true, async |_| panic!("the source was opened"));
        source.await.map(|_| ()).unwrap_err().to_string()
    };
    // One that cannot keep the offsets, and several that would each have their own transaction.
    for count in [1, 2] {
        assert!(error_of(count).await.contains("was asked to keep the offsets"), "{count} sinks");
    }
}

/// Waits for its topic, and says so once more as an error.
struct Missing {
    condition: Condition,
    failed: bool,
}

#[async_trait]
impl Source for Missing {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        if !std::mem::replace(&mut self.failed, true) {
            self.condition.waiting("the topic is not there");
            return Err(Error::transient("the poll failed"));
        }
        tokio::time::sleep(wait).await;
        Ok(Polled::Idle)
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_source_waits_for_stands_until_the_source_takes_it_back() {
    let (status, stopper, condition) = (Arc::new(Status::default()), Stopper::new(), Condition::default());
    let setting = Setting {
        limits: Limits::default(),
        store: None,
        status: Arc::clone(&status),
        stop: stopper.listener(),
    };
    let opened = Ends {
        source: Box::new(Missing { condition: condition.clone(), failed: false }),
        source_condition: condition.clone(),
        chain: Chain::of(vec![]),
        sinks: vec![(Box::new(Collects::default()), Arc::default())],
        sink_condition: Condition::default(),
        policy: Policy::Stop,
    };
    let name = Arc::from("missing");
    let observing = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(status.waiting_for().as_deref(), Some("the topic is not there"), "many polls later");
        condition.clear();
        assert_eq!(status.waiting_for(), None, "the error is over long ago");
        stopper.stop();
    };
    let (ended, ()) = tokio::join!(run_task(&name, 0, opened, None, &setting), observing);
    ended.unwrap();
}
