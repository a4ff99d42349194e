//! The sink of files, whatever the store: batches in, objects out, and which batches are durable.

use std::ops::Range;
use std::sync::Arc;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::config::Template;
use aqueduct_api::{Batch, Durable, Error, ErrorKind, Incarnations, Record, Rejected, Result, Sink, Written};
use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::adopted::Adopted;
use crate::checkpoint::{Checkpoint, ObjectId};
use crate::config::{Compression, Format, Lines, OnNullValue, Rotate};
use crate::footer::{self, Footprint};
use crate::format::LineWriter;
use crate::group::{Group, State};
use crate::layout::Layout;
use crate::object::Object;
use crate::store::{Leftovers, Store};

/// Objects open at a time at most (invariant 8): when another is needed, all are finished first.
const OBJECTS_OPEN_MAX: usize = 512;
/// Groups remembered at most, besides those that have an open object.
const GROUPS_IDLE_MAX: usize = 2048;

/// The settings of a sink of files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The names of objects, checked by [`crate::config::check`].
    pub path: Template,
    /// How records are written.
    pub format: Format,
    /// When objects are finished.
    pub rotate: Rotate,
    /// What to do with tombstones.
    pub on_null_value: OnNullValue,
    /// Bytes that all open objects together may hold in memory, with their compressors; beyond it the fullest one is
    /// finished early.
    pub buffer_max_bytes: usize,
}

/// Writes batches into objects of a store.
pub struct ObjectsSink {
    store: Arc<dyn Store>,
    settings: Settings,
    pipeline: Arc<str>,
    incarnations: Incarnations,
    writer: LineWriter,
    layout: Layout,
    checkpoint: Checkpoint,
    finishing: JoinSet<Result<Option<ObjectId>>>,
    slots: Arc<Semaphore>,
    objects: ObjectId,
    open: usize,
    broken: bool,
}

impl ObjectsSink {
    /// A sink on a store. `slots` bounds how many objects are being finished at a time; a store that uploads
    /// parts takes a slot for each as well, so that it bounds the memory of both.
    pub fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        slots: Arc<Semaphore>,
        context: &SinkContext,
    ) -> Result<Self> {
        context.condition.clear();
        Ok(Self {
            store,
            pipeline: Arc::clone(&context.pipeline),
            incarnations: context.incarnations.clone(),
            writer: LineWriter::new(&settings.format, settings.on_null_value),
            layout: Layout::new(&settings.path, settings.format.suffix())?,
            checkpoint: Checkpoint::default(),
            finishing: JoinSet::new(),
            slots,
            objects: 0,
            open: 0,
            broken: false,
            settings,
        })
    }

    async fn take(&mut self, batch: &Batch) -> Result<Written> {
        self.collect()?;
        let mut rejected = Vec::new();
        let route = self.route(&batch.records, &mut rejected)?;
        self.part_incarnations(&route).await?;
        self.make_room(&route).await?;
        self.checkpoint.take(batch.id, &route.streams, Instant::now());
        for run in &route.runs {
            self.append(run.group, &batch.records[run.records.clone()], &mut rejected).await?;
        }
        self.seal_full(&route).await?;
        self.forget_idle();
        Ok(self.report(rejected))
    }

    /// Sorts a batch into runs of records of the same group. What has no group is rejected.
    fn route(&mut self, records: &[Record], rejected: &mut Vec<Rejected>) -> Result<Route> {
        let mut route = Route::default();
        for (index, record) in records.iter().enumerate() {
            let stream = self.layout.stream(record)?;
            if route.streams.last() != Some(&stream) && !route.streams.contains(&stream) {
                route.streams.push(stream);
            }
            let group = match self.layout.group(stream, record) {
                Ok(group) => group,
                Err(error) => {
                    reject(record, error, rejected)?;
                    continue;
                }
            };
            match route.runs.last_mut() {
                Some(run) if run.group == group && run.records.end == index => run.records.end += 1,
                _ => route.runs.push(Run { group, records: index..index + 1 }),
            }
        }
        for run in &route.runs {
            let group = &mut self.layout.groups[run.group];
            group.incoming_records += run.records.len() as u64;
            let bytes: usize = records[run.records.clone()].iter().map(|record| record.value.len() + 1).sum();
            group.incoming_bytes += bytes as u64;
        }
        Ok(route)
    }

    /// An object holds records of one incarnation of its partition: a new one begins with this batch.
    async fn part_incarnations(&mut self, route: &Route) -> Result<()> {
        for stream in &route.streams {
            let known = &mut self.layout.streams_mut()[*stream];
            let Some(now) = self.incarnations.of(&known.topic, known.partition) else { continue };
            let before = known.incarnation.replace(Arc::clone(&now));
            if before.is_none_or(|before| before == now) {
                continue;
            }
            for group in 0..self.layout.groups.len() {
                if self.layout.groups[group].stream == *stream {
                    self.seal(group).await?;
                }
            }
        }
        Ok(())
    }

    /// Seals what this batch would fill beyond its bounds. Only here, between batches, is an object ever
    /// sealed by its size: so that its end is a cut.
    async fn make_room(&mut self, route: &Route) -> Result<()> {
        let records_max = self.settings.rotate.records_max.unwrap_or(u64::MAX);
        let bytes_max = self.settings.rotate.bytes_max.0;
        for Run { group: index, .. } in &route.runs {
            let group = &mut self.layout.groups[*index];
            let (records, bytes) = (group.incoming_records, group.incoming_bytes);
            (group.incoming_records, group.incoming_bytes) = (0, 0);
            if let State::Open(object) = &mut group.state
                && (object.footprint.records + records > records_max
                    || object.bytes_max() + bytes > bytes_max)
            {
                self.seal(*index).await?;
            }
        }
        Ok(())
    }

    /// Adds records of one group, opening, adopting and leaving objects as it goes.
    async fn append(&mut self, group: usize, records: &[Record], rejected: &mut Vec<Rejected>) -> Result<()> {
        let mut next = 0;
        while let Some((pause, consumed)) = self.fill(group, &records[next..], rejected)? {
            next += consumed;
            match pause {
                Pause::Open => self.open(group, &records[next]).await?,
                Pause::Drain => {
                    let compressor_bytes_max = self.compressor_bytes_max();
                    if let State::Open(object) = &mut self.layout.groups[group].state {
                        object.drain(compressor_bytes_max).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds records until something has to be waited for; says what, and how many it consumed.
    fn fill(
        &mut self,
        group: usize,
        records: &[Record],
        rejected: &mut Vec<Rejected>,
    ) -> Result<Option<(Pause, usize)>> {
        let state = &mut self.layout.groups[group].state;
        let mut probe = Vec::new();
        for (index, record) in records.iter().enumerate() {
            if let State::Open(object) = state {
                match self.writer.append(record, &mut object.lines) {
                    Ok(false) => {}
                    Ok(true) => {
                        object.footprint.last_offset = record.origin.offset;
                        object.footprint.records += 1;
                        if object.is_chunk() {
                            return Ok(Some((Pause::Drain, index + 1)));
                        }
                    }
                    Err(error) => reject(record, error, rejected)?,
                }
                continue;
            }
            // Refused here and not only where it is written: a dead letter may have been lost in the crash.
            match self.writer.append(record, &mut probe) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    reject(record, error, rejected)?;
                    continue;
                }
            }
            if let State::Adopted(adopted) = state {
                adopted.meet(record.origin.offset, &probe)?;
                probe.clear();
                if adopted.is_over() {
                    self.checkpoint.seal(adopted.id);
                    self.checkpoint.finish(adopted.id);
                    *state = State::Closed;
                }
                continue;
            }
            return Ok(Some((Pause::Open, index)));
        }
        Ok(None)
    }

    /// Begins the object that starts with this record, or adopts it if it stands there.
    async fn open(&mut self, index: usize, first: &Record) -> Result<()> {
        if self.open >= OBJECTS_OPEN_MAX {
            self.seal_all().await?;
        }
        let group = &self.layout.groups[index];
        let name = group.name(first.origin.offset);
        let stream = &self.layout.streams()[group.stream];
        let footprint = Footprint {
            pipeline: self.pipeline.to_string(),
            topic: stream.topic.to_string(),
            partition: stream.partition,
            start_offset: first.origin.offset,
            last_offset: first.origin.offset,
            records: 0,
            digest: String::new(),
            incarnation: stream.incarnation.as_deref().map(footer::incarnation),
        };
        let group = &mut self.layout.groups[index];
        if !std::mem::replace(&mut group.swept, true) {
            let (head, tail) = (&*group.head, &*group.tail);
            let (pipeline, from) = (&*self.pipeline, first.origin.offset);
            self.store.sweep(&Leftovers { pipeline, head, tail, from }).await?;
        }
        self.objects += 1;
        let id = self.objects;
        let state = match self.store.find(&name).await? {
            Some(found) => {
                let compression = self.compression();
                let adopted = Adopted::adopt(&*self.store, compression, id, name, &found, &footprint).await?;
                State::Adopted(Box::new(adopted))
            }
            None => {
                let upload = self.store.begin(&name, &footprint).await?;
                self.open += 1;
                State::Open(Box::new(Object::new(id, name, footprint, upload, self.lines().clone())))
            }
        };
        self.layout.groups[index].state = state;
        self.checkpoint.open(id);
        Ok(())
    }

    /// Seals what has reached its bounds, and the fullest objects while all together hold too much memory.
    async fn seal_full(&mut self, route: &Route) -> Result<()> {
        let rotate = self.settings.rotate.clone();
        for Run { group: index, .. } in &route.runs {
            if let State::Open(object) = &mut self.layout.groups[*index].state
                && (rotate.records_max.is_some_and(|max| object.footprint.records >= max)
                    || object.bytes() >= rotate.bytes_max.0)
            {
                self.seal(*index).await?;
            }
        }
        loop {
            let groups = self.layout.groups.iter_mut().enumerate();
            let held = groups.filter_map(|(index, group)| match &mut group.state {
                State::Open(object) => Some((object.memory_bytes(), index)),
                _ => None,
            });
            let (total, fullest) =
                held.fold((0, (0, 0)), |(total, fullest), one| (total + one.0, fullest.max(one)));
            if total <= self.settings.buffer_max_bytes {
                return Ok(());
            }
            self.seal(fullest.1).await?;
        }
    }

    async fn seal_all(&mut self) -> Result<()> {
        for index in 0..self.layout.groups.len() {
            self.seal(index).await?;
        }
        Ok(())
    }

    /// Closes the open object of a group, if there is one; finishing it goes on beside.
    async fn seal(&mut self, index: usize) -> Result<()> {
        let compressor_bytes_max = self.compressor_bytes_max();
        let group = &mut self.layout.groups[index];
        let Some(object) = group.state.take_open() else {
            return Ok(());
        };
        self.open -= 1;
        let sealed = object.seal(compressor_bytes_max).await?;
        self.checkpoint.seal(sealed.id);
        let (done, after) = oneshot::channel();
        let before = group.before.replace(after);
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| Error::fatal("the sink is closed"))?;
        let store = Arc::clone(&self.store);
        let compression = self.compression();
        self.finishing.spawn(async move {
            // The one before failed, and says so itself.
            if let Some(before) = before
                && before.await.is_err()
            {
                return Ok(None);
            }
            let id = sealed.finish(&*store, compression).await?;
            drop(slot);
            // Nobody waits for it if the group opened nothing since.
            let _ = done.send(());
            Ok(Some(id))
        });
        Ok(())
    }

    /// What is left for the compressor of each open object, beside its lines.
    fn compressor_bytes_max(&self) -> usize {
        self.settings.buffer_max_bytes / self.open.max(1) / 5 * 4
    }

    fn compression(&self) -> Compression {
        self.lines().compression
    }

    fn lines(&self) -> &Lines {
        self.settings.format.lines()
    }

    /// Takes note of what was finished meanwhile.
    fn collect(&mut self) -> Result<()> {
        while let Some(outcome) = self.finishing.try_join_next() {
            self.note(outcome)?;
        }
        Ok(())
    }

    fn note(&mut self, outcome: Result<Result<Option<ObjectId>>, tokio::task::JoinError>) -> Result<()> {
        let outcome = outcome.map_err(|error| Error::fatal("finishing an object failed").caused_by(error))?;
        if let Some(object) = outcome? {
            self.checkpoint.finish(object);
        }
        Ok(())
    }

    fn report(&mut self, rejected: Vec<Rejected>) -> Written {
        Written { durable: Durable::Batches(self.checkpoint.durable()), rejected }
    }

    /// Paths with a date or a key in them make ever new groups.
    fn forget_idle(&mut self) {
        if self.layout.groups.len() > GROUPS_IDLE_MAX + self.open {
            self.layout.retain(|group| !group.is_idle());
        }
    }

    /// A call that was abandoned half-way, or failed, leaves records in doubt: nothing is reported after it.
    fn begin_call(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(
                Error::fatal("this sink failed before").remedy("starting again from the stored offsets")
            );
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for ObjectsSink {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        self.begin_call()?;
        let written = self.take(batch).await?;
        self.broken = false;
        Ok(written)
    }

    async fn tick(&mut self) -> Result<Written> {
        self.begin_call()?;
        self.collect()?;
        for object in self.checkpoint.overdue(Instant::now(), self.settings.rotate.age_max.0) {
            let is = |group: &Group| matches!(&group.state, State::Open(open) if open.id == object);
            if let Some(index) = self.layout.groups.iter().position(is) {
                self.seal(index).await?;
            }
        }
        self.broken = false;
        Ok(self.report(Vec::new()))
    }

    /// Batches within an object of an earlier run stay unreported: an offset stored there would not be a cut.
    /// They are read again, by whoever comes next, until the end of that object is passed. It may be that nothing more
    /// comes, so what came is compared with what stands there: a source that ended early has other records now.
    async fn flush(&mut self) -> Result<Written> {
        self.begin_call()?;
        self.seal_all().await?;
        while let Some(outcome) = self.finishing.join_next().await {
            self.note(outcome)?;
        }
        let compression = self.compression();
        for group in &mut self.layout.groups {
            if let State::Adopted(adopted) = &mut group.state {
                adopted.compare(&*self.store, compression).await?;
            }
        }
        self.broken = false;
        Ok(self.report(Vec::new()))
    }
}

/// Where the records of a batch go.
#[derive(Default)]
struct Route {
    /// The partitions that have records in it.
    streams: Vec<usize>,
    /// All records that have a group, in order.
    runs: Vec<Run>,
}

/// Records of a batch that follow each other into the same group.
struct Run {
    group: usize,
    records: Range<usize>,
}

/// Why [`ObjectsSink::fill`] stopped.
enum Pause {
    /// The next record needs an object.
    Open,
    /// The lines are enough to be compressed.
    Drain,
}

fn reject(record: &Record, error: Error, rejected: &mut Vec<Rejected>) -> Result<()> {
    if error.kind() != ErrorKind::BadRecord {
        return Err(error);
    }
    rejected.push(Rejected { record: record.clone(), error });
    Ok(())
}
