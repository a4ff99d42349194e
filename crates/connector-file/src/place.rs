//! Places in a file, and what shows that it is still the same file.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use aqueduct_api::murmur2::murmur2;

/// So much of the beginning of a file, and so much in front of a place, has to be what it was.
const HEAD_BYTES: usize = 1024;
const TAIL_BYTES: usize = 4096;

/// A position between two lines, as it is stored: `byte@line`, `+lines` of the files before it that it took the place of, and
/// `#` with the fingerprint of what stands in front of it. Earlier versions stored no fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bytes before it.
    pub(crate) byte: u64,
    /// Lines before it.
    pub(crate) line: u64,
    /// Lines of other files before this one.
    pub(crate) lines_before: u64,
    pub(crate) fingerprint: Option<String>,
}

impl Place {
    pub(crate) fn read(position: &str) -> Option<Self> {
        let (rest, fingerprint) = match position.split_once('#') {
            Some((rest, fingerprint)) => (rest, Some(fingerprint.to_owned())),
            None => (position, None),
        };
        let (byte, lines) = rest.split_once('@')?;
        let (line, before) = lines.split_once('+').unwrap_or((lines, "0"));
        let (byte, line, lines_before) = (byte.parse().ok()?, line.parse().ok()?, before.parse().ok()?);
        // No file has as many; the numbers of its lines are to be counted on from there.
        let counts = [byte, line, lines_before].iter().all(|it: &u64| *it <= u64::from(u32::MAX) << 24);
        counts.then_some(Self { byte, line, lines_before, fingerprint })
    }

    /// The number of the next line, from 0, counted through all files.
    pub(crate) fn offset(&self) -> i64 {
        i64::try_from(self.lines_before + self.line).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.byte, self.line)?;
        if self.lines_before > 0 {
            write!(f, "+{}", self.lines_before)?;
        }
        match &self.fingerprint {
            Some(fingerprint) => write!(f, "#{fingerprint}"),
            None => Ok(()),
        }
    }
}

/// The bytes that lead to a place: of the beginning of the file, and those just in front of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trail {
    /// The place.
    pub(crate) byte: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Trail {
    /// The trail that leads there in that file; an error of kind `UnexpectedEof` where it is shorter.
    pub(crate) fn of(file: &File, byte: u64) -> io::Result<Self> {
        let part = |most: usize| vec![0; usize::try_from(byte).map_or(most, |byte| byte.min(most))];
        let (mut head, mut tail) = (part(HEAD_BYTES), part(TAIL_BYTES));
        file.read_exact_at(&mut head, 0)?;
        let tail_at = byte - tail.len() as u64;
        file.read_exact_at(&mut tail, tail_at)?;
        Ok(Self { byte, head, tail })
    }

    /// Goes on behind these bytes.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        self.byte += bytes.len() as u64;
        let missing = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        let kept = TAIL_BYTES.saturating_sub(bytes.len()).min(self.tail.len());
        self.tail.drain(..self.tail.len() - kept);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
    }

    /// The byte in front of the place.
    pub(crate) fn last(&self) -> Option<u8> {
        self.tail.last().copied()
    }

    /// Nothing at the beginning of a file, where all files are the same.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        (self.byte > 0).then(|| format!("{:08x}{:08x}", murmur2(&self.head), murmur2(&self.tail)))
    }

    /// Whether what stands in front of the place is still there.
    pub(crate) fn is_in(&self, file: &File) -> io::Result<bool> {
        match Self::of(file, self.byte) {
            Ok(there) => Ok(there == *self),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says where it failed by panicking")]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn positions_read_back_and_those_of_earlier_versions_do() {
        for text in ["0@0", "17@3", "17@3#0a0b0c0d01020304", "0@0+9", "17@3+2000#0a0b0c0d01020304"] {
            assert_eq!(Place::read(text).unwrap().to_string(), text);
        }
        assert_eq!(Place::read("5@4+10").unwrap().offset(), 14);
        for text in
            ["3@18446744073709551615", "3@1+18446744073709551615", "", "17", "x@1", "1@x", "1@1+", "-1@0"]
        {
            assert_eq!(Place::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_trail_is_the_same_however_it_was_gone() {
        let path = std::env::temp_dir().join(format!("aqueduct-trail-{}", std::process::id()));
        let bytes: Vec<u8> = (0..20_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for steps in [&[1, 2, 3][..], &[1_000, 100, 3_000, 5_000], &[4_096], &[0, 60_000, 1]] {
            let mut gone = Trail::default();
            assert_eq!(gone.fingerprint(), None);
            for step in steps {
                let at = gone.byte as usize;
                gone.pass(&bytes[at..at + step]);
                assert_eq!(gone, Trail::of(&file, gone.byte).unwrap());
                assert!(gone.is_in(&file).unwrap());
            }
            let mut other = gone.clone();
            other.tail[0] ^= 1;
            assert!(!other.is_in(&file).unwrap() && other.fingerprint() != gone.fingerprint());
        }
        let beyond = Trail { byte: 80_001, head: bytes[..1024].to_vec(), tail: bytes[..4096].to_vec() };
        assert!(!beyond.is_in(&file).unwrap());
    }
}
