//! Decimals: whole numbers in big-endian two's complement, divided by a power of ten, to digits and back, without
//! rounding and without a bound but the one on their bytes.

use super::fault::Fault;

/// Wider decimals are refused: the time they take grows with the square of their width.
const BYTES_MAX: usize = 4096;

/// Appends the digits: `-12.50` for a scale of 2.
pub(crate) fn write(bytes: &[u8], scale: u32, out: &mut Vec<u8>) -> Result<(), Fault> {
    let (negative, digits) = digits_of(bytes)?;
    let scale = scale as usize;
    if negative {
        out.push(b'-');
    }
    let whole = digits.len().saturating_sub(scale);
    out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
    if scale > 0 {
        out.push(b'.');
        out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(&digits[whole..]);
    }
    Ok(())
}

/// The digits of the whole number, and whether it is below zero.
fn digits_of(bytes: &[u8]) -> Result<(bool, Vec<u8>), Fault> {
    if bytes.is_empty() {
        return Err(Fault::new("a decimal of no bytes"));
    }
    let negative = bytes[0] >= 0x80;
    if bytes.len() <= 8 {
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[8 - bytes.len()..].copy_from_slice(bytes);
        let number = i64::from_be_bytes(wide).unsigned_abs();
        return Ok((negative, itoa::Buffer::new().format(number).as_bytes().to_vec()));
    }
    if bytes.len() > BYTES_MAX {
        return Err(Fault::new(format!("a decimal of {} bytes; {BYTES_MAX} is the most", bytes.len())));
    }
    Ok((negative, long_digits(magnitude(bytes, negative))))
}

/// The number without its sign, in words of 32 bits, the highest first.
fn magnitude(bytes: &[u8], negative: bool) -> Vec<u32> {
    let fill = if negative { 0xff } else { 0 };
    let mut padded = vec![fill; bytes.len().next_multiple_of(4) - bytes.len()];
    padded.extend_from_slice(bytes);
    let mut words: Vec<u32> = padded.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word)).collect();
    if negative {
        let mut carry = true;
        for word in words.iter_mut().rev() {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
    }
    words
}

fn long_digits(mut words: Vec<u32>) -> Vec<u8> {
    const NINE_DIGITS: u64 = 1_000_000_000;
    let mut digits = Vec::with_capacity(words.len() * 10);
    let mut first = 0;
    while first < words.len() {
        let mut rest = 0;
        for word in &mut words[first..] {
            let divided = rest << 32 | u64::from(*word);
            (*word, rest) = ((divided / NINE_DIGITS) as u32, divided % NINE_DIGITS);
        }
        for _ in 0..9 {
            digits.push(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
        first += words[first..].iter().take_while(|word| **word == 0).count();
    }
    while digits.len() > 1 && digits.last() == Some(&b'0') {
        digits.pop();
    }
    digits.reverse();
    digits
}

/// The shortest bytes of a number as people write it, `-12.5` or `1.25e1`, at this scale. No digit is rounded away.
pub(crate) fn read(number: &str, precision: u32, scale: u32) -> Result<Vec<u8>, Fault> {
    let wrong = || Fault::new("the text is no decimal number");
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i64 = exponent.parse().map_err(|_| wrong())?;
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [whole, fraction].concat().into_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..zeros);
    if digits.is_empty() {
        return Ok(vec![0]);
    }
    // What the digits have to be moved by, so that the last one counts ten to the power of minus the scale.
    let shift = exponent.saturating_sub(fraction.len() as i64).saturating_add(scale.into());
    if digits.len() as i64 + shift > precision.into() {
        let before = precision.saturating_sub(scale);
        let says = format!(
            "the number has more than {before} digits before the point, for a decimal({precision}, {scale})"
        );
        return Err(Fault::new(says));
    }
    let spare = usize::try_from(-shift).unwrap_or(0).min(digits.len());
    if digits[digits.len() - spare..].iter().any(|digit| *digit != b'0') {
        return Err(Fault::new(format!("the number has more than {scale} digits behind the point")));
    }
    digits.truncate(digits.len() - spare);
    digits.resize(digits.len() + usize::try_from(shift).unwrap_or(0), b'0');
    Ok(bytes_of(&digits, negative))
}

/// The shortest bytes of a whole number.
fn bytes_of(digits: &[u8], negative: bool) -> Vec<u8> {
    // The lowest first.
    let mut words: Vec<u32> = Vec::with_capacity(digits.len() / 9 + 2);
    for nine in digits.chunks(9) {
        let mut carry = nine.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        for word in &mut words {
            let product = u64::from(*word) * 10_u64.pow(nine.len() as u32) + carry;
            (*word, carry) = (product as u32, product >> 32);
        }
        if carry > 0 {
            words.push(carry as u32);
        }
    }
    words.push(0);
    if negative {
        let mut carry = true;
        for word in &mut words {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
    }
    let bytes: Vec<u8> = words.iter().rev().flat_map(|word| word.to_be_bytes()).collect();
    shortest(&bytes).to_vec()
}

/// A number without the bytes in front that only repeat its sign.
pub(crate) fn shortest(bytes: &[u8]) -> &[u8] {
    let fill = if bytes.first().is_some_and(|byte| *byte >= 0x80) { 0xff } else { 0 };
    let spare = bytes.windows(2).take_while(|two| two[0] == fill && two[1] >> 7 == fill >> 7).count();
    &bytes[spare..]
}

/// A number brought to just so many bytes; nothing where it needs more.
pub(crate) fn widened(bytes: &[u8], to: usize) -> Option<Vec<u8>> {
    let fill = if bytes.first().is_some_and(|byte| *byte >= 0x80) { 0xff } else { 0 };
    let mut wide = vec![fill; to.checked_sub(bytes.len())?];
    wide.extend_from_slice(bytes);
    Some(wide)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8], scale: u32) -> String {
        let mut out = Vec::new();
        write(bytes, scale, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn digits_stand_where_the_scale_says() {
        for (bytes, scale, digits) in [
            (&[0][..], 0, "0"),
            (&[0], 2, "0.00"),
            (&[5], 2, "0.05"),
            (&[0xfb], 2, "-0.05"),
            (&[4, 0xd2], 2, "12.34"),
            (&[0x80], 0, "-128"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 5], 3, "0.005"),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0], 0, "18446744073709551616"),
            (
                &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                0,
                "-43556142965880123323311949751266331066368",
            ),
        ] {
            assert_eq!(text(bytes, scale), digits);
        }
    }

    #[test]
    fn nothing_is_rounded() {
        for (number, bytes) in [
            ("12.34", Ok(vec![4, 0xd2])),
            ("1234e-2", Ok(vec![4, 0xd2])),
            ("+12.3400", Ok(vec![4, 0xd2])),
            ("0.1234E2", Ok(vec![4, 0xd2])),
            ("-1.28", Ok(vec![0x80])),
            ("-0", Ok(vec![0])),
            ("12.345", Err("the number has more than 2 digits behind the point")),
            ("10000", Err("the number has more than 4 digits before the point, for a decimal(6, 2)")),
            (
                "1e999999999999",
                Err("the number has more than 4 digits before the point, for a decimal(6, 2)"),
            ),
            ("1e-999999999999", Err("the number has more than 2 digits behind the point")),
            ("1,5", Err("the text is no decimal number")),
            ("", Err("the text is no decimal number")),
        ] {
            assert_eq!(
                read(number, 6, 2).map_err(|fault| fault.to_string()),
                bytes.map_err(str::to_owned),
                "{number}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in proptest::collection::vec(any::<u8>(), 1..60), scale in 0_u32..40) {
            let digits = text(&bytes, scale);
            prop_assert_eq!(read(&digits, 400, scale).unwrap(), shortest(&bytes));
        }

        #[test]
        fn is_the_number_it_says(number in any::<i128>()) {
            prop_assert_eq!(text(&number.to_be_bytes(), 0), number.to_string());
        }
    }
}
