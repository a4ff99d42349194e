//! `aqueduct bench`: what this machine does, each figure beside the best that can be had without us.

mod avro;
mod engine;
mod kafka;

use tokio::time::Instant;

use crate::{Exit, catalog, process};

/// Measure this machine: each figure beside the best that can be had without us
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this one; without it all that can run: those that read Kafka need --brokers
    #[arg(value_enum)]
    name: Option<Name>,
    /// Records of each run
    #[arg(long, default_value_t = 5_000_000, value_name = "N")]
    records: u64,
    /// Kafka for those that read it; a topic is made there, and used again by the next run with as many records
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// For kafka-tls: the same cluster with TLS, as the block `connection` of a source, in JSON
    #[arg(long, value_name = "JSON", value_parser = connection)]
    tls: Option<serde_json::Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Through the whole engine on one core, beside a loop that only makes the records
    GenerateDiscard,
    /// From Kafka to nowhere, beside the fastest loop over librdkafka that only counts
    KafkaDiscard,
    /// From Kafka to JSON lines with zstd in a folder, beside that loop and the same compressor
    KafkaDirectory,
    /// From Kafka to nowhere over TLS, beside the same in plain text
    KafkaTls,
    /// Avro from one topic to another: untouched, one field changed, as JSON
    KafkaAvro,
}

fn connection(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))
}

/// Runs them.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    if cfg!(debug_assertions) {
        println!("this is a debug build: its figures mean nothing");
    }
    match measure(arguments) {
        Ok(()) => Exit::Good,
        Err(says) => {
            eprintln!("error: {says}");
            Exit::Failed
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    let catalog = catalog::catalog();
    let wanted = |name| arguments.name.is_none_or(|only| only == name);
    if wanted(Name::GenerateDiscard) {
        engine::generate_discard(arguments.records, &catalog)?;
    }
    let brokers = match (&arguments.brokers, arguments.name) {
        (Some(brokers), _) => brokers,
        (None, Some(Name::KafkaDiscard | Name::KafkaDirectory | Name::KafkaTls | Name::KafkaAvro)) => {
            return Err("there is no Kafka to read: name one with --brokers HOST:PORT".to_owned());
        }
        (None, _) => return Ok(()),
    };
    if wanted(Name::KafkaAvro) {
        avro::between_topics(brokers, arguments.records, &catalog)?;
    }
    if arguments.name == Some(Name::KafkaAvro) {
        return Ok(());
    }
    let topic = kafka::Topic::filled(brokers, arguments.records)?;
    if wanted(Name::KafkaDiscard) {
        topic.to_discard(&catalog)?;
    }
    if wanted(Name::KafkaDirectory) {
        topic.to_directory(&catalog)?;
    }
    match &arguments.tls {
        Some(tls) if wanted(Name::KafkaTls) => topic.over_tls(&catalog, tls)?,
        None if arguments.name == Some(Name::KafkaTls) => {
            return Err("where is the cluster with TLS? Say it with --tls".to_owned());
        }
        _ => {}
    }
    Ok(())
}

/// Records, seconds, CPU seconds of all threads, and the most memory that was in use at once.
#[derive(Default)]
struct Measured {
    records: u64,
    seconds: f64,
    cpu_seconds: f64,
    peak_bytes: u64,
}

/// Begins to measure.
struct Begin {
    at: Instant,
    cpu_seconds: f64,
}

impl Begin {
    fn now() -> Self {
        process::reset_peak();
        Self { at: Instant::now(), cpu_seconds: process::cpu_seconds().unwrap_or_default() }
    }

    fn ended(&self, records: u64) -> Measured {
        Measured {
            records,
            seconds: self.at.elapsed().as_secs_f64(),
            cpu_seconds: process::cpu_seconds().unwrap_or_default() - self.cpu_seconds,
            peak_bytes: process::resident_peak_bytes().unwrap_or_default(),
        }
    }
}

impl Measured {
    fn print(&self, what: &str) {
        let millions = self.records as f64 / 1e6;
        let (rate, cpu, peak) = (millions / self.seconds, self.cpu_seconds / millions, self.peak_bytes >> 20);
        println!("{what:<40} {rate:6.2} M records/s {cpu:5.2} CPU seconds a million {peak:4} MiB at most");
    }
}

fn ratio(ours: &Measured, best: &Measured) {
    let (ours, best) = (ours.records as f64 / ours.seconds, best.records as f64 / best.seconds);
    println!("{:<40} {:6.1} %\n", "ratio", 100.0 * ours / best);
}
