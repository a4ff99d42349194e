//! Record batches of format 2, as producers make them: records are written one behind the other, then compressed and
//! given their head. <https://kafka.apache.org/documentation/#recordbatch>, and for lz4
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>

use std::io::{self, Write};

use aqueduct_api::{Payload, Record};
use bytes::{BufMut, Bytes};
use flate2::write::GzEncoder;

use crate::config::Compression;

/// Length of the head.
const HEAD: usize = 61;
/// What the checksum covers begins here: with the attributes.
const CHECKED: usize = 21;
/// What the length covers begins here: with the epoch of the leader.
const MEASURED: usize = 12;
/// Of the format.
const MAGIC: u8 = 2;
/// What snappy-java writes before its blocks, with two versions; Kafka's clients read nothing else.
const XERIAL: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// A block of it holds so much.
const XERIAL_BLOCK: usize = 32 << 10;
/// No more memory than this is kept for the next batch.
const KEPT_BYTES_MAX: usize = 512 << 10;
/// A frame of blocks that stand for themselves (the Java client reads no others, KIP-57), of 64 KiB each, without checksums:
/// magic number, flags, size of a block, and the checksum of these two.
const LZ4_HEAD: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const LZ4_BLOCK: usize = 64 << 10;
/// In the length of a block that is not compressed.
const LZ4_AS_IT_IS: u32 = 1 << 31;
/// Of a record that is nothing but its lengths: no varint inside is longer.
const RECORD_FIXED_MAX: usize = 40;

/// The producer id, epoch and base sequence of a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchSequence {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    /// The number of the first record, counted for each partition.
    pub(crate) base_sequence: i32,
}

/// The records of a batch that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    count: i32,
    base_ms: i64,
    max_ms: i64,
}

impl Records {
    /// None yet, with room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Appends a record; one without a time gets `now_ms`.
    pub(crate) fn push(&mut self, record: &Record, now_ms: i64) {
        let time_ms = record.timestamp_us.map_or(now_ms, |us| us.div_euclid(1_000));
        if self.count == 0 {
            (self.base_ms, self.max_ms) = (time_ms, time_ms);
        }
        self.max_ms = self.max_ms.max(time_ms);
        let delta_ms = time_ms.wrapping_sub(self.base_ms);
        let mut length = 1 + varint_length(delta_ms) + varint_length(i64::from(self.count));
        length += payload_length(&record.key) + payload_length(&record.value);
        length += varint_length(record.headers.len() as i64);
        for header in &record.headers {
            length += bytes_length(Some(header.name.as_bytes())) + bytes_length(header.value.as_deref());
        }
        let out = &mut self.bytes;
        out.reserve(length + 10);
        put_varint(out, length as i64);
        // Attributes: none is in use.
        out.push(0);
        put_varint(out, delta_ms);
        put_varint(out, i64::from(self.count));
        put_bytes(out, record.key.bytes().map(|bytes| &bytes[..]));
        put_bytes(out, record.value.bytes().map(|bytes| &bytes[..]));
        put_varint(out, record.headers.len() as i64);
        for header in &record.headers {
            put_bytes(out, Some(header.name.as_bytes()));
            put_bytes(out, header.value.as_deref());
        }
        self.count += 1;
    }

    /// How many there are.
    pub(crate) fn count(&self) -> i32 {
        self.count
    }

    /// How many bytes they take, before compression.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Makes batches; its memory is used again for each.
#[derive(Default)]
pub(crate) struct BatchEncoder {
    compression: Compression,
    out: Vec<u8>,
    /// A block between the compressor and its length.
    block: Vec<u8>,
}

impl BatchEncoder {
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, ..Self::default() }
    }

    /// The batch as it is sent and stored.
    ///
    /// # Errors
    /// Those of the compressor.
    pub(crate) fn encode(&mut self, records: &Records, sequence: BatchSequence) -> io::Result<Bytes> {
        self.out.clear();
        self.out.resize(HEAD, 0);
        let mut codec = self.compress(&records.bytes)?;
        let batch = &mut self.out;
        if batch.len() >= HEAD + records.bytes.len() {
            batch.truncate(HEAD);
            batch.extend_from_slice(&records.bytes);
            codec = 0;
        }
        let length = (batch.len() - MEASURED) as i32;
        let mut head = &mut batch[..HEAD];
        // The first offset, which the broker fills in.
        head.put_i64(0);
        head.put_i32(length);
        // The epoch of the leader, unknown.
        head.put_i32(-1);
        head.put_u8(MAGIC);
        head.put_u32(0);
        head.put_i16(codec);
        head.put_i32(records.count - 1);
        head.put_i64(records.base_ms);
        head.put_i64(records.max_ms);
        head.put_i64(sequence.producer_id);
        head.put_i16(sequence.producer_epoch);
        head.put_i32(sequence.base_sequence);
        head.put_i32(records.count);
        let checksum = crc32c::crc32c(&batch[CHECKED..]);
        batch[CHECKED - 4..CHECKED].copy_from_slice(&checksum.to_be_bytes());
        let made = Bytes::copy_from_slice(batch);
        if batch.capacity() > KEPT_BYTES_MAX {
            *batch = Vec::new();
        }
        Ok(made)
    }

    /// Appends what is compressed; returns its attribute in the head.
    fn compress(&mut self, records: &[u8]) -> io::Result<i16> {
        let Self { compression, out, block } = self;
        match compression {
            Compression::None => {
                out.extend_from_slice(records);
                Ok(0)
            }
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(records)?;
                encoder.finish()?;
                Ok(1)
            }
            Compression::Snappy => {
                let mut encoder = snap::raw::Encoder::new();
                block.resize(snap::raw::max_compress_len(XERIAL_BLOCK), 0);
                out.extend(XERIAL);
                for part in records.chunks(XERIAL_BLOCK) {
                    let length = encoder.compress(part, block)?;
                    out.extend((length as i32).to_be_bytes());
                    out.extend_from_slice(&block[..length]);
                }
                Ok(2)
            }
            Compression::Lz4 => {
                block.resize(lz4_flex::block::get_maximum_output_size(LZ4_BLOCK), 0);
                out.extend(LZ4_HEAD);
                for part in records.chunks(LZ4_BLOCK) {
                    let length = lz4_flex::block::compress_into(part, block).map_err(io::Error::other)?;
                    if length < part.len() {
                        out.extend((length as u32).to_le_bytes());
                        out.extend_from_slice(&block[..length]);
                    } else {
                        out.extend((part.len() as u32 | LZ4_AS_IT_IS).to_le_bytes());
                        out.extend_from_slice(part);
                    }
                }
                out.extend(0u32.to_le_bytes());
                Ok(3)
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.set_pledged_src_size(Some(records.len() as u64))?;
                encoder.write_all(records)?;
                encoder.finish()?;
                Ok(4)
            }
        }
    }
}

/// How many bytes a record takes in a batch, at most.
pub(crate) fn record_bytes_max(record: &Record) -> usize {
    let headers = record.headers.iter();
    let headers: usize =
        headers.map(|header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len) + 10).sum();
    record.key.len() + record.value.len() + headers + RECORD_FIXED_MAX
}

fn payload_length(payload: &Payload) -> usize {
    bytes_length(payload.bytes().map(|bytes| &bytes[..]))
}

fn bytes_length(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_length(bytes.len() as i64) + bytes.len())
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Zigzag, seven bits a byte, the lowest first.
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn varint_length(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::records::RecordBatchDecoder;
    use std::io::Read;

    const SEQUENCE: BatchSequence =
        BatchSequence { producer_id: 7_000_000_000, producer_epoch: 3, base_sequence: 41 };

    fn record(number: i64) -> Record {
        let raw = |text: String| Payload::Raw(Bytes::from(text));
        let mut record = Record {
            topic: "t".into(),
            origin: Default::default(),
            key: if number % 3 == 0 { Payload::Absent } else { raw(format!("key-{number}")) },
            value: if number % 4 == 0 { Payload::Absent } else { raw("v".repeat(number as usize * 7)) },
            headers: Default::default(),
            timestamp_us: Some(
                (1_700_000_000_000 + number * 977 * if number % 2 == 0 { 1 } else { -1 }) * 1_000,
            ),
        };
        if number % 5 == 0 {
            record.headers.push("one", Some(Bytes::from_static(b"\x00\xff")));
            record.headers.push("", None);
        }
        record
    }

    fn records() -> Records {
        let mut records = Records::with_capacity(0);
        (0..100).for_each(|number| records.push(&record(number), 0));
        records
    }

    /// Another implementation reads it.
    #[test]
    fn what_is_written_is_read_by_another() {
        let mut batch = BatchEncoder::new(Compression::None).encode(&records(), SEQUENCE).unwrap();
        let read = RecordBatchDecoder::decode(&mut batch).unwrap();
        assert!(batch.is_empty());
        assert_eq!(read.records.len(), 100);
        for (number, read) in (0..).zip(read.records) {
            let sent = record(number);
            assert_eq!(read.offset, number);
            assert_eq!(read.sequence, 41 + number as i32);
            assert_eq!((read.producer_id, read.producer_epoch), (7_000_000_000, 3));
            assert_eq!(Some(read.timestamp * 1_000), sent.timestamp_us);
            assert_eq!((read.key.as_ref(), read.value.as_ref()), (sent.key.bytes(), sent.value.bytes()));
            let headers: Vec<_> = read.headers.iter().map(|(name, value)| (&**name, value.clone())).collect();
            let expected: Vec<_> =
                sent.headers.iter().map(|header| (&*header.name, header.value.clone())).collect();
            assert_eq!(headers, expected);
        }
    }

    #[test]
    fn a_record_takes_no_more_than_was_said() {
        for number in 0..100 {
            let mut records = Records::with_capacity(0);
            records.push(&record(1), 0);
            let before = records.len();
            let mut far = record(number);
            far.timestamp_us = Some(i64::MIN);
            records.push(&far, 0);
            assert!(records.len() - before <= record_bytes_max(&far));
        }
    }

    #[test]
    fn each_compressor_is_undone_by_another_and_used_only_where_it_helps() {
        let records = records();
        for (compression, codec) in [
            (Compression::None, 0),
            (Compression::Gzip, 1),
            (Compression::Snappy, 2),
            (Compression::Lz4, 3),
            (Compression::Zstd, 4),
        ] {
            let mut encoder = BatchEncoder::new(compression);
            // Its memory is used again.
            encoder.encode(&records, SEQUENCE).unwrap();
            let batch = encoder.encode(&records, SEQUENCE).unwrap();
            assert_eq!(batch[CHECKED + 1], codec, "{compression:?}");
            let mut plain = Vec::new();
            let packed = &batch[HEAD..];
            match compression {
                Compression::None => plain.extend(packed),
                Compression::Gzip => {
                    flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).map(drop).unwrap();
                }
                Compression::Snappy => {
                    let mut rest = packed.strip_prefix(&XERIAL).unwrap();
                    while let Some((length, tail)) = rest.split_first_chunk() {
                        let (block, tail) = tail.split_at(i32::from_be_bytes(*length) as usize);
                        plain.extend(snap::raw::Decoder::new().decompress_vec(block).unwrap());
                        rest = tail;
                    }
                }
                Compression::Lz4 => {
                    lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut plain).map(drop).unwrap();
                }
                Compression::Zstd => plain = zstd::decode_all(packed).unwrap(),
            }
            assert_eq!(plain, records.bytes, "{compression:?}");
            let mut short = Records::with_capacity(0);
            short.push(&record(1), 0);
            assert_eq!(encoder.encode(&short, SEQUENCE).unwrap()[CHECKED + 1], 0, "{compression:?}");
        }
    }

    #[test]
    fn blocks_that_do_not_shrink_stand_as_they_are() {
        let mut noise = 1u64;
        let mut next = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 33) as u8
        };
        let mut records = Records::with_capacity(0);
        let value: Vec<u8> = (0..200_000).map(|at| if at < 100_000 { next() } else { 7 }).collect();
        records.push(&Record { value: Payload::Raw(value.into()), ..record(1) }, 0);
        let batch = BatchEncoder::new(Compression::Lz4).encode(&records, SEQUENCE).unwrap();
        assert!(batch.len() < records.len());
        let mut plain = Vec::new();
        lz4_flex::frame::FrameDecoder::new(&batch[HEAD..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, records.bytes);
    }
}
