//! The source `file`: reads record lines, in batches, and resumes at the byte where it stopped.

use std::io::{self, Read, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_api::catalog::{KeepsOffsets, SourceConnector, SourceContext, SourceTraits};
use aqueduct_api::{Error, ErrorKind, Offsets, Partition, Polled, Problem, Record, Result, Source};
use aqueduct_formats::record_line::{self, Defaults};
use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::config::SourceConfig;
use crate::{Lines, STANDARD};

/// So much is read at a time.
const READ_BYTES: usize = 256 * 1024;
/// How often the end of a followed file is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

#[async_trait]
impl SourceConnector for Lines {
    const NAME: &'static str = "file";
    const ABOUT: &'static str = "Reads records from a file or standard input, one JSON object a line.";
    type Config = SourceConfig;

    fn check(config: &SourceConfig) -> Vec<Problem> {
        config.check()
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
                Error::fatal(format!("`{at}` is no place in a file"))
                    .with("path", &config.path)
                    .remedy("delete the stored offsets of this pipeline to read the file from its beginning")
            })?,
            None => Place::default(),
        };
        let input = match &*config.path {
            STANDARD => Input::stdin()?,
            _ => Input::file(&config, place.byte).await?,
        };
        Ok(Box::new(LineSource {
            input,
            partition: config.path.as_str().into(),
            topic: config.topic().into(),
            place,
            config,
            buffer: BytesMut::new(),
            searched: 0,
            ended: false,
            batch_records_max: context.batch_records_max.max(1),
            batch_bytes_max: context.batch_bytes_max,
        }))
    }
}

/// A file on its way through the pipeline.
struct LineSource {
    config: Arc<SourceConfig>,
    input: Input,
    partition: Partition,
    topic: Arc<str>,
    /// Where the first byte of `buffer` is.
    place: Place,
    /// Read, and not given out yet.
    buffer: BytesMut,
    /// So much of `buffer` has no newline.
    searched: usize,
    /// The input has no more.
    ended: bool,
    batch_records_max: usize,
    batch_bytes_max: usize,
}

/// A place in a file, between two lines.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Bytes before it.
    byte: u64,
    /// Lines before it.
    line: u64,
}

impl Place {
    fn read(position: &str) -> Option<Self> {
        let (byte, line) = position.split_once('@')?;
        Some(Self { byte: byte.parse().ok()?, line: line.parse().ok()? })
    }
}

#[async_trait]
impl Source for LineSource {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        loop {
            let records = self.take()?;
            if !records.is_empty() {
                let position = format!("{}@{}", self.place.byte, self.place.line);
                let resume_at = Offsets::from([(Arc::clone(&self.partition), position.into())]);
                return Ok(Polled::Batch { records: records.into(), resume_at });
            }
            if self.ended {
                return Ok(Polled::End);
            }
            self.buffer.reserve(READ_BYTES);
            // Nothing is lost when the time is over: what arrives later is there at the next call.
            match timeout(wait, self.input.read(&mut self.buffer)).await {
                Err(_) => return Ok(Polled::Idle),
                Ok(Err(error)) => return Err(self.at(Error::fatal("cannot read the file")).caused_by(error)),
                Ok(Ok(0)) if self.config.follow => {
                    sleep(wait.min(FOLLOW_EVERY)).await;
                    return Ok(Polled::Idle);
                }
                Ok(Ok(0)) => self.ended = true,
                Ok(Ok(_)) => {}
            }
        }
    }
}

impl LineSource {
    /// The records of the lines that are complete, as many as a batch may have. A line that is no record is
    /// an error, once those before it are given out; nothing is ever skipped.
    fn take(&mut self) -> Result<Vec<Record>> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < self.batch_records_max {
            let defaults = self.defaults();
            let taken = match self.line() {
                Ok(None) => break,
                Ok(Some((line, len))) if line.trim_ascii().is_empty() => (None, len),
                Ok(Some((line, len))) => match record_line::read(line, defaults) {
                    Ok(record) => (Some(record), len),
                    Err(_) if !records.is_empty() => break,
                    Err(error) => return Err(self.refuse(error)),
                },
                Err(_) if !records.is_empty() => break,
                Err(error) => return Err(error),
            };
            if let (Some(record), _) = &taken {
                bytes += record.memory_bytes();
                if bytes > self.batch_bytes_max && !records.is_empty() {
                    break;
                }
            }
            let (record, len) = taken;
            records.extend(record);
            self.buffer.advance(len);
            self.searched = 0;
            self.place = Place { byte: self.place.byte + len as u64, line: self.place.line + 1 };
        }
        Ok(records)
    }

    /// The next line, and how long it is with its newline.
    fn line(&mut self) -> Result<Option<(&[u8], usize)>> {
        let newline = memchr::memchr(b'\n', &self.buffer[self.searched..]).map(|at| self.searched + at);
        let len = newline.unwrap_or(self.buffer.len());
        if len as u64 > self.config.line_max.0 {
            let error = Error::fatal(format!("a line is longer than {}", self.config.line_max));
            return Err(self.at(error).remedy("raise `line_max`, or name a file that has one record a line"));
        }
        match newline {
            Some(at) => {
                self.searched = at;
                Ok(Some((&self.buffer[..at], at + 1)))
            }
            None if self.ended && len > 0 => Ok(Some((&self.buffer[..], len))),
            None => {
                self.searched = len;
                Ok(None)
            }
        }
    }

    fn defaults(&self) -> Defaults {
        Defaults { topic: Arc::clone(&self.topic), partition: 0, offset: self.place.line as i64 }
    }

    fn refuse(&self, error: Error) -> Error {
        let error = self.at(error.into_kind(ErrorKind::Fatal));
        let cut_off = self.ended && !self.buffer.contains(&b'\n');
        if cut_off && error.what_to_do().is_none() {
            return error.remedy(
                "the last line is cut off: complete it, or set `follow: true` if it is being written",
            );
        }
        error
    }

    /// The error with the place of the line in it.
    fn at(&self, error: Error) -> Error {
        error.with("file", format!("{}:{}", self.config.path, self.place.line + 1))
    }
}

/// Where bytes come from.
enum Input {
    File(File),
    Stdin(mpsc::Receiver<io::Result<Vec<u8>>>),
}

impl Input {
    /// The file, from that byte on.
    async fn file(config: &SourceConfig, byte: u64) -> Result<Self> {
        let failed = |error: io::Error| {
            let says = "cannot open the file";
            let failed = match error.kind() {
                // It may well come later.
                io::ErrorKind::NotFound if config.follow => Error::transient(says),
                io::ErrorKind::NotFound => Error::config(says).remedy("name a file that is there"),
                io::ErrorKind::PermissionDenied => Error::config(says).remedy("allow reading it"),
                _ => Error::transient(says),
            };
            failed.with("path", &config.path).caused_by(error)
        };
        let mut file = File::open(&config.path).await.map_err(failed)?;
        let about = file.metadata().await.map_err(failed)?;
        if about.is_dir() {
            let error = Error::config("this is a folder, not a file").with("path", &config.path);
            return Err(error.remedy("name one file"));
        }
        if about.is_file() && about.len() < byte {
            let says = "the file is shorter than what was read of it: it is not the same file any more";
            return Err(Error::fatal(says)
                .with("path", &config.path)
                .with("length", about.len())
                .with("read", byte)
                .remedy("put the file back, or delete the stored offsets of this pipeline"));
        }
        file.set_max_buf_size(READ_BYTES);
        if byte > 0 {
            file.seek(SeekFrom::Start(byte)).await.map_err(failed)?;
        }
        Ok(Self::File(file))
    }

    /// Standard input, once in the life of the process: what was read of it and not delivered cannot be read
    /// again.
    fn stdin() -> Result<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(Error::config("standard input was read already and cannot be read again")
                .remedy("give the records in a file, from which a pipeline can resume"));
        }
        // A thread of its own, which nobody waits for when the process stops: a terminal may never give a
        // line.
        let (give, take) = mpsc::channel(2);
        let read = move || {
            let mut stdin = io::stdin().lock();
            loop {
                let mut chunk = vec![0; READ_BYTES];
                let read = stdin.read(&mut chunk).map(|len| {
                    chunk.truncate(len);
                    chunk
                });
                let last = !matches!(&read, Ok(chunk) if !chunk.is_empty());
                if give.blocking_send(read).is_err() || last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(read);
        thread
            .map_err(|error| Error::transient("cannot start a thread for standard input").caused_by(error))?;
        Ok(Self::Stdin(take))
    }

    /// Adds what comes next; nothing is the end.
    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_buf(buffer).await,
            Self::Stdin(chunks) => {
                let chunk = chunks.recv().await.unwrap_or(Ok(Vec::new()))?;
                buffer.extend_from_slice(&chunk);
                Ok(chunk.len())
            }
        }
    }
}
