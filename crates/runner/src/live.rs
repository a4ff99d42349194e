//! The live table on a terminal: drawn again every second below the log, with plain ANSI sequences.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqueduct_engine::PartitionStatus;
use tokio::time::Instant;

use crate::supervise::Member;

/// How often it is drawn.
const REFRESH: Duration = Duration::from_secs(1);

/// Standard error: lines that stay, and below them a table that is drawn over.
#[derive(Default)]
pub(crate) struct Screen {
    table: Mutex<String>,
}

impl Screen {
    /// Whether a table can be drawn.
    pub(crate) fn can_draw() -> bool {
        std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Writes what stays, above the table.
    pub(crate) fn print(&self, text: &[u8]) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = erase(&table).into_bytes();
        out.extend_from_slice(text);
        out.extend_from_slice(table.as_bytes());
        show(&out);
    }

    /// Replaces the table; an empty one removes it.
    pub(crate) fn draw(&self, new: String) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        show((erase(&table) + &new).as_bytes());
        *table = new;
    }
}

/// Back to where the table began, and everything below that away.
fn erase(table: &str) -> String {
    match table.matches('\n').count() {
        0 => String::new(),
        lines => format!("\x1b[{lines}F\x1b[J"),
    }
}

fn show(bytes: &[u8]) {
    let mut stderr = std::io::stderr().lock();
    // A terminal that went away must not stop the pipelines.
    let _ = stderr.write_all(bytes).and_then(|()| stderr.flush());
}

/// Draws the table every second, for as long as it is polled.
pub(crate) async fn keep_drawing(screen: Arc<Screen>, members: Arc<[Arc<Member>]>) {
    let mut rates: Vec<Rate> = members.iter().map(|_| Rate::default()).collect();
    loop {
        screen.draw(table(&members, &mut rates));
        tokio::time::sleep(REFRESH).await;
    }
}

fn table(members: &[Arc<Member>], rates: &mut [Rate]) -> String {
    let names = members.iter().map(|member| member.pipeline.name.chars().count());
    let width = names.max().unwrap_or(0).max("pipeline".len());
    // Without line wrap, so that a narrow terminal cuts a line and does not break it in two.
    let mut out = format!(
        "\x1b[?7l\x1b[1m{:width$}  {:10}  {:>9}  {:>9}  {:>9}  {:>8}  {:>8}  {:>9}  {:>9}\x1b[0m\n",
        "pipeline", "state", "read", "written", "records/s", "lag", "unread", "set aside", "restarts"
    );
    for (member, rate) in members.iter().zip(rates) {
        let status = &member.status;
        let partitions = status.partitions();
        // Who has no partition does not know how far behind it is.
        let sum = |of: fn(&PartitionStatus) -> Option<i64>| {
            let known: Vec<i64> = partitions.values().filter_map(of).collect();
            if known.is_empty() { "-".to_owned() } else { count(known.iter().sum::<i64>().max(0) as u64) }
        };
        let _ = writeln!(
            out,
            "{:width$}  {:10}  {:>9}  {:>9}  {:>9}  {:>8}  {:>8}  {:>9}  {:>9}",
            member.pipeline.name,
            member.state(),
            count(status.records_read.load(Relaxed)),
            count(status.records_written.load(Relaxed)),
            count(rate.per_second(status.records_written.load(Relaxed))),
            sum(|partition| partition.lag_records),
            sum(|partition| partition.unread_records),
            count(status.records_set_aside.load(Relaxed)),
            count(member.restarts.load(Relaxed)),
        );
        if let Some(reason) = member.remark() {
            let _ = writeln!(out, "{:width$}  {reason}", "");
        }
    }
    out + "\x1b[?7h"
}

/// Growth of a counter a second, between two looks.
#[derive(Default)]
pub(crate) struct Rate(Option<(Instant, u64)>);

impl Rate {
    /// Looks at the counter; the first look sees no growth.
    pub(crate) fn per_second(&mut self, total: u64) -> u64 {
        let now = Instant::now();
        let (then, before) = self.0.replace((now, total)).unwrap_or((now, total));
        let seconds = now.duration_since(then).as_secs_f64().max(0.001);
        (total.saturating_sub(before) as f64 / seconds) as u64
    }
}

/// A number as people read it: `950`, `12.3k`, `4.56M`.
pub(crate) fn count(number: u64) -> String {
    scaled(number, &[("", 1), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000)])
}

/// Bytes as people read them: `950 B`, `12.3 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    scaled(number, &[(" B", 1), (" KiB", 1 << 10), (" MiB", 1 << 20), (" GiB", 1 << 30), (" TiB", 1 << 40)])
}

fn scaled(number: u64, units: &[(&str, u64)]) -> String {
    let at = units.iter().rposition(|(_, unit)| number >= *unit).unwrap_or(0);
    let (name, unit) = units[at];
    let value = number as f64 / unit as f64;
    match value {
        _ if at == 0 => format!("{number}{name}"),
        value if value < 10.0 => format!("{value:.2}{name}"),
        value if value < 100.0 => format!("{value:.1}{name}"),
        value => format!("{value:.0}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_table_is_drawn_over() {
        assert_eq!(erase(""), "");
        assert_eq!(erase("\x1b[?7lhead\nrow\n\x1b[?7h"), "\x1b[2F\x1b[J", "the log line above it stays");
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_234, "1.23k"), (45_600, "45.6k"), (123_456_789, "123M")]
        {
            assert_eq!(count(number), text);
        }
        assert_eq!(bytes(1 << 20), "1.00 MiB");
    }
}
