//! Kafka into `discard` and into files, beside a bare loop over librdkafka.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use aqueduct_api::{Catalog, Error};
use aqueduct_connector_kafka::bench::{self, Sizes};
use aqueduct_engine::{Setting, Status, Stopper};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::{Begin, Measured, ratio, rounds};
use crate::commands::pipeline_of;
use crate::supervise;

const PARTITIONS: i32 = 6;
/// Of zstd, on both sides.
const LEVEL: i32 = 3;
/// Memory of a pipeline with default settings.
const MEMORY_MAX_BYTES: u64 = 64 << 20;
/// How often the engine is asked how far it has read: at its begin and its end, and in between, where a look would
/// only take time from it.
const LOOK: Duration = Duration::from_millis(1);
const LOOK_BETWEEN: Duration = Duration::from_millis(10);

static RUNS: AtomicU32 = AtomicU32::new(0);

/// A topic with orders in it.
pub(super) struct Topic<'a> {
    brokers: &'a str,
    name: String,
    records: u64,
    runtime: Runtime,
}

impl<'a> Topic<'a> {
    /// Makes it and fills it, unless an earlier run did.
    pub(super) fn filled(brokers: &'a str, records: u64, sizes: Sizes) -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| format!("cannot start a runtime: {error}"))?;
        let name = match sizes {
            Sizes::Uniform => format!("aqueduct-bench-{records}"),
            Sizes::Mixed => format!("aqueduct-bench-mixed-{records}"),
        };
        match runtime.block_on(bench::fill(brokers, &name, PARTITIONS, records, sizes)) {
            Err(error) if !error.to_string().contains("already exists") => Err(error.to_string()),
            _ => Ok(Self { brokers, name, records, runtime }),
        }
    }

    /// Into nowhere.
    pub(super) fn to_discard(&self, catalog: &Catalog) -> Result<(), String> {
        let bare = || self.bare_loop(&[]);
        let checked = || self.bare_loop(&[("check.crcs", "true")]);
        let ours = || self.through_the_engine(catalog, &self.plain(), ("discard", json!({})));
        rounds(&[
            ("bare loop over librdkafka", &bare),
            ("bare loop, checksums checked", &checked),
            ("kafka -> discard, checksums checked", &ours),
        ])
    }

    /// Into nowhere over both ways to the cluster.
    pub(super) fn over_tls(&self, catalog: &Catalog, tls: &Value) -> Result<(), String> {
        let over = |connection: &Value| self.through_the_engine(catalog, connection, ("discard", json!({})));
        let plain = self.plain();
        let (mut best, mut ours) = (Measured::default(), Measured::default());
        // Both twice, since a broker that has just started is slow to begin with.
        for _ in 0..2 {
            for (name, connection, kept) in [("plain", &plain, &mut best), ("TLS", tls, &mut ours)] {
                let run = over(connection)?;
                run.print(&format!("kafka -> discard, {name}"));
                if kept.records == 0 || run.seconds < kept.seconds {
                    *kept = run;
                }
            }
        }
        ratio(&ours, &best);
        Ok(())
    }

    fn plain(&self) -> Value {
        json!({ "brokers": self.brokers })
    }

    /// Into files of JSON lines with zstd.
    pub(super) fn to_directory(&self, catalog: &Catalog) -> Result<(), String> {
        let folder = std::env::temp_dir().join(format!("aqueduct-bench-{}", std::process::id()));
        let measured = self.measured_in(catalog, &folder);
        // What is left over is only a copy of the topic.
        std::fs::remove_dir_all(&folder).ok();
        measured
    }

    fn measured_in(&self, catalog: &Catalog, folder: &Path) -> Result<(), String> {
        let sink = json!({
            "folder": folder,
            "path": "{topic}/{partition}-{start_offset}",
            "format": { "json_lines": { "compression": "zstd", "level": LEVEL } },
        });
        let mut best = self.bare_loop(&[])?;
        best.print("bare loop over librdkafka");
        let ours = self.through_the_engine(catalog, &self.plain(), ("directory", sink))?;
        let compressor = compress_again(folder, self.records)
            .map_err(|error| format!("cannot compress again: {error}"))?;
        compressor.print("zstd of the same lines");
        best.seconds += compressor.seconds;
        best.cpu_seconds += compressor.cpu_seconds;
        best.print("bare loop, then zstd");
        ours.print("kafka -> directory, json_lines and zstd");
        ratio(&ours, &best);
        Ok(())
    }

    fn bare_loop(&self, properties: &[(&str, &str)]) -> Result<Measured, String> {
        let begin = Begin::now();
        let counted =
            bench::bare_loop(self.brokers, &self.name, properties).map_err(|error| error.to_string())?;
        if counted.records != self.records {
            let (name, found) = (&self.name, counted.records);
            return Err(format!("the topic {name} has {found} records: an earlier run broke off; delete it"));
        }
        // It leaves out the time before the first record, as we do.
        Ok(Measured { seconds: counted.seconds, ..begin.ended(counted.records) })
    }

    /// From the first record to the last one that is durable, joining the group left out.
    fn through_the_engine(
        &self,
        catalog: &Catalog,
        connection: &Value,
        sink: (&str, Value),
    ) -> Result<Measured, String> {
        // Each run reads all of it, so each has a group of its own.
        let run = RUNS.fetch_add(1, Relaxed);
        let group = format!("aqueduct-bench-{}-{run}", std::process::id());
        let source = json!({ "connection": connection, "topics": [self.name], "group": group });
        let pipeline = pipeline_of(catalog, "bench", ("kafka", source), sink)
            .map_err(|problems| format!("{problems:?}"))?;
        let (status, stopper) = (Arc::new(Status::default()), Stopper::new());
        let setting = Setting {
            limits: supervise::limits(&pipeline, MEMORY_MAX_BYTES, 1),
            store: None,
            status: Arc::clone(&status),
            stop: stopper.listener(),
        };
        let run = async {
            let begin = Begin::now();
            let running = tokio::spawn(async move { aqueduct_engine::run(&pipeline, &setting).await });
            let mut begun = Instant::now();
            loop {
                let read = status.records_read.load(Relaxed);
                if read >= self.records || running.is_finished() {
                    break;
                }
                if read == 0 {
                    begun = Instant::now();
                }
                let between = read > 0 && read < self.records / 10 * 9;
                tokio::time::sleep(if between { LOOK_BETWEEN } else { LOOK }).await;
            }
            stopper.stop();
            while status.records_written.load(Relaxed) < self.records && !running.is_finished() {
                tokio::time::sleep(LOOK).await;
            }
            let seconds = begun.elapsed().as_secs_f64();
            let measured = Measured { seconds, ..begin.ended(status.records_written.load(Relaxed)) };
            running.await.map_err(|panic| Error::fatal("the engine panicked").caused_by(panic))??;
            Ok::<_, Error>(measured)
        };
        self.runtime.block_on(run).map_err(|error| error.to_string())
    }
}

/// What the compressor alone takes for what was written, on one thread.
fn compress_again(folder: &Path, records: u64) -> io::Result<Measured> {
    let mut measured = Measured { records, ..Measured::default() };
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    for file in files {
        let mut lines = Vec::new();
        zstd::stream::read::Decoder::new(File::open(file)?)?.read_to_end(&mut lines)?;
        let begin = Begin::now();
        let mut encoder = zstd::stream::write::Encoder::new(io::sink(), LEVEL)?;
        encoder.write_all(&lines)?;
        encoder.finish()?;
        let one = begin.ended(0);
        measured.seconds += one.seconds;
        measured.cpu_seconds += one.cpu_seconds;
        measured.peak_bytes = measured.peak_bytes.max(one.peak_bytes);
    }
    Ok(measured)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "zst") {
            files.push(path);
        }
    }
    Ok(())
}
