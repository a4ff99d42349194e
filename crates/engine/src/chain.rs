//! Decode, transform and encode as one function over records: the same for a running pipeline and for the tests that
//! people write beside it.

mod part;

use std::ops::Range;
use std::sync::Arc;

use aqueduct_api::catalog::Topic;
use aqueduct_api::{Condition, Error, ErrorKind, Part, Payload, Record, Records, Result, Schema, Transform};
use aqueduct_spec::Pipeline;
use bytes::Bytes;
use tracing::{info, warn};

use self::part::{Left, PartFormats, slot};
use crate::retry::Backoff;
use crate::route::{Route, routes};
use crate::set_aside::{Bad, Stage};

/// The stations between the source and the lanes.
#[derive(Default)]
pub struct Chain {
    /// Key and value, in this order; those of them that do not simply pass.
    parts: Vec<PartFormats>,
    headers: Option<PartFormats>,
    transforms: Vec<Box<dyn Transform>>,
    /// Where the sink will write a record, if that is not its own topic.
    topic: Option<Topic>,
    /// Where to say that a registry is waited for.
    condition: Condition,
    /// What the batch before was encoded to: the next will be of about that size.
    out_bytes: usize,
}

/// What became of a batch.
#[derive(Default)]
pub struct Passed {
    /// What goes on, in order.
    pub kept: Records,
    /// How many records a transform dropped; they count as delivered.
    pub dropped: usize,
    /// What will never pass.
    pub bad: Vec<Bad>,
}

/// A batch on its way.
#[derive(Default)]
struct Passing {
    kept: Vec<Record>,
    dropped: usize,
    bad: Vec<Bad>,
    /// What was encoded, one record behind the other: they share one piece of memory.
    out: Vec<u8>,
    /// Which parts of which kept records stand where in it.
    written: Vec<(usize, Part, Range<usize>)>,
}

/// Why a record could not be written yet.
struct Missing {
    part: Part,
    topic: Arc<str>,
    schema: Option<Arc<Schema>>,
}

impl Chain {
    /// What the pipeline names, built once for each task.
    pub fn build(pipeline: &Pipeline) -> Result<Self> {
        let [key, value, headers] = routes(pipeline)?;
        let open = |route: &Route| PartFormats::open(pipeline, route);
        let parts = [open(&key)?, open(&value)?].into_iter().filter(|part| !part.passes()).collect();
        Ok(Self {
            parts,
            headers: Some(open(&headers)?).filter(|part| !part.passes()),
            transforms: pipeline.transforms.iter().map(|t| t.configured.build()).collect::<Result<_>>()?,
            topic: pipeline.sink.connector.configured.topic(),
            condition: Condition::default(),
            out_bytes: 0,
        })
    }

    /// A chain of just these transforms.
    pub fn of(transforms: Vec<Box<dyn Transform>>) -> Self {
        Self { transforms, ..Self::default() }
    }

    /// What its formats wait for.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Sends records through, in order. Waits while a registry does not answer; an error is one that the pipeline ends
    /// with.
    pub async fn apply(&mut self, records: Records) -> Result<Passed> {
        if self.parts.is_empty() && self.headers.is_none() && self.transforms.is_empty() {
            return Ok(Passed { kept: records, ..Passed::default() });
        }
        for part in self.parts.iter_mut().filter(|part| part.prepares()) {
            let mut wait = Waiting::new(&self.condition);
            while let Err(error) = part.prepare_batch(&records).await {
                wait.out(error).await?;
            }
            wait.over();
        }
        let mut passing = Passing::default();
        passing.kept.reserve(records.len());
        passing.out.reserve(self.out_bytes);
        for record in records {
            self.one(record, &mut passing).await?;
        }
        self.out_bytes = passing.out.len();
        let passed = passing.finish();
        // A sink would take it for a tombstone, and the value would be lost without a word (invariant 1).
        if passed.kept.iter().any(|record| record.key.typed().or(record.value.typed()).is_some()) {
            return Err(Error::fatal("a key or a value has structure, and nothing says how it is written")
                .remedy("name its format at the sink"));
        }
        Ok(passed)
    }

    async fn one(&mut self, record: Record, passing: &mut Passing) -> Result<()> {
        // What is set aside is the record as the source gave it: a few reference counts, never a re-encoding.
        let original = record.clone();
        let bad = match self.transformed(record) {
            Ok(Some(record)) => match self.written(record, passing).await? {
                None => return Ok(()),
                Some(error) => Bad { record: original, stage: Stage::Encode, error },
            },
            Ok(None) => {
                passing.dropped += 1;
                return Ok(());
            }
            Err((stage, error)) => Bad { record: original, stage, error },
        };
        if bad.error.kind() != ErrorKind::BadRecord {
            return Err(bad.error);
        }
        passing.bad.push(bad);
        Ok(())
    }

    fn transformed(&mut self, mut record: Record) -> Result<Option<Record>, (Stage, Error)> {
        for part in &mut self.parts {
            let name = part.part;
            part.read(&mut record).map_err(|error| (Stage::Decode, error.with("part", name)))?;
        }
        if let Some(headers) = &mut self.headers {
            headers.headers(&mut record).map_err(|error| (Stage::Decode, error))?;
        }
        for transform in &mut self.transforms {
            match transform.apply(record) {
                Ok(Some(next)) => record = next,
                Ok(None) => return Ok(None),
                Err(error) => return Err((Stage::Transform, error)),
            }
        }
        Ok(Some(record))
    }

    /// Encodes what is to be encoded and keeps the record; the error of one that cannot be written.
    async fn written(&mut self, record: Record, passing: &mut Passing) -> Result<Option<Error>> {
        loop {
            let missing = match self.write(&record, passing) {
                Ok(None) => break,
                Ok(Some(missing)) => missing,
                Err(error) => return Ok(Some(error)),
            };
            let Some(part) = self.parts.iter_mut().find(|part| part.part == missing.part) else {
                return Ok(Some(Error::fatal(
                    "a part of the record wants to be prepared, and has no format",
                )));
            };
            let mut wait = Waiting::new(&self.condition);
            loop {
                match part.prepare(&missing.topic, &record, missing.schema.as_ref()).await {
                    Ok(()) => break,
                    Err(error) if error.kind() == ErrorKind::BadRecord => return Ok(Some(error)),
                    Err(error) => wait.out(error).await?,
                }
            }
            wait.over();
        }
        passing.keep(record, &self.parts);
        Ok(None)
    }

    /// Appends the parts of a record to the buffer: all of them, or none.
    fn write(&mut self, record: &Record, passing: &mut Passing) -> Result<Option<Missing>> {
        let (index, start, before) = (passing.kept.len(), passing.out.len(), passing.written.len());
        let mut named = None;
        for part in &mut self.parts {
            let topic = match (&named, &self.topic) {
                (Some(topic), _) => topic,
                (None, Some(topic)) if !matches!(part.write, part::Writing::Pass) => {
                    named.insert(topic(record)?)
                }
                (None, _) => &record.topic,
            };
            let name = part.part;
            let left = part.write(topic, record, &mut passing.out);
            let missing = match left {
                Ok(Left::Untouched) => continue,
                Ok(Left::At(range)) => {
                    passing.written.push((index, name, range));
                    continue;
                }
                Ok(Left::Unprepared(schema)) => {
                    Ok(Some(Missing { part: name, topic: Arc::clone(topic), schema }))
                }
                Err(error) => Err(error.with("part", name)),
            };
            passing.out.truncate(start);
            passing.written.truncate(before);
            return missing;
        }
        Ok(None)
    }
}

impl Passing {
    fn keep(&mut self, mut record: Record, parts: &[PartFormats]) {
        if !record.headers.is_empty() {
            let names: Vec<&str> = parts.iter().filter_map(PartFormats::frame_header).collect();
            record.headers.retain(|header| !names.contains(&&*header.name));
        }
        self.kept.push(record);
    }

    fn finish(mut self) -> Passed {
        let out = Bytes::from(self.out);
        for (index, part, range) in self.written {
            if let Some(record) = self.kept.get_mut(index) {
                *slot(record, part) = Payload::Raw(out.slice(range));
            }
        }
        Passed { kept: self.kept.into(), dropped: self.dropped, bad: self.bad }
    }
}

/// A wait for a registry, with pauses that grow.
struct Waiting<'a> {
    condition: &'a Condition,
    backoff: Backoff,
}

impl<'a> Waiting<'a> {
    fn new(condition: &'a Condition) -> Self {
        Self { condition, backoff: Backoff::of_write(1) }
    }

    /// Waits before the same call again, or gives the error back where that would not help.
    async fn out(&mut self, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Transient {
            return Err(error);
        }
        if self.condition.waiting(error.to_string()) {
            warn!(%error, "a format is waiting");
        }
        tokio::time::sleep(self.backoff.pause()).await;
        Ok(())
    }

    fn over(self) {
        if self.condition.clear() {
            info!("the format goes on");
        }
    }
}
