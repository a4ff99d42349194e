//! Decimal numbers of any length, from their digits to the bytes that Avro keeps them in.

use aqueduct_api::Fault;

/// A decimal number: digits, and ten to some power that they are multiplied by. No digit is lost.
#[derive(Debug, PartialEq)]
pub(crate) struct Digits {
    negative: bool,
    /// From 0 to 9, without zeros at either end; none for zero.
    digits: Vec<u8>,
    exponent: i64,
}

/// A whole number: the decimal without its point.
#[derive(Debug, PartialEq)]
pub(crate) struct Unscaled {
    negative: bool,
    /// From the last to the first.
    magnitude: Vec<u32>,
}

impl Digits {
    /// As JSON writes numbers: `-12.50e3`. Zeros in front are fine.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, behind) = number.split_once('.').unwrap_or((number, "0"));
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(behind) {
            return None;
        }
        let mut digits: Vec<u8> = whole
            .bytes()
            .chain(behind.bytes())
            .map(|digit| digit - b'0')
            .skip_while(|digit| *digit == 0)
            .collect();
        let mut exponent = i64::from(exponent) - behind.len() as i64;
        while digits.last() == Some(&0) {
            digits.pop();
            exponent += 1;
        }
        Some(Self { negative, digits, exponent })
    }

    /// As a whole number of 64 bits.
    pub(crate) fn whole(&self) -> Option<i64> {
        let number = self.unscaled(19, 0).ok()?.magnitude;
        let number = number.iter().rev().fold(0, |all, limb| all << 32 | i128::from(*limb));
        i64::try_from(if self.negative { -number } else { number }).ok()
    }

    /// Without its point, which stands `scale` digits from the end.
    ///
    /// # Errors
    /// When that loses a digit, or needs more than `precision` of them.
    pub(crate) fn unscaled(&self, precision: u32, scale: u32) -> Result<Unscaled, Fault> {
        if self.digits.is_empty() {
            return Ok(Unscaled { negative: false, magnitude: Vec::new() });
        }
        let zeros = self.exponent + i64::from(scale);
        if zeros < 0 {
            return Err(Fault::new(format!("the number has more than {scale} digits behind the point")));
        }
        // Before anything is made of that length.
        if self.digits.len() as i64 + zeros > i64::from(precision) {
            return Err(Fault::new(format!("the number has more than {precision} digits")));
        }
        let all: Vec<u8> = self.digits.iter().copied().chain((0..zeros).map(|_| 0)).collect();
        let mut magnitude: Vec<u32> = Vec::new();
        for nine in all.chunks(9) {
            let mut carry = nine.iter().fold(0, |number, digit| number * 10 + u64::from(*digit));
            for limb in &mut magnitude {
                carry += u64::from(*limb) * 10_u64.pow(nine.len() as u32);
                *limb = carry as u32;
                carry >>= 32;
            }
            if carry > 0 {
                magnitude.push(carry as u32);
            }
        }
        Ok(Unscaled { negative: self.negative, magnitude })
    }
}

impl Unscaled {
    /// Big-endian in two's complement: of this size, or no longer than needed.
    pub(crate) fn bytes(&self, size: Option<usize>) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.magnitude.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        bytes.push(0);
        if self.negative {
            // All bits the other way round, and one more.
            let mut carry = true;
            for byte in &mut bytes {
                (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
            }
        }
        let sign = if self.negative { 0xff } else { 0 };
        while let [.., second, last] = bytes[..]
            && last == sign
            && (second ^ sign) < 0x80
        {
            bytes.pop();
        }
        // The precision of a fixed decimal is that of its size, so it never is too long.
        bytes.resize(size.unwrap_or(bytes.len()), sign);
        bytes.reverse();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str, precision: u32, scale: u32) -> Result<Vec<u8>, String> {
        let digits = Digits::parse(text).ok_or("no number")?;
        Ok(digits.unscaled(precision, scale).map_err(|fault| fault.to_string())?.bytes(None))
    }

    #[test]
    fn whole_numbers_of_all_sizes_are_what_the_processor_says() {
        let mut number: i128 = 1;
        for step in 0..120 {
            for number in [number, -number, number + step, -number - step] {
                let all = number.to_be_bytes();
                let spare = (0..15)
                    .take_while(|at| all[*at] == (number >> 127) as u8 && (all[*at] ^ all[*at + 1]) < 0x80);
                let minimal = all[spare.count()..].to_vec();
                assert_eq!(bytes(&number.to_string(), 39, 0), Ok(minimal), "{number}");
                let whole = Digits::parse(&number.to_string()).and_then(|digits| digits.whole());
                assert_eq!(whole, i64::try_from(number).ok(), "{number}");
            }
            number *= 2;
        }
    }

    #[test]
    fn points_and_exponents_move_and_nothing_is_lost() {
        assert_eq!(bytes("12.34", 4, 2), bytes("1234", 4, 0));
        assert_eq!(bytes("1.2340e1", 4, 2), bytes("1234", 4, 0));
        assert_eq!(bytes("-0.5", 9, 3), bytes("-500", 9, 0));
        assert_eq!(bytes("5", 9, 3), bytes("5000", 9, 0));
        assert_eq!(bytes("-0.00", 1, 0), Ok(vec![0]));
        assert!(
            bytes("12.345", 9, 2).is_err_and(|says| says.contains("more than 2 digits behind the point"))
        );
        assert!(bytes("123.45", 4, 2).is_err_and(|says| says.contains("more than 4 digits")));
        assert!(bytes("1e2147483647", 38, 2).is_err());
        let long = "9".repeat(76);
        assert_eq!(bytes(&long, 76, 0).map(|bytes| bytes.len()), Ok(32));
        assert!(bytes(&long, 75, 0).is_err());
        for wrong in ["", "-", ".5", "5.", "1,5", "0x1", " 1", "1e", "NaN", "1e99999999999", "--1"] {
            assert_eq!(Digits::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fixed_ones_are_filled_up_with_their_sign() {
        let sized = |text: &str| Digits::parse(text).unwrap().unscaled(9, 0).unwrap().bytes(Some(4));
        assert_eq!((sized("-2"), sized("258")), (vec![0xff, 0xff, 0xff, 0xfe], vec![0, 0, 1, 2]));
    }
}
