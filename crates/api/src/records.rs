//! The records of a batch. A source that reads many small ones packs them: then a batch crosses the engine as one piece
//! of memory with a row for each record, and the records are made by the first that looks at one.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::error::Error;
use crate::record::{Headers, Origin, Payload, Record};

/// Records in source order; a slice of them wherever one is wanted.
#[derive(Default)]
pub struct Records {
    packed: Option<Packed>,
    made: OnceLock<Vec<Record>>,
    refused: Vec<(usize, Error)>,
    carried: bool,
}

/// Records of one partition, as they were read.
struct Packed {
    topic: Arc<str>,
    partition: i32,
    /// Keys and values, one behind the other: the memory that the records share.
    payloads: Bytes,
    /// What is allocated for them.
    allocated_bytes: usize,
    rows: Vec<Row>,
    /// Most records have none, so they stand apart, with the index of their row.
    headers: Vec<(usize, Headers)>,
}

/// One record: 24 bytes.
struct Row {
    offset: i64,
    /// [`NO_TIME`] for a record that has none.
    timestamp_us: i64,
    /// [`ABSENT`] for a record without.
    key_bytes: u32,
    value_bytes: u32,
}

const NO_TIME: i64 = i64::MIN;
const ABSENT: u32 = u32::MAX;

/// Packs records of one partition.
pub struct Packer {
    topic: Arc<str>,
    partition: i32,
    payloads: Vec<u8>,
    rows: Vec<Row>,
    headers: Vec<(usize, Headers)>,
    header_bytes: usize,
}

impl Packer {
    /// None yet, with room for so many records and so many bytes of keys and values. What is far from filled is given
    /// back at the end.
    pub fn new(topic: &str, partition: i32, records: usize, payload_bytes: usize) -> Self {
        Self {
            topic: topic.into(),
            partition,
            payloads: Vec::with_capacity(payload_bytes),
            rows: Vec::with_capacity(records),
            headers: Vec::new(),
            header_bytes: 0,
        }
    }

    /// Adds a record behind the others; offsets grow. No key and no value may have 4 GiB or more.
    pub fn add(
        &mut self,
        offset: i64,
        timestamp_us: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Headers,
    ) {
        if !headers.is_empty() {
            self.header_bytes += headers.memory_bytes();
            self.headers.push((self.rows.len(), headers));
        }
        let mut copy = |payload: Option<&[u8]>| {
            payload.map_or(ABSENT, |payload| {
                self.payloads.extend_from_slice(payload);
                payload.len() as u32
            })
        };
        let (key_bytes, value_bytes) = (copy(key), copy(value));
        let timestamp_us = timestamp_us.unwrap_or(NO_TIME);
        self.rows.push(Row { offset, timestamp_us, key_bytes, value_bytes });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.payloads.len() + self.header_bytes
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset of the last.
    pub fn last_offset(&self) -> Option<i64> {
        self.rows.last().map(|row| row.offset)
    }

    /// All of them.
    pub fn finish(self) -> Records {
        let Self { topic, partition, mut payloads, mut rows, headers, .. } = self;
        fit(&mut payloads);
        fit(&mut rows);
        let allocated_bytes = payloads.capacity() + rows.capacity() * size_of::<Row>();
        let packed = Packed { topic, partition, payloads: payloads.into(), allocated_bytes, rows, headers };
        Records { packed: Some(packed), ..Records::default() }
    }
}

/// What would stay empty of it is given back where it is much. The rest counts as memory that the records hold.
fn fit<T>(filled: &mut Vec<T>) {
    if filled.capacity() - filled.len() > filled.len() / 2 {
        filled.shrink_to_fit();
    }
}

impl Packed {
    fn unpack(&self) -> Vec<Record> {
        self.each().collect()
    }

    fn each(&self) -> EachPacked<'_> {
        EachPacked { packed: self, row: 0, start: 0, header: 0 }
    }

    fn header_bytes(&self) -> usize {
        self.headers.iter().map(|(_, headers)| headers.memory_bytes()).sum()
    }
}

/// Makes packed records, one behind the other.
struct EachPacked<'a> {
    packed: &'a Packed,
    row: usize,
    /// Where the payloads of that row begin.
    start: usize,
    /// The next of the headers.
    header: usize,
}

impl Iterator for EachPacked<'_> {
    type Item = Record;

    #[inline]
    fn next(&mut self) -> Option<Record> {
        let (packed, row) = (self.packed, self.packed.rows.get(self.row)?);
        let mut payload = |bytes: u32| {
            if bytes == ABSENT {
                return Payload::Absent;
            }
            let start = self.start;
            self.start += bytes as usize;
            Payload::Raw(packed.payloads.slice(start..self.start))
        };
        let (key, value) = (payload(row.key_bytes), payload(row.value_bytes));
        let headers = match packed.headers.get(self.header) {
            Some((of, headers)) if *of == self.row => {
                self.header += 1;
                headers.clone()
            }
            _ => Headers::default(),
        };
        self.row += 1;
        Some(Record {
            topic: Arc::clone(&packed.topic),
            origin: Origin { partition: packed.partition, offset: row.offset },
            key,
            value,
            headers,
            timestamp_us: row.time(),
        })
    }

    /// Those before it are not made.
    fn nth(&mut self, count: usize) -> Option<Record> {
        let passed = self.packed.rows.get(self.row..self.row.saturating_add(count))?;
        self.start += passed.iter().map(Row::payload_bytes).sum::<usize>();
        self.row += count;
        let headers = self.packed.headers.get(self.header..).unwrap_or_default();
        self.header += headers.partition_point(|(of, _)| *of < self.row);
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.packed.rows.len() - self.row;
        (left, Some(left))
    }
}

impl Row {
    fn payload_bytes(&self) -> usize {
        [self.key_bytes, self.value_bytes]
            .into_iter()
            .filter(|bytes| *bytes != ABSENT)
            .map(|it| it as usize)
            .sum()
    }

    fn time(&self) -> Option<i64> {
        (self.timestamp_us != NO_TIME).then_some(self.timestamp_us)
    }
}

impl Records {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.packed.as_ref().map_or_else(|| self.made().len(), |packed| packed.rows.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and values.
    pub fn payload_bytes(&self) -> usize {
        match &self.packed {
            Some(packed) => packed.payloads.len(),
            None => self.made().iter().map(|record| record.key.len() + record.value.len()).sum(),
        }
    }

    /// Bytes they hold in memory, roughly, once all of them are made: what is allocated, filled or not.
    pub fn memory_bytes(&self) -> usize {
        match &self.packed {
            Some(packed) => {
                packed.allocated_bytes + packed.header_bytes() + packed.rows.len() * Record::FIXED_BYTES
            }
            None => self.made().iter().map(Record::memory_bytes).sum(),
        }
    }

    /// The event time of the last, in microseconds since 1970.
    pub fn last_timestamp_us(&self) -> Option<i64> {
        match &self.packed {
            Some(packed) => packed.rows.last()?.time(),
            None => self.made().last()?.timestamp_us,
        }
    }

    /// Some of them are none: by index, in order, why the source could not make a record of what it read. Their value is what
    /// it read, and they never pass: `errors.on_bad_record` decides.
    #[must_use]
    pub fn with_refused(mut self, refused: Vec<(usize, Error)>) -> Self {
        self.refused = refused;
        self
    }

    /// Takes out what [`Records::with_refused`] put in.
    pub fn take_refused(&mut self) -> Vec<(usize, Error)> {
        std::mem::take(&mut self.refused)
    }

    /// Their coordinates are those of another place, which the records carry with them, as a copy of a topic in a file does.
    /// The source vouches for the order in which it gives them, not for theirs: one that was written twice comes twice.
    #[must_use]
    pub fn carried(mut self) -> Self {
        self.carried = true;
        self
    }

    /// See [`Records::carried`].
    pub fn are_carried(&self) -> bool {
        self.carried
    }

    /// Topic and coordinates of each, in order; packed records are not made for it.
    pub fn origins(&self) -> impl Iterator<Item = (&Arc<str>, Origin)> {
        let packed = self.packed.iter().flat_map(|packed| {
            let origin = |row: &Row| Origin { partition: packed.partition, offset: row.offset };
            packed.rows.iter().map(move |row| (&packed.topic, origin(row)))
        });
        let made = if self.packed.is_some() { &[][..] } else { self.made() };
        packed.chain(made.iter().map(|record| (&record.topic, record.origin)))
    }

    /// Leaves out what is at this offset or behind it; all are of one partition.
    pub fn cut(&mut self, offset: i64) {
        if let Some(packed) = &mut self.packed {
            let kept = packed.rows.partition_point(|row| row.offset < offset);
            packed.rows.truncate(kept);
            packed.headers.retain(|(index, _)| *index < kept);
            self.made.take();
        } else if let Some(made) = self.made.get_mut() {
            made.retain(|record| record.origin.offset < offset);
        }
    }

    /// A copy of each, one by one: packed ones stay packed, and are made while the one that wants them has them in its
    /// cache.
    pub fn each(&self) -> Each<'_> {
        Each(match &self.packed {
            Some(packed) => Of::Packed(packed.each()),
            None => Of::Made(self.made().iter()),
        })
    }

    /// Each as a value of its own.
    pub fn into_vec(self) -> Vec<Record> {
        let packed = self.packed;
        self.made.into_inner().unwrap_or_else(|| packed.as_ref().map(Packed::unpack).unwrap_or_default())
    }

    fn made(&self) -> &[Record] {
        self.made.get_or_init(|| self.packed.as_ref().map(Packed::unpack).unwrap_or_default())
    }
}

/// See [`Records::each`].
pub struct Each<'a>(Of<'a>);

enum Of<'a> {
    Packed(EachPacked<'a>),
    Made(std::slice::Iter<'a, Record>),
}

impl Iterator for Each<'_> {
    type Item = Record;

    #[inline]
    fn next(&mut self) -> Option<Record> {
        match &mut self.0 {
            Of::Packed(packed) => packed.next(),
            Of::Made(made) => made.next().cloned(),
        }
    }

    fn nth(&mut self, count: usize) -> Option<Record> {
        match &mut self.0 {
            Of::Packed(packed) => packed.nth(count),
            Of::Made(made) => made.nth(count).cloned(),
        }
    }
}

impl Deref for Records {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        self.made()
    }
}

impl From<Vec<Record>> for Records {
    fn from(records: Vec<Record>) -> Self {
        Self { made: OnceLock::from(records), ..Self::default() }
    }
}

impl FromIterator<Record> for Records {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        records.into_iter().collect::<Vec<_>>().into()
    }
}

impl IntoIterator for Records {
    type Item = Record;
    type IntoIter = std::vec::IntoIter<Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = &'a Record;
    type IntoIter = std::slice::Iter<'a, Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.made().iter()
    }
}

/// How many there are: what they say is nobody's business in a log.
impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packer() -> Packer {
        let mut packer = Packer::new("t", 3, 4, 16);
        let mut headers = Headers::default();
        headers.push("h", Some(Bytes::from_static(b"1")));
        packer.add(7, Some(-5), Some(b"key"), Some(b"value"), Headers::default());
        packer.add(8, None, None, Some(b""), headers.clone());
        packer.add(12, Some(9), Some(b""), None, headers);
        packer
    }

    fn expected() -> Vec<Record> {
        let record = |offset, key: Option<&'static str>, value: Option<&'static str>, timestamp_us| Record {
            topic: "t".into(),
            origin: Origin { partition: 3, offset },
            key: key.map_or(Payload::Absent, Payload::from),
            value: value.map_or(Payload::Absent, Payload::from),
            headers: Headers::default(),
            timestamp_us,
        };
        let mut all = vec![
            record(7, Some("key"), Some("value"), Some(-5)),
            record(8, None, Some(""), None),
            record(12, Some(""), None, Some(9)),
        ];
        all[1].headers.push("h", Some(Bytes::from_static(b"1")));
        all[2].headers.push("h", Some(Bytes::from_static(b"1")));
        all
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        let packed = packer();
        assert_eq!((packed.len(), packed.last_offset()), (3, Some(12)));
        assert!(packed.bytes() > 8, "headers count");
        let (packed, made) = (packed.finish(), Records::from(expected()));
        for records in [&packed, &made] {
            assert_eq!((records.len(), records.payload_bytes()), (3, 8));
            assert_eq!(records.last_timestamp_us(), Some(9));
        }
        assert!(packed.memory_bytes() >= made.memory_bytes());
        for records in [&packed, &made] {
            assert_eq!(records.each().collect::<Vec<_>>(), expected(), "one by one");
            for index in 0..4 {
                assert_eq!(records.each().nth(index).as_ref(), expected().get(index), "one of them");
                assert_eq!(records.each().skip(index).count(), 3_usize.saturating_sub(index));
            }
        }
        assert_eq!(*packed, expected()[..], "looked at");
        assert_eq!(packed.into_vec(), expected(), "and taken");
        assert_eq!(packer().finish().into_vec(), expected(), "taken at once");
    }

    #[test]
    fn what_is_allocated_counts_and_hardly_anything_of_it_is_empty() {
        let mut packer = Packer::new("t", 0, 2_000, 1 << 20);
        packer.add(0, None, None, Some(b"small"), Headers::default());
        assert!(packer.finish().memory_bytes() < 1_000, "what was reserved is given back");
        let mut packer = Packer::new("t", 0, 1, 1_000);
        packer.add(0, None, None, Some(&[7; 900]), Headers::default());
        assert!(packer.finish().memory_bytes() >= 1_000, "the rest counts");
    }

    #[test]
    fn what_is_cut_off_is_gone_whether_it_was_looked_at_or_not() {
        for (offset, left) in [(7, 0), (8, 1), (9, 2), (12, 2), (13, 3)] {
            let (mut packed, mut seen, mut made) =
                (packer().finish(), packer().finish(), Records::from(expected()));
            assert_eq!(seen.iter().count(), 3);
            for records in [&mut packed, &mut seen, &mut made] {
                records.cut(offset);
                assert_eq!(records.len(), left, "before {offset}");
                assert_eq!(**records, expected()[..left]);
            }
        }
    }

    #[test]
    fn a_row_stays_small() {
        assert_eq!(size_of::<Row>(), 24);
    }
}
