//! `aqueduct bench`: what this machine does, each figure beside the best that can be had without us.

mod avro;
mod engine;
mod kafka;

use aqueduct_connector_kafka::bench::Sizes;
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
    /// The last two with records of all sizes
    KafkaMixed,
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
        (
            None,
            Some(
                Name::KafkaDiscard
                | Name::KafkaDirectory
                | Name::KafkaMixed
                | Name::KafkaTls
                | Name::KafkaAvro,
            ),
        ) => {
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
    let topic = kafka::Topic::filled(brokers, arguments.records, Sizes::Uniform)?;
    if wanted(Name::KafkaDiscard) {
        topic.to_discard(&catalog)?;
    }
    if wanted(Name::KafkaDirectory) {
        topic.to_directory(&catalog)?;
    }
    if wanted(Name::KafkaMixed) {
        println!("records of 130 bytes to 200 KB, one for ten of the others");
        let mixed = kafka::Topic::filled(brokers, arguments.records / 10, Sizes::Mixed)?;
        mixed.to_discard(&catalog)?;
        mixed.to_directory(&catalog)?;
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

/// How often each side runs.
const ROUNDS: usize = 9;

/// A name, and what runs under it.
type Side<'a> = (&'a str, &'a dyn Fn() -> Result<Measured, String>);

/// Runs the sides in turn, so that what else happens on the machine happens to all of them; the last is ours, and the
/// medians of its ratios to each of the others are printed.
fn rounds(sides: &[Side<'_>]) -> Result<(), String> {
    let Some(((ours, _), best)) = sides.split_last() else { return Ok(()) };
    // Not counted: a broker that has just started is slow to begin with, and so is one that reads from its disk.
    for (_, run) in sides {
        run()?;
    }
    let mut runs: Vec<Vec<Measured>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        for turn in 0..sides.len() {
            let side = (round + turn) % sides.len();
            runs[side].push(sides[side].1()?);
        }
    }
    for ((name, _), runs) in sides.iter().zip(&runs) {
        Measured {
            records: runs[0].records,
            seconds: median(runs.iter().map(|run| run.seconds)),
            cpu_seconds: median(runs.iter().map(|run| run.cpu_seconds)),
            peak_bytes: runs.iter().map(|run| run.peak_bytes).max().unwrap_or_default(),
        }
        .print(name);
    }
    for ((name, _), theirs) in best.iter().zip(&runs) {
        let ratios = |of: fn(&Measured) -> f64| {
            let pairs = theirs.iter().zip(&runs[best.len()]);
            pairs.map(|(theirs, ours)| 100.0 * of(theirs) / of(ours)).collect::<Vec<f64>>()
        };
        let (speed, cpu) = (ratios(|run| run.seconds), ratios(|run| run.cpu_seconds));
        let least = speed.iter().copied().fold(f64::INFINITY, f64::min);
        let most = speed.iter().copied().fold(0.0, f64::max);
        let (speed, cpu) = (median(speed.into_iter()), median(cpu.into_iter()));
        println!(
            "{ours} at {speed:.1} % ({least:.0} to {most:.0}) of the speed of: {name}; per CPU second {cpu:.1} %"
        );
    }
    println!();
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
