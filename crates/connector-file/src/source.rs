//! The source `file`: cuts a file into records, in batches, and resumes at the byte where it stopped.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{KeepsOffsets, SourceConnector, SourceContext, SourceTraits};
use aqueduct_api::{Error, Offsets, Partition, Polled, Problem, Records, Result, Rows, Source};
use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use tokio::time::sleep;
use tracing::info;

use crate::config::{FileFormat, SourceConfig};
use crate::cut::{Cut, Cutter, Line};
use crate::gathered::Gathered;
use crate::input::{FOLLOW_EVERY, Input};
use crate::place::{Place, Trail};
use crate::{Lines, STANDARD, blocking};

#[async_trait]
impl SourceConnector for Lines {
    const NAME: &'static str = "file";
    const ABOUT: &'static str =
        "Reads lines, JSON lines, CSV or whole records from a file or standard input.";
    type Config = SourceConfig;

    fn check(config: &SourceConfig) -> Vec<Problem> {
        config.check()
    }

    fn check_rows(config: &SourceConfig, rows: Option<&Rows>) -> Vec<Problem> {
        config.check_rows(rows)
    }

    fn traits(config: &SourceConfig) -> SourceTraits {
        SourceTraits {
            keeps_offsets: KeepsOffsets::Never,
            tasks_max: Some(1),
            finite: !config.follow,
            typed: false,
            transactions: Err("no sink keeps the offsets of a file yet"),
        }
    }

    fn describe(config: &SourceConfig, _: &str) -> String {
        match &*config.path {
            STANDARD => "standard input".to_owned(),
            path if config.follow => format!("file {path}, followed"),
            path => format!("file {path}"),
        }
    }

    async fn open(config: Arc<SourceConfig>, context: SourceContext) -> Result<Box<dyn Source>> {
        let place = match context.resume.get(&*config.path).filter(|_| config.path != STANDARD) {
            Some(at) => Place::read(at).ok_or_else(|| {
                Error::config(format!("`{at}` is no place in a file"))
                    .with("path", &config.path)
                    .remedy("delete the stored offsets of this pipeline to read the file from its beginning")
            })?,
            None => Place::default(),
        };
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
    /// The input has no more.
    ended: bool,
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
        loop {
            if let Some(records) = self.take()? {
                return Ok(self.batch(records));
            }
            if self.ended {
                if !self.input.is_replaced() {
                    return Ok(Polled::End);
                }
                return Ok(self.turn());
            }
            match self.read(wait).await? {
                None => return Ok(Polled::Idle),
                Some(0) if self.input.is_replaced() => self.ended = true,
                Some(0) if self.config.follow => {
                    sleep(wait.min(FOLLOW_EVERY)).await;
                    return Ok(Polled::Idle);
                }
                Some(0) => self.ended = true,
                Some(_) => self.input.stirred(),
            }
        }
    }
}

impl FileSource {
    fn new(config: Arc<SourceConfig>, context: SourceContext, input: Input) -> Self {
        let format = config.format(context.rows.as_ref());
        let rows = context.rows.filter(|_| format == FileFormat::Csv);
        let line_max = usize::try_from(config.line_max.0).unwrap_or(usize::MAX);
        Self {
            input,
            format,
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
        let position = self.place.to_string();
        Polled::Batch { records, resume_at: Offsets::from([(Arc::clone(&self.partition), position.into())]) }
    }

    /// Leaves a file that was read to its end for the one that has its name now, and says so with a position.
    fn turn(&mut self) -> Polled {
        self.input.turn();
        let lines_before = self.place.lines_before + self.place.line;
        info!(path = %self.config.path, lines = self.place.line, "read the old file to its end, going on with the new one");
        self.place = Place { lines_before, ..Place::default() };
        (self.passed, self.seen) = (Trail::default(), Trail::default());
        (self.begun, self.open_line, self.ended) = (false, false, false);
        self.batch(Records::default())
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
        let mut gathered = Gathered::new(&self.topic, self.buffer.len().min(self.batch_bytes_max));
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

    /// Passes what stands in front of the records: a byte order mark, a row of names, the line end that the last record did
    /// not have yet. False while more bytes are needed to know.
    fn begin(&mut self) -> Result<bool> {
        if self.open_line {
            match &*self.buffer {
                [] | [b'\r'] if !self.ended => return Ok(false),
                [b'\n', ..] => self.pass(1),
                [b'\r', b'\n', ..] => self.pass(2),
                _ => {}
            }
            self.open_line = false;
        }
        if self.begun {
            return Ok(true);
        }
        if self.place.byte == 0 {
            match mark(&self.buffer, self.ended) {
                Mark::Unknown => return Ok(false),
                Mark::None => {}
                Mark::Utf8 => self.pass(3),
                Mark::Other(encoding) => {
                    let remedy = format!("convert it: iconv -f {encoding} -t UTF-8");
                    return Err(Error::config(format!("the file is {encoding}, by its byte order mark"))
                        .with("path", &self.config.path)
                        .remedy(remedy));
                }
            }
        }
        let wanted = self.rows.as_ref().and_then(|rows| rows.first.clone());
        if let Some(first) = wanted {
            let Some(row) = self.first_row()? else { return Ok(self.ended) };
            if first.get().is_some_and(|before| before != row) && self.place.lines_before > 0 {
                return Err(Error::config("the new file names other fields in its first line")
                    .with("path", &self.config.path)
                    .remedy("start the pipeline again when all that was read is delivered"));
            }
            first.set(row);
        }
        self.begun = true;
        Ok(true)
    }

    /// The first row that is not empty.
    fn first_row(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.cutter.cut(&self.buffer, self.ended) {
                Cut::More => return Ok(None),
                Cut::Line(Line { content, len, lines }) => {
                    let row = Bytes::copy_from_slice(&self.buffer[..content]);
                    self.pass(len);
                    self.place.line += lines;
                    if !row.is_empty() {
                        return Ok(Some(row));
                    }
                }
                Cut::Unclosed(_) | Cut::TooLong => {
                    let error = Error::config("the first line has no end, and it is to name the fields");
                    return Err(self
                        .at(error)
                        .remedy("see whether this is a file of CSV, or write `fields`"));
                }
            }
        }
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
        let mut gathered = Gathered::new(&self.topic, kept.len());
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

/// What a file begins with.
enum Mark {
    Unknown,
    None,
    Utf8,
    Other(&'static str),
}

fn mark(bytes: &[u8], ended: bool) -> Mark {
    const MARKS: [(&[u8], Mark); 5] = [
        (b"\xef\xbb\xbf", Mark::Utf8),
        (b"\xff\xfe\0\0", Mark::Other("UTF-32LE")),
        (b"\0\0\xfe\xff", Mark::Other("UTF-32BE")),
        (b"\xff\xfe", Mark::Other("UTF-16LE")),
        (b"\xfe\xff", Mark::Other("UTF-16BE")),
    ];
    for (mark, means) in MARKS {
        if bytes.starts_with(mark) {
            return means;
        }
        if !ended && mark.starts_with(bytes) {
            return Mark::Unknown;
        }
    }
    Mark::None
}

/// Whether an empty line is a row: of one cell with nothing in it.
fn one_cell(rows: &Rows) -> bool {
    match (rows.cells, &rows.first) {
        (Some(cells), _) => cells == 1,
        (None, Some(first)) => first.get().is_some_and(|names| {
            let names = String::from_utf8_lossy(&names).into_owned();
            !names.contains(rows.separator)
        }),
        (None, None) => false,
    }
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
