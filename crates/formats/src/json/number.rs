//! Numbers as JSON writes them, and what holds them without losing a digit.

use std::ops::Range;

use aqueduct_api::Value;
use aqueduct_api::value::{Span, Text};

use super::fault::Fault;

/// A piece of the payload.
#[inline]
pub(crate) fn span(range: Range<usize>) -> Result<Span, Fault> {
    Span::new(range.start, range.len()).ok_or_else(|| Fault::new("the payload has more than 4 GiB"))
}

/// A number of a text: its first digits, and what they are to be multiplied with.
#[derive(Debug, Default)]
pub(crate) struct Number {
    pub(crate) negative: bool,
    /// Digits, neither point nor exponent.
    pub(crate) whole: bool,
    /// The first nineteen digits that count.
    pub(crate) mantissa: u64,
    /// How many digits count: all but the zeros in front.
    pub(crate) significant: usize,
    /// Ten to the power of this is what the last digit counts.
    pub(crate) exponent: i32,
    /// Where it stands.
    pub(crate) range: Range<usize>,
}

/// Powers of ten that a double holds exactly.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

impl Number {
    /// Adds the digits that stand from `at` on; the answer is where they end.
    #[inline]
    pub(crate) fn digits(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            if self.significant < 19 {
                self.mantissa = self.mantissa * 10 + u64::from(digit - b'0');
            }
            self.significant += usize::from(self.mantissa > 0);
            at += 1;
        }
        at
    }

    /// The number, where it is whole and 64 bits with a sign hold it. -0 is no such number: it would lose its sign.
    #[inline]
    pub(crate) fn long(&self) -> Option<i64> {
        if !self.whole || self.significant > 19 {
            return None;
        }
        match self.negative {
            false => i64::try_from(self.mantissa).ok(),
            true if self.mantissa == 0 => None,
            true => 0_i64.checked_sub_unsigned(self.mantissa),
        }
    }

    /// The nearest double.
    #[inline]
    pub(crate) fn double(&self, text: &str) -> f64 {
        // Both factors are exact, so the result is rounded once (Clinger 1990).
        if self.significant <= 15
            && let Some(power) = TENS.get(self.exponent.unsigned_abs() as usize)
        {
            let mantissa = self.mantissa as f64;
            let number = if self.exponent < 0 { mantissa / power } else { mantissa * power };
            return if self.negative { -number } else { number };
        }
        // The grammar of JSON is part of that of Rust.
        text.get(self.range.clone()).and_then(|digits| digits.parse().ok()).unwrap_or(f64::NAN)
    }

    /// The number, where it is whole though it is written with a point or an exponent: `3.0`, `5e3`.
    #[cold]
    pub(crate) fn whole_double(&self, text: &str) -> Option<i64> {
        const EXACT_MAX: f64 = (1_u64 << 53) as f64;
        let double = self.double(text);
        let exact = self.significant <= 15 && double.fract() == 0.0 && double.abs() <= EXACT_MAX;
        exact.then_some(double as i64)
    }

    /// A value that says all that the digits say.
    #[inline]
    pub(crate) fn value(&self, text: &str) -> Result<Value, Fault> {
        if let Some(long) = self.long() {
            return Ok(Value::Long(long));
        }
        let double = self.double(text);
        // Fifteen digits survive in a double wherever it is not about to vanish.
        if !self.whole && self.significant <= 15 && (-290..290).contains(&self.exponent) || self.mantissa == 0
        {
            return Ok(Value::Double(double));
        }
        let digits = text.get(self.range.clone()).unwrap_or_default();
        if !self.whole && is_exact(digits, double) {
            return Ok(Value::Double(double));
        }
        Ok(Value::Number(Text::Span(span(self.range.clone())?)))
    }
}

/// Whether a double is written as these digits, trailing zeros and the place of the point aside.
#[cold]
fn is_exact(digits: &str, double: f64) -> bool {
    // By the hand that will write it: of two shortest texts that are as near, others may choose the other one.
    double.is_finite() && significant(digits) == significant(zmij::Buffer::new().format_finite(double))
}

/// The digits that count, without zeros at either end, and the power of ten of the first one.
fn significant(number: &str) -> (String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX / 2);
    (digits.trim_matches('0').to_owned(), exponent + whole.len() as i64 - zeros as i64)
}
