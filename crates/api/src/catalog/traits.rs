//! What connectors get when they are opened, and what the planner has to know of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::condition::Condition;
use crate::format::Rows;
use crate::incarnation::Incarnations;
use crate::offsets::Offsets;
use crate::unfinished::Unfinished;

/// What a source gets when it is opened.
#[derive(Clone, Debug)]
pub struct SourceContext {
    /// The pipeline's name: consumer groups, slots and client ids default to it.
    pub pipeline: Arc<str>,
    /// Which of the tasks this is, from 0.
    pub task: usize,
    /// How many tasks share this source.
    pub tasks: usize,
    /// An offset store keeps the offsets of this source.
    pub has_store: bool,
    /// The sink commits the offsets of this source together with its data: the source stores none itself.
    pub kept_by_sink: bool,
    /// What the offset store or the sink has; empty for a source that keeps its own.
    pub resume: Offsets,
    /// No batch may have more records than this.
    pub batch_records_max: usize,
    /// No batch may have more bytes than this, unless a single record does.
    pub batch_bytes_max: usize,
    /// How long a revoked partition may be drained before it is given up anyway.
    pub drain_timeout: Duration,
    /// Values are wanted with their structure; only ever asked of a source that has said it can.
    pub typed: bool,
    /// How its values stand in a text file, where the format of the pipeline has more to say than that they are lines.
    pub rows: Option<Rows>,
    /// The sink names what it writes by offsets, so that those of a partition have to grow, and never to repeat.
    pub named_by_offsets: bool,
    /// Where to say that it is waiting: for a broker, a table, a file.
    pub condition: Condition,
    /// Where to say what the positions of a partition belong to, before its first record is given.
    pub incarnations: Incarnations,
    /// Kept by what the source still does after it was dropped.
    pub unfinished: Unfinished,
}

impl SourceContext {
    /// The only task of a pipeline of that name, from the beginning, with bounds of the size that pipelines have.
    pub fn new(pipeline: impl Into<Arc<str>>) -> Self {
        Self {
            pipeline: pipeline.into(),
            task: 0,
            tasks: 1,
            has_store: false,
            kept_by_sink: false,
            resume: Offsets::new(),
            batch_records_max: 2_000,
            batch_bytes_max: 1 << 20,
            drain_timeout: Duration::from_secs(20),
            typed: false,
            rows: None,
            named_by_offsets: false,
            condition: Condition::default(),
            incarnations: Incarnations::default(),
            unfinished: Unfinished::default(),
        }
    }
}

/// What a sink gets when it is opened.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// Which of the tasks this is, from 0.
    pub task: usize,
    /// Which of the lanes of this task, from 0.
    pub lane: usize,
    /// It has to keep the offsets ([`crate::Sink::transactional`]); only asked of one that has said it can.
    pub transactional: bool,
    /// Where to say that it is waiting.
    pub condition: Condition,
    /// To be notified when there is something to report: the sink is asked with its next `tick`, which comes at once then.
    /// The budget of the task may be waiting for it.
    pub wakeup: Arc<Notify>,
    /// What the source vouches for, of the partitions whose records the sink is given.
    pub incarnations: Incarnations,
    /// Bytes that it may hold in what it writes to over many batches, such as open files, with all that belongs to them.
    /// Records in flight are not counted here.
    pub buffer_max_bytes: usize,
    /// Kept by what the sink still does after it was dropped.
    pub unfinished: Unfinished,
}

impl SinkContext {
    /// The only lane of the only task of a pipeline of that name.
    pub fn new(pipeline: impl Into<Arc<str>>) -> Self {
        Self {
            pipeline: pipeline.into(),
            task: 0,
            lane: 0,
            transactional: false,
            condition: Condition::default(),
            wakeup: Arc::default(),
            incarnations: Incarnations::default(),
            buffer_max_bytes: 48 << 20,
            unfinished: Unfinished::default(),
        }
    }
}

/// What a probe gets.
#[derive(Clone, Debug)]
pub struct ProbeContext {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The sink is to keep the offsets.
    pub transactional: bool,
    /// How long a question may go without an answer.
    pub patience: Duration,
}

/// What the planner has to know of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTraits {
    /// Whether it stores released offsets itself.
    pub keeps_offsets: KeepsOffsets,
    /// How many tasks can share it; `None` for any number.
    pub tasks_max: Option<usize>,
    /// It ends by itself.
    pub finite: bool,
    /// It can give its values with their structure instead of as bytes, when [`SourceContext::typed`] asks for it.
    pub typed: bool,
    /// The system that can commit its offsets in one transaction with data that is written there: `kafka at a:9092`; or why
    /// there is none.
    pub transactions: Result<String, &'static str>,
}

/// Who keeps the offsets of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepsOffsets {
    /// The source itself, as a consumer group does: no offset store is used.
    Always,
    /// The source itself, unless the pipeline names an offset store.
    UnlessStored,
    /// An offset store: the source has no place of its own.
    Never,
}

impl KeepsOffsets {
    /// Whether an offset store is used, when the pipeline names one or does not.
    pub fn needs_store(self, named: bool) -> bool {
        match self {
            KeepsOffsets::Always => false,
            KeepsOffsets::UnlessStored => named,
            KeepsOffsets::Never => true,
        }
    }
}

/// What the planner has to know of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTraits {
    /// How many writers one task opens; keys are shared out among them.
    pub lanes: usize,
    /// It takes no larger batches than this.
    pub batch_records_max: Option<usize>,
    /// What a record that is written twice looks like there.
    pub duplicates: Duplicates,
    /// The system in which it can commit data and offsets in one transaction, as a source names it; or why there is none.
    pub transactions: Result<String, &'static str>,
    /// The format in which it takes values that have structure, where the file names none; that of the source, unless
    /// the sink has a preference.
    pub value_format: Option<&'static str>,
}

/// What happens to a record that a sink is given again after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// It stands there twice.
    Visible,
    /// The sink recognises it and keeps one; the text says how, for `aqueduct plan`.
    Absorbed(&'static str),
}
