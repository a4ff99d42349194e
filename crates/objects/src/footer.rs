//! How an object says where it ends. A compressed one carries a footer that every decoder skips: a skippable
//! frame of Zstandard (RFC 8878, 3.1.2), an empty member of gzip (RFC 1952, 2.3.1.1). An uncompressed one has
//! no room for that and needs none: the records that a replay brings again add up to its length.

use aqueduct_api::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::Compression;
use crate::store::Found;

/// Which records an object holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// The pipeline that wrote it.
    pub pipeline: String,
    /// The topic of its records.
    pub topic: String,
    /// Their partition.
    pub partition: i32,
    /// The offset of the first one; it stands in the name as well.
    pub start_offset: i64,
    /// The offset of the last one.
    pub last_offset: i64,
    /// How many there are.
    pub records: u64,
}

/// Where a group goes on after an object that was there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// After this offset.
    Offset(i64),
    /// When so many bytes of records were met.
    Bytes(u64),
}

const SKIPPABLE: [u8; 4] = 0x184D_2A5A_u32.to_le_bytes();
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// An empty final block, its checksum and its length.
const GZIP_END: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const MARK: &[u8; 4] = b"AQDT";

/// What is appended to an object; nothing for an uncompressed one.
pub(crate) fn write(compression: Compression, footprint: &Footprint, out: &mut Vec<u8>) -> Result<()> {
    let mut body =
        serde_json::to_vec(footprint).map_err(|error| Error::fatal("no footer").caused_by(error))?;
    body.extend((body.len() as u32).to_le_bytes());
    body.extend(MARK);
    match compression {
        Compression::None => {}
        Compression::Zstd => {
            out.extend(SKIPPABLE);
            out.extend((body.len() as u32).to_le_bytes());
            out.extend(body);
        }
        Compression::Gzip => {
            out.extend(GZIP_HEADER);
            out.extend((body.len() as u16 + 4).to_le_bytes());
            out.extend(b"AQ");
            out.extend((body.len() as u16).to_le_bytes());
            out.extend(body);
            out.extend(GZIP_END);
        }
    }
    Ok(())
}

/// The footprint of a compressed object, from its end.
pub(crate) fn read(compression: Compression, tail: &[u8]) -> Option<Footprint> {
    let tail = match compression {
        Compression::None => return None,
        Compression::Zstd => tail,
        Compression::Gzip => tail.strip_suffix(&GZIP_END)?,
    };
    let (rest, length) = tail.strip_suffix(MARK)?.split_last_chunk::<4>()?;
    let body = rest.len().checked_sub(u32::from_le_bytes(*length) as usize)?;
    serde_json::from_slice(&rest[body..]).ok()
}

/// How far an object that was there already reaches. One that is not of this group is refused: taken for
/// ours, it would lose records.
pub(crate) fn adopt(compression: Compression, name: &str, found: &Found, ours: &Footprint) -> Result<Until> {
    let refuse = |why: String| {
        Error::config(format!("`{name}` exists already, and {why}"))
            .remedy("move it away, or change `path` so that names do not meet")
    };
    if compression == Compression::None {
        return match found.bytes {
            0 => Err(refuse("it is empty, so this pipeline did not write it".into())),
            bytes => Ok(Until::Bytes(bytes)),
        };
    }
    let theirs = read(compression, &found.tail)
        .ok_or_else(|| refuse("it does not end as this pipeline's objects do".into()))?;
    if (&theirs.topic, theirs.partition, theirs.start_offset)
        != (&ours.topic, ours.partition, ours.start_offset)
    {
        return Err(refuse(format!(
            "it holds other records: topic {}, partition {}, from offset {}",
            theirs.topic, theirs.partition, theirs.start_offset
        )));
    }
    Ok(Until::Offset(theirs.last_offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn footprint() -> Footprint {
        Footprint {
            pipeline: "p".into(),
            topic: "orders".into(),
            partition: 3,
            start_offset: 5,
            last_offset: 141,
            records: 99,
        }
    }

    #[test]
    fn decoders_skip_it_and_we_find_it() {
        let mut zstd = zstd::encode_all(&b"one\ntwo\n"[..], 3).unwrap();
        write(Compression::Zstd, &footprint(), &mut zstd).unwrap();
        assert_eq!(zstd::decode_all(&zstd[..]).unwrap(), b"one\ntwo\n");
        assert_eq!(read(Compression::Zstd, &zstd), Some(footprint()));

        let mut gzip = Vec::new();
        flate2::read::GzEncoder::new(&b"one\ntwo\n"[..], flate2::Compression::fast())
            .read_to_end(&mut gzip)
            .unwrap();
        write(Compression::Gzip, &footprint(), &mut gzip).unwrap();
        let mut plain = String::new();
        flate2::read::MultiGzDecoder::new(&gzip[..]).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, "one\ntwo\n");
        assert_eq!(read(Compression::Gzip, &gzip), Some(footprint()));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for tail in [&b""[..], b"AQDT", b"\xff\xff\xff\xffAQDT", b"{}\x02\0\0\0AQDT", b"hello"] {
            let found = Found { bytes: tail.len() as u64, tail: tail.to_vec().into() };
            assert!(adopt(Compression::Zstd, "n", &found, &footprint()).is_err());
            assert!(adopt(Compression::Gzip, "n", &found, &footprint()).is_err());
        }
        let mut other = Vec::new();
        write(Compression::Zstd, &Footprint { topic: "refunds".into(), ..footprint() }, &mut other).unwrap();
        let found = Found { bytes: other.len() as u64, tail: other.into() };
        assert_eq!(
            adopt(Compression::Zstd, "a/b", &found, &footprint()).unwrap_err().to_string(),
            "`a/b` exists already, and it holds other records: topic refunds, partition 3, from offset 5; \
             move it away, or change `path` so that names do not meet"
        );
    }
}
