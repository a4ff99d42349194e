//! The sink `file`: adds record lines to a file and reports them once they are synced.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{Block, Duplicates, SinkConnector, SinkContext, SinkTraits};
use aqueduct_api::{Batch, Error, Problem, Result, Sink, Writes, Written};
use aqueduct_formats::record_line;
use async_trait::async_trait;
use tokio::time::Instant;

use crate::appender::Appender;
use crate::config::{SinkConfig, one_name, system};
use crate::{STANDARD, blocking};

/// What was written waits no longer than this to be synced, however busy the sink is.
const SYNC_EVERY: Duration = Duration::from_secs(1);

impl Block for SinkConfig {
    const NAME: &'static str = "file";
    const ABOUT: &'static str = "Adds records to a file or standard output, one JSON object a line.";
}

#[async_trait]
impl SinkConnector for SinkConfig {
    fn check(&self) -> Vec<Problem> {
        self.problems()
    }

    fn traits(&self) -> SinkTraits {
        SinkTraits {
            lanes: 1,
            batch_records_max: None,
            duplicates: Duplicates::Visible,
            transactions: Err("a line once written stands there, whether its offset was stored or not"),
            value_format: None,
        }
    }

    fn describe(&self) -> String {
        match &*self.path {
            STANDARD => "standard output".to_owned(),
            path => format!("file {path}"),
        }
    }

    fn writes(&self) -> Option<Writes> {
        let path = one_name(&self.path)?.replace('{', "{{").replace('}', "}}");
        Some(Writes { system: system(), topic: path.parse().ok()?, option: "path" })
    }

    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        if self.path == STANDARD {
            return Ok(Box::new(Stdout));
        }
        let path = self.path.clone();
        let appender = blocking(move || Appender::open(path.as_ref(), &context.pipeline)).await?;
        Ok(Box::new(LineSink { appender, unsynced_since: None }))
    }
}

/// One task's handle to the file.
struct LineSink {
    appender: Arc<Appender>,
    /// When the first line was written that is not synced.
    unsynced_since: Option<Instant>,
}

#[async_trait]
impl Sink for LineSink {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        let (appender, lines) = (Arc::clone(&self.appender), lines(batch));
        blocking(move || appender.append(&lines)).await?;
        let since = *self.unsynced_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SYNC_EVERY { self.flush().await } else { Ok(Written::nothing()) }
    }

    async fn tick(&mut self) -> Result<Written> {
        if self.unsynced_since.is_some() { self.flush().await } else { Ok(Written::nothing()) }
    }

    async fn flush(&mut self) -> Result<Written> {
        let appender = Arc::clone(&self.appender);
        blocking(move || appender.sync()).await?;
        self.unsynced_since = None;
        Ok(Written::all())
    }
}

/// Standard output: what is handed over counts, no matter what its reader does with it.
struct Stdout;

#[async_trait]
impl Sink for Stdout {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        let lines = lines(batch);
        let write = move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&lines).and_then(|()| stdout.flush()).map_err(|error| {
                let says = "cannot write to standard output";
                // Whoever read it has gone, and nobody else can come.
                Error::config(says).remedy("start again with a reader, or name a file").caused_by(error)
            })
        };
        blocking(write).await?;
        Ok(Written::all())
    }

    async fn flush(&mut self) -> Result<Written> {
        Ok(Written::all())
    }
}

fn lines(batch: &Batch) -> Vec<u8> {
    let mut lines = Vec::with_capacity(batch.records.iter().map(|record| record.memory_bytes() + 64).sum());
    for record in &batch.records {
        record_line::write(record, &mut lines);
    }
    lines
}
