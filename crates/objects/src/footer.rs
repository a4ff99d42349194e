//! How an object says what it holds. A compressed one carries a footer that every decoder skips: a skippable
//! frame of Zstandard (RFC 8878, 3.1.2), an empty member of gzip (RFC 1952, 2.3.1.1). An uncompressed one has
//! no room for that, and its lines are read back instead.

use aqueduct_api::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::Compression;
use crate::digest::Digest;

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
    /// A digest of their lines before compression: XXH3 of 128 bits in hexadecimal. Empty until it is finished.
    pub digest: String,
    /// What the source vouched for when it was begun: the id of the topic, for example.
    pub incarnation: Option<String>,
}

impl Footprint {
    /// Why an object with this footprint cannot be of an earlier run that began as `ours` does, if so.
    pub(crate) fn differs_from(&self, ours: &Footprint) -> Option<String> {
        let Footprint { pipeline, topic, partition, start_offset, incarnation, .. } = self;
        if (topic, *partition, *start_offset) != (&ours.topic, ours.partition, ours.start_offset) {
            return Some(format!(
                "it holds other records: topic {topic}, partition {partition}, from offset {start_offset}"
            ));
        }
        if *pipeline != ours.pipeline {
            return Some(format!("the pipeline `{pipeline}` wrote it"));
        }
        match (incarnation, &ours.incarnation) {
            (Some(theirs), Some(now)) if theirs != now => Some(format!(
                "it holds records of another `{topic}`, which was replaced since: {theirs} then, {now} now"
            )),
            _ => None,
        }
    }
}

const SKIPPABLE: [u8; 4] = 0x184D_2A5A_u32.to_le_bytes();
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// An empty final block, its checksum and its length.
const GZIP_END: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const MARK: &[u8; 4] = b"AQDT";
/// Longer ones are told apart by a digest, so that a footer stays within [`crate::store::TAIL_BYTES`].
const INCARNATION_BYTES_MAX: usize = 256;

/// What the source vouches for, as it stands in a footer.
pub(crate) fn incarnation(given: &str) -> String {
    if given.len() <= INCARNATION_BYTES_MAX {
        return given.to_owned();
    }
    let mut digest = Digest::new();
    digest.update(given.as_bytes());
    digest.hex()
}

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
            digest: "0123456789abcdef0123456789abcdef".into(),
            incarnation: Some("AAAAAAAAAAAAAAAAAAAAAQ".into()),
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
    fn what_is_no_footer_is_none() {
        for tail in [&b""[..], b"AQDT", b"\xff\xff\xff\xffAQDT", b"{}\x02\0\0\0AQDT", b"hello"] {
            assert_eq!(read(Compression::Zstd, tail), None);
            assert_eq!(read(Compression::Gzip, tail), None);
        }
    }

    #[test]
    fn the_longest_fits_into_the_tail() {
        let footprint = Footprint {
            pipeline: "\"".repeat(200),
            topic: "\"".repeat(249),
            partition: i32::MAX,
            start_offset: i64::MAX,
            last_offset: i64::MAX,
            records: u64::MAX,
            incarnation: Some("i".repeat(INCARNATION_BYTES_MAX)),
            ..footprint()
        };
        let mut out = Vec::new();
        write(Compression::Gzip, &footprint, &mut out).unwrap();
        assert!(out.len() <= crate::store::TAIL_BYTES, "{}", out.len());
    }

    #[test]
    fn what_another_wrote_is_not_ours() {
        let ours = footprint();
        let other_end = Footprint { last_offset: 9, records: 1, digest: String::new(), ..footprint() };
        assert_eq!(ours.differs_from(&other_end), None);
        assert_eq!(ours.differs_from(&Footprint { incarnation: None, ..footprint() }), None, "not known");
        for (other, why) in [
            (
                Footprint { topic: "refunds".into(), ..footprint() },
                "it holds other records: topic refunds, partition 3, from offset 5",
            ),
            (Footprint { pipeline: "q".into(), ..footprint() }, "the pipeline `q` wrote it"),
            (
                Footprint { incarnation: Some("B".into()), ..footprint() },
                "it holds records of another `orders`, which was replaced since: B then, \
                 AAAAAAAAAAAAAAAAAAAAAQ now",
            ),
        ] {
            assert_eq!(other.differs_from(&ours).as_deref(), Some(why));
        }
    }
}
