//! What `aqueduct dev` tells people: how to look in, how far it is, what came of it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aqueduct_devserver::Registry;
use aqueduct_spec::{Delivery, Pipeline};

use super::{feed, is_embedded};
use crate::live::{Rate, Screen, bytes, count};
use crate::supervise::Member;

/// How often progress is shown.
const INTERVAL: Duration = Duration::from_secs(1);
/// Files that are named in the end.
const FILES_SHOWN_MAX: usize = 5;

/// A name for this run that sorts by time: `20261121-100108`.
pub(super) fn time_stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}

/// Before it starts: where things are, and lines to paste.
pub(super) fn introduce(
    file: &Path,
    pipelines: &[Pipeline],
    (brokers, other): (&str, &str),
    registry: &Registry,
    folder: &Path,
) {
    println!("{}, with embedded ends", file.display());
    for pipeline in pipelines {
        println!("\n  {}", pipeline.name);
        for (end, kind, raw, says) in [
            (
                "from",
                pipeline.source.connector.kind,
                &pipeline.source_raw,
                pipeline.source.connector.configured.describe(&pipeline.name),
            ),
            (
                "to",
                pipeline.sink.connector.kind,
                &pipeline.sink_raw,
                pipeline.sink.connector.configured.describe(),
            ),
        ] {
            let embedded = matches!(kind, "kafka" | "generate" | "discard") || is_embedded(raw, folder);
            println!(
                "    {end:<5} {says}{}",
                if embedded { "" } else { "   (cannot be embedded: used as written)" }
            );
        }
        if pipeline.delivery == Delivery::Rehearsed {
            println!("    here at least once: the embedded broker has no transactions");
        }
    }
    let topic =
        pipelines.iter().find_map(|pipeline| feed::topics(pipeline).first().copied()).unwrap_or("my.topic");
    let by_id = |pipeline: &Pipeline| {
        let value = pipeline.source.formats.value.as_ref();
        value.is_some_and(|value| value.configured.traits().registry)
    };
    let behind_registry = pipelines.iter().any(by_id);
    println!(
        "
Kafka is at {brokers}, in memory, as long as this runs. From another terminal:
  kcat -b {brokers} -L
  kcat -b {brokers} -C -t {topic} -o end
{}  kafka-console-consumer.sh --bootstrap-server {brokers} --topic {topic} --from-beginning
{}
Ctrl-C ends it.
",
        if behind_registry {
            let lines = registry.curl_lines(topic);
            format!(
                "The schema registry is at {}.\n{}",
                registry.url(),
                lines.iter().map(|line| format!("  {line}\n")).collect::<String>()
            )
        } else {
            format!(
                "  echo '{{\"id\": 1}}' | kcat -b {brokers} -P -t {topic} -k me\n  \
                 kafka-console-producer.sh --bootstrap-server {brokers} --topic {topic}\n"
            )
        },
        if pipelines.iter().any(|pipeline| pipeline.sink_raw["connection"]["brokers"] == other) {
            format!("The sink's cluster is at {other}.\n")
        } else {
            String::new()
        }
    );
}

/// A table on a terminal, else a line a second for each pipeline, for as long as it is polled.
pub(super) async fn keep_showing(screen: Option<Arc<Screen>>, members: Arc<[Arc<Member>]>) {
    let mut rates: Vec<Rate> = members.iter().map(|_| Rate::default()).collect();
    loop {
        let mut out = String::new();
        for (member, rate) in members.iter().zip(&mut rates) {
            // Without line wrap, so that a narrow terminal cuts a line and does not break it in two.
            let _ = match &screen {
                Some(_) => writeln!(out, "\x1b[?7l{}{}\x1b[?7h", line(member, rate), partitions(member)),
                None => writeln!(out, "{}, committed {}", line(member, rate), committed(member)),
            };
        }
        match &screen {
            Some(screen) => screen.draw(out),
            None => print!("{out}"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn line(member: &Member, rate: &mut Rate) -> String {
    let status = &member.status;
    let partitions = status.partitions();
    let lag: i64 = partitions.values().filter_map(|partition| partition.lag_records).sum();
    let unread: i64 = partitions.values().filter_map(|partition| partition.unread_records).sum();
    let read = status.records_read.load(Relaxed);
    format!(
        "{}: {}, {} records read ({}, {}/s), {} written, lag {}, unread {}",
        member.pipeline.name,
        member.remark().unwrap_or_else(|| member.state().to_owned()),
        count(read),
        bytes(status.bytes_read.load(Relaxed)),
        count(rate.per_second(read)),
        count(status.records_written.load(Relaxed)),
        lag.max(0),
        unread.max(0),
    )
}

/// `shop.orders/0@128 shop.orders/1@134`
fn committed(member: &Member) -> String {
    let partitions = member.status.partitions();
    let committed: Vec<_> = partitions
        .iter()
        .filter_map(|(name, partition)| Some(format!("{name}@{}", partition.committed.as_ref()?)))
        .collect();
    if committed.is_empty() { "nothing yet".to_owned() } else { committed.join(" ") }
}

fn partitions(member: &Member) -> String {
    let mut out = format!("\n  {:<32} {:>10} {:>10} {:>14}", "partition", "lag", "unread", "committed");
    for (name, partition) in member.status.partitions() {
        let number = |number: Option<i64>| number.map_or("?".to_owned(), |number| number.to_string());
        let (lag, unread) = (number(partition.lag_records), number(partition.unread_records));
        let committed = partition.committed.as_deref().unwrap_or("-");
        let _ = write!(out, "\n  {name:<32} {lag:>10} {unread:>10} {committed:>14}");
    }
    out
}

/// In the end: what was done, where the files are, what to try next.
pub(super) fn conclude(file: &Path, members: &[Arc<Member>], folder: &Path) {
    println!();
    for member in members {
        let status = &member.status;
        println!(
            "{}: {}; {} records read ({}), {} written, {} set aside",
            member.pipeline.name,
            member.state(),
            status.records_read.load(Relaxed),
            bytes(status.bytes_read.load(Relaxed)),
            status.records_written.load(Relaxed),
            status.records_set_aside.load(Relaxed),
        );
        if let Some(reason) = member.remark() {
            println!("  {reason}");
        }
    }
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    if let Some((first, _)) = files.first() {
        let total = files.iter().map(|(_, size)| size).sum();
        println!("\n{} files, {}, in {}", files.len(), bytes(total), folder.display());
        for (path, size) in files.iter().take(FILES_SHOWN_MAX) {
            println!("  {} ({})", path.display(), bytes(*size));
        }
        if files.len() > FILES_SHOWN_MAX {
            println!("  and {} more", files.len() - FILES_SHOWN_MAX);
        }
        println!("Look inside:  {} {} | head -3", reader(first), first.display());
    }
    let file = file.display();
    println!("\nNext:  change {file} and run this again, see what will run with `aqueduct plan {file}`,");
    println!("       or run it for real, with its own brokers and bucket: `aqueduct run {file}`");
}

fn reader(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => "zstdcat",
        Some("gz") => "zcat",
        _ => "cat",
    }
}

/// Finished files, with their sizes; what cannot be read is left out, since this only informs.
fn collect(folder: &Path, files: &mut Vec<(PathBuf, u64)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.metadata() {
            _ if entry.file_name().to_string_lossy().starts_with('.') => {}
            Ok(metadata) if metadata.is_dir() => collect(&entry.path(), files),
            Ok(metadata) => files.push((entry.path(), metadata.len())),
            Err(_) => {}
        }
    }
}
