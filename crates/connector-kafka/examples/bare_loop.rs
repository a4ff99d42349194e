//! Prints the speed of the bare loop and of the source beside each other:
//! `cargo run --release -p aqueduct-connector-kafka --example bare_loop -- BROKERS TOPIC [RECORDS]
//! [PROPERTY=VALUE...]`; with RECORDS the topic is made and filled first, properties are for the source.

use std::time::Duration;

use aqueduct_api::catalog::SourceContext;
use aqueduct_api::{Catalog, Error, Offsets, Polled, Result};
use aqueduct_connector_kafka::SourceConfig;
use aqueduct_connector_kafka::bench::{self, Counted};
use tokio::time::Instant;

/// As the binary has it: librdkafka's memory comes from it too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, rest @ ..] = &arguments[..] else {
        return Err(Error::config("usage: bare_loop BROKERS TOPIC [RECORDS]"));
    };
    if let Some(records) = rest.first().and_then(|records| records.parse().ok()) {
        bench::fill(brokers, topic, 4, records, bench::Sizes::Uniform).await?;
    }
    for round in 0..4 {
        let before = cpu_seconds();
        let source = through_source(brokers, topic, round).await?;
        print("source", source, cpu_seconds() - before);
        let (of_loop, on) = (brokers.clone(), topic.clone());
        let before = cpu_seconds();
        let count = move || bench::bare_loop(&of_loop, &on, &[]);
        let bare = tokio::task::spawn_blocking(count)
            .await
            .map_err(|error| Error::fatal("panicked").caused_by(error))??;
        print("bare", bare, cpu_seconds() - before);
        println!("{:.0} % of bare", bare.seconds / source.seconds * 100.0);
    }
    Ok(())
}

fn print(what: &str, counted: Counted, cpu_seconds: f64) {
    let millions = counted.records as f64 / 1e6;
    let (rate, cpu) = (millions / counted.seconds, cpu_seconds / millions);
    println!("{what:8}{rate:.2} M records/s, {cpu:.2} CPU s a million, {} so far", peak());
}

async fn through_source(brokers: &str, topic: &str, round: usize) -> Result<Counted> {
    let group = format!("{topic}-{round}-{}", std::process::id());
    let client: serde_json::Map<_, _> = std::env::args()
        .filter_map(|argument| argument.split_once('=').map(|(name, value)| (name.to_owned(), value.into())))
        .collect();
    let config =
        serde_json::json!({ "connection": { "brokers": brokers }, "topics": [topic], "client": client });
    let catalog = Catalog::default().source::<SourceConfig>();
    let configured =
        catalog.sources["kafka"].configure(config).map_err(|_| Error::config("wrong configuration"))?;
    let context = SourceContext {
        batch_records_max: 1_000,
        drain_timeout: Duration::from_secs(5),
        ..SourceContext::new(group)
    };
    let mut source = configured.open(context).await?;
    let (mut counted, mut begin, mut released) = (Counted::default(), None, Instant::now());
    let mut resume = Offsets::new();
    loop {
        match source.poll(Duration::from_millis(100)).await? {
            Polled::Batch { records, resume_at } => {
                let begin = begin.get_or_insert_with(Instant::now);
                counted.records += records.len() as u64;
                counted.bytes +=
                    records.iter().map(|record| record.key.len() + record.value.len()).sum::<usize>() as u64;
                counted.seconds = begin.elapsed().as_secs_f64();
                resume.extend(resume_at);
            }
            Polled::Idle if begin.is_some() && source.lag().iter().all(|lag| lag.records == 0) => break,
            _ => {}
        }
        if released.elapsed() > Duration::from_secs(1) {
            source.release(&resume).await?;
            released = Instant::now();
        }
    }
    source.close().await?;
    Ok(counted)
}

/// User and system time of this process (proc(5)); a tick is 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    format!("peak memory {}", line.trim_start_matches("VmHWM:").trim())
}
