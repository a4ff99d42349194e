//! The bytes of Protobuf: tags, varints, lengths. <https://protobuf.dev/programming-guides/encoding/>

use aqueduct_api::value::Span;

use aqueduct_api::Fault;

/// How the bytes of a field end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Varint,
    Fixed64,
    Counted,
    GroupStart,
    GroupEnd,
    Fixed32,
}

/// The place in the bytes; the end is that of the message which is being read.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
    pub(crate) end: usize,
}

impl Cursor<'_> {
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    /// The number of a field, and how its bytes end.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<(u32, Wire), Fault> {
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Counted,
            3 => Wire::GroupStart,
            4 => Wire::GroupEnd,
            5 => Wire::Fixed32,
            other => return Err(Fault::new(format!("wire type {other} does not exist"))),
        };
        match u32::try_from(key >> 3) {
            Ok(number @ 1..0x2000_0000) => Ok((number, wire)),
            _ => Err(Fault::new(format!("field number {} does not exist", key >> 3))),
        }
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        let left = &self.bytes[self.at..self.end];
        // One byte does for most tags, lengths and small numbers.
        if let Some(byte) = left.first().filter(|byte| **byte < 0x80) {
            self.at += 1;
            return Ok(u64::from(*byte));
        }
        self.varint_of_many()
    }

    fn varint_of_many(&mut self) -> Result<u64, Fault> {
        let left = &self.bytes[self.at..self.end];
        let mut number = 0;
        for (index, byte) in left.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                // The tenth byte has room for one bit.
                if index == 9 && *byte > 1 {
                    break;
                }
                self.at += index + 1;
                return Ok(number);
            }
        }
        Err(Fault::new(if left.len() < 10 {
            "a number ends behind the last byte"
        } else {
            "a number of more than 64 bits"
        }))
    }

    /// The end of what a length announces, which lies inside the message.
    #[inline]
    pub(crate) fn counted_end(&mut self) -> Result<usize, Fault> {
        let count = self.varint()?;
        let left = self.end - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left => Ok(self.at + count),
            _ => Err(Fault::new(format!("{count} bytes are announced and {left} are there"))),
        }
    }

    #[inline]
    pub(crate) fn counted(&mut self) -> Result<Span, Fault> {
        let end = self.counted_end()?;
        let span = Span::new(self.at, end - self.at);
        self.at = end;
        span.ok_or_else(|| Fault::new("the payload has more than 4 GiB"))
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let left = &self.bytes[self.at..self.end];
        let array = left.first_chunk().ok_or_else(|| Fault::new("the value is cut off"))?;
        self.at += N;
        Ok(*array)
    }

    /// Passes over the value of a field that nobody knows.
    pub(crate) fn skip(&mut self, number: u32, wire: Wire, depth: u32) -> Result<(), Fault> {
        match wire {
            Wire::Varint => self.varint().map(drop),
            Wire::Fixed64 => self.array::<8>().map(drop),
            Wire::Fixed32 => self.array::<4>().map(drop),
            Wire::Counted => self.counted_end().map(|end| self.at = end),
            Wire::GroupEnd => Err(Fault::new("a group ends that did not begin")),
            Wire::GroupStart => loop {
                let (inner, wire) = self.tag()?;
                if wire == Wire::GroupEnd {
                    if inner == number {
                        return Ok(());
                    }
                    return Err(Fault::new("a group ends that did not begin"));
                }
                self.skip(inner, wire, deeper(depth)?)?;
            },
        }
    }
}

/// Deeper messages are refused, as the official libraries do: each level costs stack.
pub(crate) const DEPTH_MAX: u32 = 100;

pub(crate) fn deeper(depth: u32) -> Result<u32, Fault> {
    depth.checked_sub(1).ok_or_else(|| Fault::new(format!("the value is nested more than {DEPTH_MAX} deep")))
}

#[inline]
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[inline]
pub(crate) fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[inline]
pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, wire: Wire) {
    put_varint(out, u64::from(number) << 3 | wire as u64);
}

/// Writes the length of what `write` appends in front of it. Most lengths take one byte; for a longer one what was
/// written moves on.
pub(crate) fn put_counted(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let start = out.len();
    out.push(0);
    write(out)?;
    let count = out.len() - start - 1;
    if count < 0x80 {
        out[start] = count as u8;
    } else {
        let mut length = Vec::with_capacity(5);
        put_varint(&mut length, count as u64);
        out.splice(start..=start, length);
    }
    Ok(())
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
