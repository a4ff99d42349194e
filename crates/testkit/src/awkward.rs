//! Records of all shapes, for every test of delivery: sizes from nothing to beyond a limit, one hot key and many, null and
//! empty parts, headers as real producers write them, odd times, and holes in the offsets. Small uniform records hide what
//! loses data.

use aqueduct_api::{Headers, Origin, Payload, Record};
use bytes::Bytes;

use crate::dice::Dice;

/// 9999-12-31T23:59:59.999Z, in milliseconds.
const LAST_MS: i64 = 253_402_300_799_999;
/// 2026-01-01T00:00:00Z, in milliseconds.
const ABOUT_NOW_MS: i64 = 1_767_225_600_000;

/// Makes records that follow from their coordinates alone, so that a checker can make them again.
#[derive(Clone, Debug)]
pub struct Awkward {
    seed: u64,
    content: Content,
    bytes_max: usize,
    oversized: bool,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Any bytes, none, or null.
    Bytes,
    /// A JSON object that names its partition and offset, never null.
    Json,
}

impl Awkward {
    /// Values of any bytes, of up to `bytes_max`.
    pub fn bytes(seed: u64, bytes_max: usize) -> Self {
        Self { seed, content: Content::Bytes, bytes_max, oversized: false }
    }

    /// Values that are JSON objects, `{"partition":3,"offset":7,"pad":"..."}`, of up to `bytes_max`.
    pub fn json(seed: u64, bytes_max: usize) -> Self {
        Self { seed, content: Content::Json, bytes_max, oversized: false }
    }

    /// Now and then a value is larger than the limit.
    #[must_use]
    pub fn with_oversized(mut self) -> Self {
        self.oversized = true;
        self
    }

    /// Whether no record stands at this offset: compacted away, aborted, or the marker of a transaction. One in ten, and
    /// now and then forty in a row.
    pub fn is_hole(&self, partition: i32, offset: i64) -> bool {
        self.dice(partition, offset, 1).percent(10) || self.dice(partition, offset / 40, 2).percent(3)
    }

    /// The first `count` offsets of this partition at which a record stands.
    pub fn offsets(&self, partition: i32, count: usize) -> Vec<i64> {
        (0..).filter(|offset| !self.is_hole(partition, *offset)).take(count).collect()
    }

    /// Whether the value there is larger than the limit.
    pub fn is_oversized(&self, partition: i32, offset: i64) -> bool {
        self.oversized && self.dice(partition, offset, 3).percent(2)
    }

    /// The record at this place.
    pub fn record(&self, topic: &str, partition: i32, offset: i64) -> Record {
        Record {
            topic: topic.into(),
            origin: Origin { partition, offset },
            key: self.key(partition, offset),
            value: self.value(partition, offset),
            headers: self.headers(partition, offset),
            timestamp_us: self.timestamp_us(partition, offset),
        }
    }

    /// How many records the batch has that begins there: one, some, or thousands.
    pub fn batch_records(&self, partition: i32, offset: i64) -> usize {
        let mut dice = self.dice(partition, offset, 4);
        match dice.roll(10) {
            0..=3 => 1,
            4..=8 => 1 + dice.roll(50) as usize,
            _ => 1 + dice.roll(3_000) as usize,
        }
    }

    /// Half are of one hot key, the others of many; some have none, or an empty one.
    fn key(&self, partition: i32, offset: i64) -> Payload {
        let mut dice = self.dice(partition, offset, 5);
        match dice.roll(20) {
            0 => Payload::Absent,
            1 => Bytes::new().into(),
            2 => Bytes::from_static(b"\xff\x00\n\"").into(),
            3..=12 => "hot".into(),
            _ => format!("key-{}", dice.roll(5_000)).into(),
        }
    }

    fn value(&self, partition: i32, offset: i64) -> Payload {
        let bytes = self.value_bytes(partition, offset);
        if self.content == Content::Json {
            let begin = format!("{{\"partition\":{partition},\"offset\":{offset},\"pad\":\"");
            let pad = bytes.saturating_sub(begin.len() + 2);
            return (begin + &text(offset, pad) + "\"}").into();
        }
        match bytes {
            0 if self.dice(partition, offset, 6).percent(50) => Payload::Absent,
            _ => {
                let mut dice = self.dice(partition, offset, 7);
                // Half of it random, so that it is compressed neither well nor badly.
                let noise = (0..bytes / 16 + 1).flat_map(|_| dice.bits().to_le_bytes());
                noise.chain(std::iter::repeat(b'x')).take(bytes).collect::<Vec<u8>>().into()
            }
        }
    }

    /// Mostly small, with a heavy tail that reaches the limit exactly.
    fn value_bytes(&self, partition: i32, offset: i64) -> usize {
        if self.is_oversized(partition, offset) {
            return self.bytes_max + 1 + self.dice(partition, offset, 8).roll(1_000) as usize;
        }
        let mut dice = self.dice(partition, offset, 9);
        let bytes = match dice.roll(100) {
            0..=9 => 0,
            10..=59 => dice.roll(200),
            60..=89 => 500 + dice.roll(7_500),
            90..=96 => dice.roll(64 << 10),
            97..=98 => dice.roll(self.bytes_max as u64 + 1),
            _ => self.bytes_max as u64,
        };
        (bytes as usize).min(self.bytes_max)
    }

    fn headers(&self, partition: i32, offset: i64) -> Headers {
        let mut headers = Headers::default();
        let mut dice = self.dice(partition, offset, 10);
        match dice.roll(20) {
            0 => headers.push("null", None),
            1 => headers.push("empty", Some(Bytes::new())),
            2 => (0..3).for_each(|value| headers.push("twice", Some(vec![value].into()))),
            3 => headers.push("", Some("no name".into())),
            4 => headers.push("ünï", Some((0..=255).collect::<Vec<u8>>().into())),
            5 => (0..60).for_each(|number| headers.push(format!("h{number}"), Some("v".into()))),
            6 => headers.push("trace", Some(offset.to_string().into())),
            _ => {}
        }
        headers
    }

    /// Whole milliseconds, which is what Kafka keeps.
    fn timestamp_us(&self, partition: i32, offset: i64) -> Option<i64> {
        let mut dice = self.dice(partition, offset, 11);
        let ms = match dice.roll(20) {
            0 => return None,
            1 => 0,
            2 => LAST_MS,
            3 => dice.roll(LAST_MS as u64) as i64,
            // Out of order by up to an hour.
            4..=8 => ABOUT_NOW_MS + offset * 10 - dice.roll(3_600_000) as i64,
            _ => ABOUT_NOW_MS + offset * 10,
        };
        Some(ms * 1_000)
    }

    fn dice(&self, partition: i32, offset: i64, of: u64) -> Dice {
        let mut dice = Dice::new(self.seed ^ (partition as u64) << 48 ^ of << 40 ^ offset as u64);
        dice.bits();
        dice
    }
}

/// So many ASCII characters that need no escape in JSON.
fn text(seed: i64, count: usize) -> String {
    let mut dice = Dice::new(seed as u64);
    let noise = (0..count / 4).map(|_| char::from(b'a' + dice.roll(26) as u8)).collect::<String>();
    noise + &"x".repeat(count - count / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_come_up_and_come_again() {
        let awkward = Awkward::bytes(1, 100_000).with_oversized();
        let all: Vec<Record> =
            awkward.offsets(0, 2_000).into_iter().map(|offset| awkward.record("t", 0, offset)).collect();
        let again = Awkward::bytes(1, 100_000).with_oversized();
        let count = |has: &dyn Fn(&Record) -> bool| all.iter().filter(|record| has(record)).count();
        let is_empty = |payload: &Payload| payload.bytes().is_some_and(|bytes| bytes.is_empty());
        assert!(all.iter().all(|record| *record == again.record("t", 0, record.origin.offset)));
        assert!(count(&|record| record.value == Payload::Absent) > 50);
        assert!(count(&|record| is_empty(&record.value)) > 50);
        assert!(count(&|record| is_empty(&record.value) && !record.headers.is_empty()) > 10);
        assert!(
            count(&|record| record.key == Payload::Absent) > 50
                && count(&|record| is_empty(&record.key)) > 50
        );
        assert!(count(&|record| record.value.len() == 100_000) > 5);
        assert!(count(&|record| record.value.len() > 100_000) > 5);
        assert!(count(&|record| record.timestamp_us.is_none()) > 50);
        assert!(count(&|record| record.headers.len() > 1) > 50);
        let last = all.last().map_or(0, |record| record.origin.offset);
        assert!(last > 2_200, "hardly a hole: {last}");
        let json = Awkward::json(1, 100_000);
        let value = json.record("t", 3, 7).value;
        let text = String::from_utf8(value.bytes().unwrap().to_vec()).unwrap();
        assert!(
            text.starts_with("{\"partition\":3,\"offset\":7,\"pad\":\"") && text.ends_with("\"}"),
            "{text}"
        );
    }
}
