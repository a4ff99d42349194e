//! Sends the records of one case through the real stations: a source and a sink in memory, and the pipeline's own
//! formats and transforms between them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqueduct_api::{Batch, Catalog, Condition, Error, Polled, Record, Result, Sink, Source, Written};
use aqueduct_engine::chain::Chain;
use aqueduct_engine::{Ends, Limits, Policy, Setting, Status, Stopper};
use aqueduct_formats::record_line::{self, Defaults};
use aqueduct_spec::Pipeline;
use async_trait::async_trait;

use super::file::Case;
use super::typed::Translated;

/// What came out.
pub(super) struct Outcome {
    /// Given to the sink, in order.
    pub(super) passed: Vec<Record>,
    /// Set aside, with the headers of a dead letter.
    pub(super) rejected: Vec<Record>,
}

/// Runs the case. An error is about the case itself, or ended the pipeline.
pub(super) async fn pass(case: &Case, pipeline: &Pipeline, catalog: &Catalog) -> Result<Outcome> {
    let topic: Arc<str> = pipeline.source_raw["topics"][0].as_str().unwrap_or("test").into();
    let mut records = Vec::new();
    for (index, line) in case.records.iter().enumerate() {
        let defaults = Defaults { topic: Arc::clone(&topic), partition: 0, offset: index as i64 };
        records.push(
            record_line::from_json(line, defaults)
                .map_err(|error| Error::bad_record(format!("record {}: {error}", index + 1)))?,
        );
    }
    let mut typed = Translated::of(pipeline, catalog)?;
    let (records, unwritable) = typed.as_the_source_has_it(records).await?;
    let (passed, rejected) = (Recorder::default(), Recorder::default());
    let ends = Ends {
        source: Box::new(Given(Some(records))),
        source_condition: Condition::default(),
        chain: Chain::build(pipeline)?,
        sinks: vec![(Box::new(passed.clone()), Arc::default())],
        sink_condition: Condition::default(),
        // Whatever the pipeline does about a bad record, the test looks at it.
        policy: Policy::DeadLetter(Box::new(rejected.clone())),
    };
    let stopper = Stopper::new();
    let setting = Setting {
        limits: Limits::default(),
        store: None,
        status: Arc::new(Status::default()),
        stop: stopper.listener(),
    };
    aqueduct_engine::run_task(&pipeline.name, 0, ends, None, &setting).await?;
    let mut rejected = rejected.take();
    rejected.extend(unwritable);
    rejected.sort_by_key(|record| record.origin.offset);
    Ok(Outcome { passed: typed.as_json(passed.take()).await?, rejected })
}

/// Gives everything in one batch, then ends.
struct Given(Option<Vec<Record>>);

#[async_trait]
impl Source for Given {
    async fn poll(&mut self, _: Duration) -> Result<Polled> {
        let Some(records) = self.0.take() else { return Ok(Polled::End) };
        let resume_at = records
            .iter()
            .map(|record| {
                let partition = format!("{}/{}", record.topic, record.origin.partition);
                (partition.into(), (record.origin.offset + 1).to_string().into())
            })
            .collect();
        Ok(Polled::Batch { records: records.into(), resume_at })
    }
}

/// Keeps what it is given.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Record>>>);

impl Recorder {
    fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Sink for Recorder {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&batch.records);
        Ok(Written::all())
    }

    async fn flush(&mut self) -> Result<Written> {
        Ok(Written::all())
    }
}
