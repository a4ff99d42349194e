//! The source `file`: cuts a file into records, in batches, and resumes at the byte where it stopped.

mod begin;

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{Block, KeepsOffsets, SourceConnector, SourceContext, SourceTraits};
use aqueduct_api::{
    Condition, Error, ErrorKind, Offsets, Partition, Polled, Position, Problem, Reads, Records, Result, Rows,
    Source,
};
use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::config::{FileFormat, OffsetsOf, SourceConfig, one_name, system};
use crate::cut::{Cut, Cutter};
use crate::gathered::Gathered;
use crate::input::{FOLLOW_EVERY, Input};
use crate::place::{Place, Trail};
use crate::{STANDARD, blocking};
use begin::one_cell;

/// So long a row may end in an open quote at the end of what there is before that is told.
const OPEN_FOR: Duration = Duration::from_secs(5);

impl Block for SourceConfig {
    const NAME: &'static str = "file";
    const ABOUT: &'static str =
        "Reads lines, JSON lines, CSV or whole records from a file or standard input.";
}

#[async_trait]
impl SourceConnector for SourceConfig {
    fn check(&self) -> Vec<Problem> {
        self.problems()
    }

    fn check_rows(&self, _: &str, rows: Option<&Rows>) -> Vec<Problem> {
        self.problems_of_rows(rows)
    }

    fn check_offsets(&self, rows: Option<&Rows>) -> Vec<Problem> {
        self.problems_of_offsets(rows)
    }

    fn traits(&self) -> SourceTraits {
        SourceTraits {
            keeps_offsets: KeepsOffsets::Never,
            tasks_max: Some(1),
            finite: !self.follow,
            typed: false,
            transactions: Err("no sink keeps the offsets of a file yet"),
        }
    }

    fn describe(&self, _: &str) -> String {
        match &*self.path {
            STANDARD => "standard input".to_owned(),
            path if self.follow => format!("file {path}, followed"),
            path => format!("file {path}"),
        }
    }

    fn reads(&self, _: &str) -> Option<Reads> {
        let (named, partitions) = (vec![one_name(&self.path)?], BTreeSet::new());
        Some(Reads { system: system(), named, pattern: None, group: None, partitions })
    }

    async fn open(&self, context: SourceContext) -> Result<Box<dyn Source>> {
        let place = match context.resume.get(&*self.path).filter(|_| self.path != STANDARD) {
            Some(at) => Place::read(at).ok_or_else(|| {
                Error::config(format!("`{at}` is no place in a file"))
                    .with("path", &self.path)
                    .remedy("delete the stored offsets of this pipeline to read the file from its beginning")
            })?,
            None => Place::default(),
        };
        let config = Arc::new(self.clone());
        let input = Input::open(&config).await?;
        let mut source = FileSource::new(config, context, input);
        source.resume(place).await?;
        Ok(Box::new(source))
    }
}

/// A file on its way through the pipeline.
struct FileSource {
    config: Arc<SourceConfig>,
    format: FileFormat,
    offsets: OffsetsOf,
    rows: Option<Rows>,
    input: Input,
    partition: Partition,
    topic: Arc<str>,
    cutter: Cutter,
    /// Where the first byte of `buffer` is, and what leads there.
    place: Place,
    passed: Trail,
    /// What leads to the place behind all that was read.
    seen: Trail,
    /// Read, and not given out yet.
    buffer: BytesMut,
    /// What may stand at the beginning of a file in front of its records was passed.
    begun: bool,
    /// What was given last had no line end: it may come yet.
    open_line: bool,
    /// A line that is longer than it may be, as far as it was read.
    long: Option<Long>,
    /// The input has no more. Where it is followed, because another file has its name.
    ended: bool,
    /// The first row of a file that has begun, until it may be taken.
    names: Option<Bytes>,
    /// Where to resume behind all that was given, until that is released.
    given: Option<Position>,
    /// Since when the row that begins at this line ends in an open quote.
    open_row: Option<(u64, Instant)>,
    condition: Condition,
    batch_records_max: usize,
    batch_bytes_max: usize,
}

struct Long {
    /// Its beginning.
    kept: Bytes,
    bytes: u64,
}

#[async_trait]
impl Source for FileSource {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        match self.next(wait).await {
            // To fail now would drop what was given and is not delivered yet, and the file that it stood in may be gone at the
            // next start. Nothing else comes meanwhile, so all of it is delivered and released, or the pipeline has failed.
            Err(error) if error.kind() == ErrorKind::Config && self.given.is_some() => {
                self.waits(&format!("what was read before is delivered first: {error}"));
                sleep(wait.min(FOLLOW_EVERY)).await;
                Ok(Polled::Idle)
            }
            polled => {
                match self.open_row(&polled) {
                    Some(says) => self.waits(&says),
                    None => drop(self.condition.clear()),
                }
                polled
            }
        }
    }

    async fn release(&mut self, offsets: &Offsets) -> Result<()> {
        self.given.take_if(|given| offsets.get(&self.partition) == Some(given));
        Ok(())
    }
}

impl FileSource {
    async fn next(&mut self, wait: Duration) -> Result<Polled> {
        self.input.look_back().map_err(|error| error.with("path", &self.config.path))?;
        loop {
            if let Some(records) = self.take()? {
                return Ok(self.batch(records));
            }
            if self.ended && !self.config.follow {
                return Ok(Polled::End);
            }
            if self.ended {
                self.turn();
            }
            match self.read(wait).await? {
                None => return Ok(Polled::Idle),
                Some(0) if self.is_replaced()? => self.ended = true,
                Some(0) if self.config.follow => {
                    sleep(wait.min(FOLLOW_EVERY)).await;
                    return Ok(Polled::Idle);
                }
                Some(0) => self.ended = true,
                Some(_) => self.input.stirred(),
            }
        }
    }

    fn is_replaced(&mut self) -> Result<bool> {
        self.input.is_replaced().map_err(|error| error.with("path", &self.config.path))
    }

    fn waits(&self, says: &str) {
        if self.condition.waiting(says) {
            warn!(path = %self.config.path, "{says}");
        }
    }

    /// A row that goes on and on, at the end of what there is: the rows behind a forgotten quote would wait unseen until
    /// `line_max` is reached.
    fn open_row(&mut self, polled: &Result<Polled>) -> Option<String> {
        let idle = matches!(polled, Ok(Polled::Idle));
        if !(idle && self.cutter.in_quotes() && self.buffer.contains(&b'\n')) {
            self.open_row = None;
            return None;
        }
        let line = self.place.line + 1;
        self.open_row.take_if(|(of, _)| *of != line);
        let (_, since) = self.open_row.get_or_insert_with(|| (line, Instant::now()));
        (since.elapsed() >= OPEN_FOR).then(|| {
            format!(
                "a quote that is opened in the row of line {line} is not closed, so the {} bytes from there on wait: up to \
                 `line_max`, then that line alone is a bad record",
                self.buffer.len()
            )
        })
    }

    fn new(config: Arc<SourceConfig>, context: SourceContext, input: Input) -> Self {
        let format = config.format(context.rows.as_ref());
        let offsets = config.offsets.unwrap_or(if context.named_by_offsets {
            OffsetsOf::Lines
        } else {
            OffsetsOf::Carried
        });
        let rows = context.rows.filter(|_| format == FileFormat::Csv);
        let line_max = usize::try_from(config.line_max.0).unwrap_or(usize::MAX);
        Self {
            input,
            format,
            offsets,
            partition: config.path.as_str().into(),
            topic: config.topic().into(),
            cutter: Cutter::new(rows.as_ref().map(|rows| rows.separator), line_max),
            rows,
            place: Place::default(),
            passed: Trail::default(),
            seen: Trail::default(),
            config,
            buffer: BytesMut::new(),
            begun: false,
            open_line: false,
            long: None,
            ended: false,
            names: None,
            given: None,
            open_row: None,
            condition: context.condition,
            batch_records_max: context.batch_records_max.max(1),
            batch_bytes_max: context.batch_bytes_max,
        }
    }

    /// Goes to a stored place, in the file that it was stored for.
    async fn resume(&mut self, place: Place) -> Result<()> {
        let Some(file) = self.input.file().cloned().filter(|_| place.byte > 0) else {
            // A stream begins where it is; only the numbers of its lines go on.
            self.place.lines_before = place.offset().unsigned_abs();
            return Ok(());
        };
        let trail = match leads_to(&file, &place).await {
            Ok(trail) => trail,
            Err(error) => match self.input.renamed(&self.config, &place).await? {
                Some(file) => leads_to(&file, &place).await?,
                None => return Err(error.with("path", &self.config.path)),
            },
        };
        // The names of its fields stand at the beginning.
        while self.rows.as_ref().is_some_and(|rows| rows.first.is_some()) && !self.begin()? && !self.ended {
            self.ended = self.read(Duration::MAX).await? == Some(0);
        }
        self.buffer.clear();
        self.cutter.reset();
        self.open_line = trail.last() != Some(b'\n');
        (self.begun, self.ended) = (true, false);
        (self.seen, self.passed, self.place) = (trail.clone(), trail, place);
        Ok(())
    }

    /// Adds what comes next, and says how much; nothing is the end, for now.
    async fn read(&mut self, wait: Duration) -> Result<Option<usize>> {
        let read = self.input.read(&self.seen, wait).await;
        let Some(chunk) = read.map_err(|error| error.with("path", &self.config.path))? else {
            return Ok(None);
        };
        self.seen.pass(&chunk);
        self.buffer.extend_from_slice(&chunk);
        Ok(Some(chunk.len()))
    }

    fn batch(&mut self, records: Records) -> Polled {
        self.place.fingerprint = self.passed.fingerprint();
        let position: Position = self.place.to_string().into();
        self.given = Some(Arc::clone(&position));
        Polled::Batch { records, resume_at: Offsets::from([(Arc::clone(&self.partition), position)]) }
    }

    /// Leaves a file that was read to its end for the one that has its name now. No position says so: at byte 0 it would stand
    /// for any file. That of the old one stays until the new one has given something, and leads a start to the right one.
    fn turn(&mut self) {
        self.input.turn(self.seen.byte);
        let lines_before = self.place.lines_before + self.place.line;
        info!(path = %self.config.path, lines = self.place.line, "read the old file to its end, going on with the new one");
        self.place = Place { lines_before, ..Place::default() };
        (self.passed, self.seen) = (Trail::default(), Trail::default());
        (self.begun, self.open_line, self.ended) = (false, false, false);
    }

    /// The records of the lines that are complete, as many as a batch may have. Nothing is ever skipped: what is no record is
    /// given as one that is refused, in a batch without others, so that those before it can be committed.
    fn take(&mut self) -> Result<Option<Records>> {
        if !self.begin()? {
            return Ok(None);
        }
        if self.long.is_some() {
            return Ok(self.rest_of_long());
        }
        let mut gathered =
            Gathered::new(&self.topic, self.offsets, self.buffer.len().min(self.batch_bytes_max));
        let (mut at, mut too_long) = (0, false);
        while gathered.len() < self.batch_records_max {
            let bytes = &self.buffer[at..];
            let (line, refused) = match self.cutter.cut(bytes, self.ended) {
                Cut::More => break,
                Cut::TooLong => {
                    too_long = true;
                    break;
                }
                Cut::Line(line) => (line, None),
                Cut::Unclosed(line) => (line, Some(unclosed())),
            };
            let content = &bytes[..line.content];
            let full = !gathered.is_empty() && gathered.bytes() + content.len() > self.batch_bytes_max;
            let taken = match (refused, self.is_nothing(content)) {
                (None, true) => true,
                _ if full => false,
                (Some(error), _) => gathered.refuse(&self.place, content, self.at(error)),
                (None, _) if self.format == FileFormat::Records => {
                    let cut_off = self.ended && line.len == bytes.len() && line.content == line.len;
                    match gathered.record_line(&self.place, content) {
                        Ok(taken) => taken,
                        Err(error) => {
                            let error = self.at(no_record_line(error, content, cut_off));
                            gathered.refuse(&self.place, content, error)
                        }
                    }
                }
                (None, _) => gathered.value(&self.place, content),
            };
            if !taken {
                self.cutter.reset();
                break;
            }
            at += line.len;
            self.place.line += line.lines;
        }
        self.pass(at);
        if too_long && gathered.is_empty() {
            self.begin_long();
            return Ok(self.rest_of_long());
        }
        Ok(gathered.finish())
    }

    /// Goes on behind so many bytes.
    fn pass(&mut self, bytes: usize) {
        self.passed.pass(&self.buffer[..bytes]);
        self.buffer.advance(bytes);
        self.place.byte = self.passed.byte;
    }

    /// Whether the line stands for no record.
    fn is_nothing(&self, content: &[u8]) -> bool {
        match self.format {
            FileFormat::Lines => false,
            FileFormat::JsonLines | FileFormat::Records => content.trim_ascii().is_empty(),
            FileFormat::Csv => content.is_empty() && !self.rows.as_ref().is_some_and(one_cell),
        }
    }

    /// Of a line that is too long only its beginning is kept.
    fn begin_long(&mut self) {
        let kept = self.buffer.len().min(usize::try_from(self.config.line_max.0).unwrap_or(usize::MAX));
        self.long = Some(Long { kept: Bytes::copy_from_slice(&self.buffer[..kept]), bytes: 0 });
    }

    /// Its end, when it is there.
    fn rest_of_long(&mut self) -> Option<Records> {
        let newline = memchr::memchr(b'\n', &self.buffer);
        let passed = newline.map_or(self.buffer.len(), |at| at + 1);
        self.passed.pass(&self.buffer[..passed]);
        self.buffer.advance(passed);
        let long = self.long.as_mut()?;
        long.bytes += newline.unwrap_or(passed) as u64;
        if newline.is_none() && !self.ended {
            return None;
        }
        let Long { kept, bytes } = self.long.take()?;
        let says = format!("a line of {bytes} bytes is longer than {}", self.config.line_max);
        let error =
            Error::bad_record(says).remedy("raise `line_max`, or name a file that has one record a line");
        let mut gathered = Gathered::new(&self.topic, self.offsets, kept.len());
        gathered.refuse(&self.place, &kept, self.at(error));
        self.place.line += 1;
        self.place.byte = self.passed.byte;
        gathered.finish()
    }

    /// The error with the place of the line in it.
    fn at(&self, error: Error) -> Error {
        error.with("file", format!("{}:{}", self.config.path, self.place.line + 1))
    }
}

/// What leads to a place in the file that it was stored for.
async fn leads_to(file: &Arc<File>, place: &Place) -> Result<Trail> {
    let (file, byte) = (Arc::clone(file), place.byte);
    let trail = blocking(move || {
        let length = file.metadata().map(|about| about.len());
        let trail = length.and_then(|length| (length >= byte).then(|| Trail::of(&file, byte)).transpose());
        trail.map_err(|error| Error::transient("cannot read the file").caused_by(error))
    });
    let why = match trail.await? {
        Some(trail) if place.fingerprint.is_none() || trail.fingerprint() == place.fingerprint => {
            return Ok(trail);
        }
        Some(_) => "what was read of it is not in it",
        None => "it is shorter than what was read of it",
    };
    let remedy = "put that file back until it is read to its end, or begin this one at its beginning with \
                  `aqueduct offsets set PIPELINE --to 0@0 --apply`";
    let says = format!("this is not the file that was read before: {why}");
    Err(Error::config(says).with("read", byte).remedy(remedy))
}

fn unclosed() -> Error {
    Error::bad_record(
        "a quote is opened in this row and not closed within `line_max`, or before the file ends",
    )
    .remedy("close it, double it if it is meant, or raise `line_max`")
}

/// What may be wrong with the file rather than with the line.
fn no_record_line(error: Error, content: &[u8], cut_off: bool) -> Error {
    if error.what_to_do().is_some() {
        return error;
    }
    if cut_off {
        return error
            .remedy("the last line is cut off: complete it, or set `follow: true` if it is being written");
    }
    let other = match content.trim_ascii_start().first() {
        Some(b'{' | b'[') => "`format: json_lines`",
        _ => "`format: lines`, or `value: csv` for CSV",
    };
    error.remedy(format!("where each line is a value and no record with a `value`, write {other}"))
}
