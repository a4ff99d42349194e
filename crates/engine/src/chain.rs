//! Decode, transform and encode as one function over records: the same for a running pipeline and for the tests that
//! people write beside it.

mod part;

use std::ops::Range;
use std::sync::Arc;

use aqueduct_api::catalog::TopicResolver;
use aqueduct_api::{
    Condition, Error, ErrorKind, Outcome, Part, Payload, Record, Records, Result, Schema, Transform,
};
use aqueduct_spec::{Pipeline, loops};
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
    topic: Option<TopicResolver>,
    /// Where to say that a registry is waited for.
    condition: Condition,
    /// What the batch before was encoded to: the next will be of about that size.
    out_bytes: usize,
    /// Where a pattern may take what the sink writes.
    guard: Option<Guard>,
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
    /// Why the pipeline is to stop in good order before this batch, of which nothing is in the other fields.
    pub stop: Option<Error>,
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

/// Whether records of this topic may not pass, and why.
type Ask = Box<dyn Fn(&str) -> Option<Error> + Send>;

/// Looks out for topics whose records would come back to the source.
struct Guard {
    ask: Ask,
    /// The topic that was asked about last, which is nearly always the next one.
    last: Option<Arc<str>>,
}

impl Guard {
    /// Why these may not pass, if so.
    fn look(&mut self, records: &Records) -> Option<Error> {
        for (topic, _) in records.origins() {
            if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, topic) || last == topic) {
                continue;
            }
            if let Some(error) = (self.ask)(topic) {
                return Some(error);
            }
            self.last = Some(Arc::clone(topic));
        }
        None
    }
}

/// Why a record did not pass.
enum Stays {
    /// It never will.
    Bad(Stage, Error),
    /// This of the chain's parts cannot be read yet.
    Unread(usize),
    /// It cannot be written yet.
    Unwritten(Missing),
}

/// What it takes to write a record.
struct Missing {
    /// Of the chain's parts.
    part: usize,
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
            guard: loops::guard(pipeline).map(|ask| Guard { ask: Box::new(ask), last: None }),
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
    pub async fn apply(&mut self, mut records: Records) -> Result<Passed> {
        if let Some(error) = self.guard.as_mut().and_then(|guard| guard.look(&records)) {
            return Ok(Passed { stop: Some(error), ..Passed::default() });
        }
        let mut refused = records.take_refused().into_iter().peekable();
        let untouched = self.parts.is_empty() && self.headers.is_none() && self.transforms.is_empty();
        if untouched && refused.peek().is_none() {
            return Ok(Passed { kept: records, ..Passed::default() });
        }
        let mut passing = Passing::default();
        passing.kept.reserve(records.len());
        passing.out.reserve(self.out_bytes);
        for (index, mut record) in records.each().enumerate() {
            if let Some((_, error)) = refused.next_if(|(at, _)| *at == index) {
                passing.bad.push(Bad { record, stage: Stage::Read, error });
                continue;
            }
            match self.pass(&mut record, &mut passing) {
                Ok(Outcome::Keep) => passing.kept.push(record),
                Ok(Outcome::Drop) => passing.dropped += 1,
                Err(stays) => self.see_to(stays, record, &records, index, &mut passing).await?,
            }
        }
        self.out_bytes = passing.out.len();
        Ok(passing.finish())
    }

    /// All the way of one record, as long as nothing is waited for.
    fn pass(&mut self, record: &mut Record, passing: &mut Passing) -> Result<Outcome, Box<Stays>> {
        for (index, part) in self.parts.iter_mut().enumerate() {
            if !part.is_ready(record) {
                return Err(Stays::Unread(index).into());
            }
            let name = part.part;
            part.read(record).map_err(|error| Stays::bad(Stage::Decode, error.with("part", name)))?;
        }
        if let Some(headers) = &mut self.headers {
            headers.headers(record).map_err(|error| Stays::bad(Stage::Decode, error))?;
        }
        for transform in &mut self.transforms {
            if transform.apply(record).map_err(|error| Stays::bad(Stage::Transform, error))? == Outcome::Drop
            {
                return Ok(Outcome::Drop);
            }
        }
        self.write(record, passing)
    }

    /// Sets a record aside as the source gave it, or gets what it waits for and lets it pass.
    async fn see_to(
        &mut self,
        mut stays: Box<Stays>,
        mut record: Record,
        records: &Records,
        index: usize,
        passing: &mut Passing,
    ) -> Result<()> {
        loop {
            let again = match *stays {
                Stays::Bad(stage, error) if error.kind() == ErrorKind::BadRecord => {
                    // What was made of it is not it (invariant 1).
                    let Some(record) = records.each().nth(index) else {
                        return Err(Error::bug("a record that is to be set aside is not in its batch"));
                    };
                    passing.bad.push(Bad { record, stage, error });
                    return Ok(());
                }
                Stays::Bad(_, error) => return Err(error),
                Stays::Unread(part) => {
                    let mut left: Vec<Record> = records.each().skip(index).collect();
                    self.prepare_reading(part, &left).await?;
                    record = left.swap_remove(0);
                    self.pass(&mut record, passing)
                }
                Stays::Unwritten(missing) => match self.prepare_writing(&record, &missing).await {
                    Ok(()) => self.write(&mut record, passing),
                    Err(error) => Err(Stays::bad(Stage::Encode, error)),
                },
            };
            match again {
                Ok(Outcome::Keep) => passing.kept.push(record),
                Ok(Outcome::Drop) => passing.dropped += 1,
                Err(still) => {
                    stays = still;
                    continue;
                }
            }
            return Ok(());
        }
    }

    async fn prepare_reading(&mut self, part: usize, records: &[Record]) -> Result<()> {
        let mut wait = Waiting::new(&self.condition);
        while let Err(error) = self.parts[part].prepare_reading(records).await {
            wait.out(error).await?;
        }
        wait.over();
        Ok(())
    }

    /// An error of kind `BadRecord` is the record's.
    async fn prepare_writing(&mut self, record: &Record, missing: &Missing) -> Result<()> {
        let Missing { part, topic, schema } = missing;
        let mut wait = Waiting::new(&self.condition);
        while let Err(error) = self.parts[*part].prepare_writing(topic, record, schema.as_ref()).await {
            wait.out(error).await?;
        }
        wait.over();
        Ok(())
    }

    /// Appends the parts of the record that is kept next to the buffer, all of them or none.
    fn write(&mut self, record: &mut Record, passing: &mut Passing) -> Result<Outcome, Box<Stays>> {
        let (index, start, before) = (passing.kept.len(), passing.out.len(), passing.written.len());
        let mut named = None;
        for (at, part) in self.parts.iter_mut().enumerate() {
            let topic = match (&named, &self.topic) {
                (Some(topic), _) => topic,
                (None, Some(topic)) if !matches!(part.write, part::Writing::Pass) => {
                    named.insert(topic(record).map_err(|error| Stays::bad(Stage::Encode, error))?)
                }
                (None, _) => &record.topic,
            };
            let name = part.part;
            let stays = match part.write(topic, record, &mut passing.out) {
                Ok(Left::Untouched) => continue,
                Ok(Left::At(range)) => {
                    passing.written.push((index, name, range));
                    continue;
                }
                Ok(Left::Unprepared(schema)) => {
                    let missing = Missing { part: at, topic: Arc::clone(topic), schema };
                    Stays::Unwritten(missing).into()
                }
                Err(error) => Stays::bad(Stage::Encode, error.with("part", name)),
            };
            passing.out.truncate(start);
            passing.written.truncate(before);
            return Err(stays);
        }
        // What was written is done with, so that the next record is read into the same memory, which is in the cache.
        for (_, written, _) in &passing.written[before..] {
            let payload = std::mem::replace(slot(record, *written), Payload::Absent);
            if let Some(part) = self.parts.iter_mut().find(|part| part.part == *written) {
                part.take_back(payload);
            }
        }
        // A sink would take it for a tombstone, and the value would be lost without a word (invariant 1).
        if record.key.typed().or(record.value.typed()).is_some() {
            let error = Error::config("a key or a value has structure, and nothing says how it is written");
            return Err(Stays::bad(Stage::Encode, error.remedy("name its format at the sink")));
        }
        if !record.headers.is_empty() {
            let names: Vec<&str> = self.parts.iter().filter_map(PartFormats::frame_header).collect();
            record.headers.retain(|header| !names.contains(&&*header.name));
        }
        Ok(Outcome::Keep)
    }
}

impl Passing {
    fn finish(mut self) -> Passed {
        let out = Bytes::from(self.out);
        for (index, part, range) in self.written {
            if let Some(record) = self.kept.get_mut(index) {
                *slot(record, part) = Payload::Raw(out.slice(range));
            }
        }
        Passed { kept: self.kept.into(), dropped: self.dropped, bad: self.bad, stop: None }
    }
}

impl Stays {
    #[cold]
    fn bad(stage: Stage, error: Error) -> Box<Self> {
        Box::new(Stays::Bad(stage, error))
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
