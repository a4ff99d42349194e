//! One record batch of magic 2 as it travels on the wire. The records inside stay bytes: only the header is read,
//! and only the base offset and the leader epoch, which lie outside the checksum, are ever written.
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;

const HEADER_BYTES: usize = 61;
/// Everything from here to the end is covered by the CRC-32C.
const CRC_FROM: usize = 21;
const COMPRESSION_MASK: i16 = 0b0111;
const COMPRESSION_CODE_MAX: i16 = 4;
const TRANSACTIONAL: i16 = 0b01_0000;
const CONTROL: i16 = 0b10_0000;

/// The fields of a batch header that a broker acts on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
}

/// A batch that has its place in a log.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) header: Header,
    pub(crate) base_offset: i64,
    pub(crate) bytes: Bytes,
}

impl Header {
    /// Reads and checks what a producer sent: exactly one sound batch of data.
    pub(crate) fn check(bytes: &[u8]) -> Result<Self, ResponseError> {
        if bytes.len() < HEADER_BYTES {
            return Err(ResponseError::CorruptMessage);
        }
        let mut header = &bytes[8..];
        let length = header.get_i32();
        let _leader_epoch = header.get_i32();
        if header.get_i8() != 2 {
            return Err(ResponseError::UnsupportedForMessageFormat);
        }
        let crc = header.get_u32();
        if usize::try_from(length) != Ok(bytes.len() - 12) || crc != crc32c::crc32c(&bytes[CRC_FROM..]) {
            return Err(ResponseError::CorruptMessage);
        }
        let parsed = Self::read(header);
        let count = (&bytes[57..]).get_i32();
        let sound = count > 0
            && parsed.last_offset_delta == count - 1
            && !parsed.is_control()
            && parsed.compression() <= COMPRESSION_CODE_MAX
            && (parsed.producer_id < 0 || (parsed.producer_epoch >= 0 && parsed.base_sequence >= 0));
        if sound { Ok(parsed) } else { Err(ResponseError::InvalidRecord) }
    }

    fn read(mut from: &[u8]) -> Self {
        Self {
            attributes: from.get_i16(),
            last_offset_delta: from.get_i32(),
            base_timestamp: from.get_i64(),
            max_timestamp: from.get_i64(),
            producer_id: from.get_i64(),
            producer_epoch: from.get_i16(),
            base_sequence: from.get_i32(),
        }
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    fn compression(&self) -> i16 {
        self.attributes & COMPRESSION_MASK
    }

    /// The sequence number of the last record; numbers wrap at `i32::MAX`.
    pub(crate) fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last & i64::from(i32::MAX)) as i32
    }
}

impl Batch {
    /// A checked batch, copied out of its request so that the request's memory can go.
    pub(crate) fn place(header: Header, bytes: &[u8], base_offset: i64) -> Self {
        let mut placed = BytesMut::from(bytes);
        placed[..8].copy_from_slice(&base_offset.to_be_bytes());
        placed[12..16].copy_from_slice(&0_i32.to_be_bytes());
        Self { header, base_offset, bytes: placed.freeze() }
    }

    /// The control batch that ends a transaction (KIP-98).
    pub(crate) fn marker(producer_id: i64, producer_epoch: i16, commit: bool, at: i64, now_ms: i64) -> Self {
        let mut record = BytesMut::new();
        record.put_slice(&[0, 0, 0]); // attributes, timestamp delta, offset delta
        record.put_slice(&[8, 0, 0, 0, i8::from(commit) as u8]); // key: version 0, type
        record.put_slice(&[12, 0, 0, 0, 0, 0, 0]); // value: version 0, coordinator epoch 0
        record.put_u8(0); // no headers
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + 1 + record.len());
        bytes.put_i64(at);
        bytes.put_i32((HEADER_BYTES - 12 + 1 + record.len()) as i32);
        bytes.put_i32(0);
        bytes.put_i8(2);
        bytes.put_u32(0);
        bytes.put_i16(TRANSACTIONAL | CONTROL);
        bytes.put_i32(0);
        bytes.put_i64(now_ms);
        bytes.put_i64(now_ms);
        bytes.put_i64(producer_id);
        bytes.put_i16(producer_epoch);
        bytes.put_i32(-1);
        bytes.put_i32(1);
        bytes.put_u8((record.len() as u8) << 1); // zigzag
        bytes.put_slice(&record);
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[17..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        Self { header: Header::read(&bytes[CRC_FROM..]), base_offset: at, bytes: bytes.freeze() }
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.header.last_offset_delta)
    }

    /// Offset and timestamp (ms) of the first record at or after `timestamp`. A compressed batch is not opened: it
    /// answers with its first record, so that a reader who starts there may see a few older ones but misses none.
    pub(crate) fn find_timestamp(&self, timestamp: i64) -> Option<(i64, i64)> {
        if self.header.max_timestamp < timestamp || self.header.is_control() {
            return None;
        }
        let first = (self.base_offset, self.header.base_timestamp);
        if self.header.compression() != 0 {
            return Some(first);
        }
        self.records().find(|(_, at)| *at >= timestamp).or(Some(first))
    }

    /// The offset of the record with the batch's largest timestamp; the last one when the batch is compressed.
    pub(crate) fn offset_of_max_timestamp(&self) -> i64 {
        let max = self.header.max_timestamp;
        let found = match self.header.compression() {
            0 => self.records().find(|(_, at)| *at == max).map(|(offset, _)| offset),
            _ => None,
        };
        found.unwrap_or_else(|| self.last_offset())
    }

    /// Offset and timestamp of each record of an uncompressed batch; ends early when the bytes make no sense.
    fn records(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        let mut rest = &self.bytes[HEADER_BYTES..];
        std::iter::from_fn(move || {
            let length = usize::try_from(varint(&mut rest)?).ok()?;
            let (mut record, after) = rest.split_at_checked(length)?;
            rest = after;
            let _attributes = record.split_off_first()?;
            let timestamp = self.header.base_timestamp.checked_add(varint(&mut record)?)?;
            Some((self.base_offset.checked_add(varint(&mut record)?)?, timestamp))
        })
    }
}

/// A zigzag variable-length integer, as in Protocol Buffers.
fn varint(from: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *from.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_has_a_sound_checksum_and_length() {
        let marker = Batch::marker(7, 3, true, 42, 1_000);
        assert_eq!(marker.last_offset(), 42);
        // A producer may not send control batches: everything else about it must be right.
        assert_eq!(Header::check(&marker.bytes), Err(ResponseError::InvalidRecord));
        let mut broken = marker.bytes.to_vec();
        broken[62] ^= 1;
        assert_eq!(Header::check(&broken), Err(ResponseError::CorruptMessage));
        assert_eq!(marker.records().collect::<Vec<_>>(), [(42, 1_000)]);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let marker = Batch::marker(7, 3, true, 42, 1_000);
        let header = Header { base_sequence: i32::MAX, last_offset_delta: 1, ..marker.header };
        assert_eq!(header.last_sequence(), 0);
    }

    #[test]
    fn varints_are_zigzag_and_bounded() {
        assert_eq!(varint(&mut &[3][..]), Some(-2));
        assert_eq!(varint(&mut &[0xac, 0x02][..]), Some(150));
        assert_eq!(varint(&mut &[0xff; 12][..]), None);
        assert_eq!(varint(&mut &[0x80][..]), None);
    }
}
