//! Partitions of records of all sizes, each recognised by its line.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use aqueduct_api::{Headers, Origin, Payload, Record};
use aqueduct_testkit::awkward::Awkward;

use crate::store::Rng;

/// A partition: its records in order, and how far its offset is stored (an index into them).
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    pub(crate) stored: usize,
    pub(crate) generation: u64,
}

/// How large the records of a world are, and how many.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    bytes_max: usize,
    records_max: u64,
}

impl Shape {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        match rng.below(40) {
            // Beyond what is compressed at a time.
            0 => Self { bytes_max: 200_000, records_max: 100 },
            1 => Self { bytes_max: 20, records_max: 5_000 },
            2..=5 => Self { bytes_max: 6_000, records_max: 200 },
            _ => Self { bytes_max: 60, records_max: 200 },
        }
    }
}

impl Log {
    /// Records with gaps in their offsets, as transactions and compaction leave them; some have no value, and one in
    /// fifteen a line break. Those of another generation stand at the same offsets half of the time, and are as long.
    pub(crate) fn new(rng: &mut Rng, seed: u64, shape: Shape, partition: i32, generation: u64) -> Self {
        let twins = seed.is_multiple_of(2);
        let awkward = Awkward::bytes(if twins { seed } else { seed + generation }, shape.bytes_max);
        let first = if twins { seed as i64 % 1_000 } else { rng.below(1_000) as i64 };
        let mut timestamp_us = 0;
        let topic: Arc<str> = "t".into();
        let offsets = awkward.offsets(partition, 20 + rng.below(shape.records_max) as usize);
        let records = offsets.into_iter().map(|offset| {
            // Now and then an hour forward, or a record that comes late.
            timestamp_us += if rng.below(15) == 0 { 3_600_000_000 } else { 1_000_000 };
            let late = if rng.below(8) == 0 { 3_600_000_000 } else { 0 };
            let shape = awkward.record("t", partition, offset).value;
            let offset = first + offset;
            let mut text = format!("{partition}:{offset}:{generation}:");
            text.extend(std::iter::repeat_n('x', shape.len().saturating_sub(text.len())));
            if rng.below(15) == 0 {
                text.push('\n');
            }
            Record {
                topic: Arc::clone(&topic),
                origin: Origin { partition, offset },
                key: Payload::Absent,
                value: if shape == Payload::Absent { shape } else { text.into() },
                headers: Headers::default(),
                timestamp_us: Some((timestamp_us - late).max(0)),
            }
        });
        Self { records: records.collect(), stored: 0, generation }
    }
}

/// Whether no line can be made of it.
pub(crate) fn is_bad(record: &Record) -> bool {
    record.value.bytes().is_none_or(|bytes| bytes.contains(&b'\n'))
}

pub(crate) fn line(record: &Record) -> String {
    String::from_utf8(record.value.bytes().unwrap().to_vec()).unwrap()
}
