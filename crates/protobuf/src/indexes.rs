//! Which of a file's messages the bytes are of: the numbers that a registry's producers write between the schema's id
//! and the message. <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/#wire-format>

use crate::wire::{Cursor, put_varint, unzigzag, zigzag};
use aqueduct_api::Fault;

/// Messages inside messages go no deeper.
const INDEXES_MAX: usize = 64;

/// Reads the numbers from byte `start` on: the place among the file's messages, then among the messages inside that
/// one, and so on. Gives them with the byte where the message begins.
///
/// # Errors
/// When there are no such numbers.
pub fn read_indexes(bytes: &[u8], start: usize) -> Result<(Vec<u32>, usize), Fault> {
    let mut cursor = Cursor { bytes, at: start.min(bytes.len()), end: bytes.len() };
    let mut number = || -> Result<u32, Fault> {
        let number = unzigzag(cursor.varint()?);
        u32::try_from(number).map_err(|_| Fault::new(format!("message index {number}")))
    };
    let count = number()? as usize;
    if count > INDEXES_MAX {
        return Err(Fault::new(format!("{count} message indexes, at most {INDEXES_MAX}")).at(start));
    }
    let mut indexes = Vec::with_capacity(count.max(1));
    for _ in 0..count {
        indexes.push(number()?);
    }
    if indexes.is_empty() {
        // The first message of the file, in one byte.
        indexes.push(0);
    }
    Ok((indexes, cursor.at))
}

/// Appends the numbers; the first message of the file is the one byte 0.
pub fn write_indexes(indexes: &[u32], out: &mut Vec<u8>) {
    if indexes == [0] {
        out.push(0);
        return;
    }
    put_varint(out, zigzag(indexes.len() as i64));
    for index in indexes {
        put_varint(out, zigzag(i64::from(*index)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_read_back_and_the_first_message_takes_one_byte() {
        for (indexes, bytes) in [
            (&[0][..], &[0][..]),
            (&[1], &[2, 2]),
            (&[1, 0], &[4, 2, 0]),
            (&[2, 1, 300], &[6, 4, 2, 0xd8, 4]),
        ] {
            let mut out = vec![9];
            write_indexes(indexes, &mut out);
            assert_eq!(&out[1..], bytes);
            assert_eq!(read_indexes(&out, 1), Ok((indexes.to_vec(), out.len())));
        }
        // Some producers write the long form.
        assert_eq!(read_indexes(&[2, 0, 7], 0), Ok((vec![0], 2)));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bytes in [&[][..], &[1], &[2], &[4, 2], &[2, 1], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
            assert!(read_indexes(bytes, 0).is_err(), "{bytes:?}");
        }
        assert!(read_indexes(&[0], 5).is_err());
    }
}
