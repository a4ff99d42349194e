//! Dates, times and timestamps as RFC 3339 writes them, durations as ISO 8601 does, and back. What the text says finer
//! than its type is refused, never rounded.

use aqueduct_api::schema::Unit;

use super::fault::Fault;

type Result<T> = std::result::Result<T, Fault>;

const DAY_NS: i128 = 86_400 * SECOND_NS;
const SECOND_NS: i128 = 1_000_000_000;

/// Parts of a second.
pub(crate) fn per_second(unit: Unit) -> i64 {
    match unit {
        Unit::Millis => 1_000,
        Unit::Micros => 1_000_000,
        Unit::Nanos => 1_000_000_000,
    }
}

/// `2026-11-25`, for days since 1970.
pub(crate) fn write_date(days: i64, out: &mut Vec<u8>) -> Result<()> {
    // Howard Hinnant, chrono-Compatible Low-Level Date Algorithms: eras of 400 years that begin in March.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return Err(Fault::new(format!("RFC 3339 has no year {year}; `time: number` has")));
    }
    let (year, month, day) = (year as u32, month as u32, day as u32);
    out.extend_from_slice(&two(year / 100));
    out.extend_from_slice(&two(year % 100));
    out.push(b'-');
    out.extend_from_slice(&two(month));
    out.push(b'-');
    out.extend_from_slice(&two(day));
    Ok(())
}

/// `22:48:08.123`, for so many units since midnight.
pub(crate) fn write_time(time: i64, unit: Unit, out: &mut Vec<u8>) -> Result<()> {
    let per_second = per_second(unit);
    if !(0..86_400 * per_second).contains(&time) {
        return Err(Fault::new(format!("{time} is no time of a day")));
    }
    let (seconds, part) = ((time / per_second) as u32, time % per_second);
    out.extend_from_slice(&two(seconds / 3_600));
    out.push(b':');
    out.extend_from_slice(&two(seconds / 60 % 60));
    out.push(b':');
    out.extend_from_slice(&two(seconds % 60));
    out.push(b'.');
    let mut power = per_second / 10;
    while power > 0 {
        out.push(b'0' + (part / power % 10) as u8);
        power /= 10;
    }
    Ok(())
}

/// `2026-11-25T22:48:08.123Z`, for so many units since 1970; a local one has no `Z`.
pub(crate) fn write_timestamp(at: i64, unit: Unit, local: bool, out: &mut Vec<u8>) -> Result<()> {
    let per_day = 86_400 * per_second(unit);
    write_date(at.div_euclid(per_day), out)?;
    out.push(b'T');
    write_time(at.rem_euclid(per_day), unit, out)?;
    if !local {
        out.push(b'Z');
    }
    Ok(())
}

fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// `P14M3DT4.005S`, for months, days and milliseconds of 32 bits each, little-endian.
pub(crate) fn write_duration(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let ([months, days, millis], []) = bytes.as_chunks::<4>() else {
        return Err(Fault::new(format!("a duration of {} bytes", bytes.len())));
    };
    let [months, days, millis] = [months, days, millis].map(|number| u32::from_le_bytes(*number));
    out.push(b'P');
    for (number, letter) in [(months, b'M'), (days, b'D')] {
        if number > 0 {
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            out.push(letter);
        }
    }
    if millis > 0 || months == 0 && days == 0 {
        out.push(b'T');
        out.extend_from_slice(itoa::Buffer::new().format(millis / 1_000).as_bytes());
        if millis % 1_000 > 0 {
            out.extend_from_slice(format!(".{:03}", millis % 1_000).as_bytes());
        }
        out.push(b'S');
    }
    Ok(())
}

/// What is left of a text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take(&mut self, of: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first().filter(|(first, _)| of.contains(first))?;
        self.0 = rest;
        Some(*first)
    }

    /// A number of just so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let digit = |sum, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'));
        number.iter().try_fold(0, digit)
    }

    /// A number of as many digits as there are.
    fn digits(&mut self) -> Option<i64> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if (1..=18).contains(&count) { self.number(count) } else { None }
    }

    /// Days since 1970.
    fn date(&mut self) -> Option<i64> {
        let year = self.number(4)?;
        self.take(b"-")?;
        let month = self.number(2)?;
        self.take(b"-")?;
        let day = self.number(2)?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if !(1..=days).contains(&day) {
            return None;
        }
        let shifted = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(era * 146_097 + day_of_era - 719_468)
    }

    /// Nanoseconds since midnight. A leap second is the first of the next minute.
    fn time(&mut self) -> Option<i128> {
        let hour = self.number(2).filter(|hour| *hour < 24)?;
        self.take(b":")?;
        let minute = self.number(2).filter(|minute| *minute < 60)?;
        self.take(b":")?;
        let second = self.number(2).filter(|second| *second <= 60)?;
        Some(i128::from(hour * 3_600 + minute * 60 + second) * SECOND_NS + self.fraction()?)
    }

    /// Nanoseconds of `.123`, or none where no point stands. Zeros behind the ninth digit say nothing.
    fn fraction(&mut self) -> Option<i128> {
        if self.take(b".").is_none() {
            return Some(0);
        }
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let (counted, spare) = digits.split_at(count.min(9));
        if count == 0 || spare.iter().any(|digit| *digit != b'0') {
            return None;
        }
        let number = counted.iter().fold(0, |sum, byte| sum * 10 + i128::from(byte - b'0'));
        Some(number * 10_i128.pow(9 - counted.len() as u32))
    }

    /// Seconds east of Greenwich.
    fn zone(&mut self) -> Option<i64> {
        let sign = match self.take(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2).filter(|hours| *hours < 24)?;
        self.take(b":")?;
        let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
        Some(sign * (hours * 3_600 + minutes * 60))
    }

    fn end<T>(&self, found: T) -> Option<T> {
        self.0.is_empty().then_some(found)
    }
}

/// Days since 1970 of `2026-11-25`.
pub(crate) fn read_date(text: &str) -> Result<i32> {
    let mut rest = Rest(text.as_bytes());
    let days = rest.date().and_then(|days| rest.end(days)).and_then(|days| i32::try_from(days).ok());
    days.ok_or_else(|| Fault::new("the text is no date, as `2026-11-25` is"))
}

/// Units since midnight of `22:48:08.123`.
pub(crate) fn read_time(text: &str, unit: Unit) -> Result<i64> {
    let mut rest = Rest(text.as_bytes());
    let time = rest.time().and_then(|ns| rest.end(ns)).filter(|ns| *ns < DAY_NS);
    let ns = time.ok_or_else(|| Fault::new("the text is no time, as `22:48:08.123` is"))?;
    in_units(ns, unit)
}

/// Units since 1970 of `2026-11-25T22:48:08.123Z`, or of a local one without a zone.
pub(crate) fn read_timestamp(text: &str, unit: Unit, local: bool) -> Result<i64> {
    let mut rest = Rest(text.as_bytes());
    let mut read = || {
        let days = rest.date()?;
        rest.take(b"Tt ")?;
        let ns = rest.time()?;
        let zone = if local { 0 } else { rest.zone()? };
        rest.end(i128::from(days) * DAY_NS + ns - i128::from(zone) * SECOND_NS)
    };
    let ns = read().ok_or_else(|| {
        let example =
            if local { "`2026-11-25T22:48:08.123`, without a zone," } else { "`2026-11-25T22:48:08.123Z`" };
        Fault::new(format!("the text is no timestamp, as {example} is"))
    })?;
    in_units(ns, unit)
}

fn in_units(ns: i128, unit: Unit) -> Result<i64> {
    let unit_ns = SECOND_NS / i128::from(per_second(unit));
    if ns % unit_ns != 0 {
        let finer = match unit {
            Unit::Millis => "milliseconds",
            Unit::Micros => "microseconds",
            Unit::Nanos => "nanoseconds",
        };
        return Err(Fault::new(format!("the time is finer than {finer}")));
    }
    i64::try_from(ns / unit_ns).map_err(|_| Fault::new("the time is beyond what 64 bits hold"))
}

/// Months, days and milliseconds of `P1Y2M3DT4H5M6.789S`.
pub(crate) fn read_duration(text: &str) -> Result<[u8; 12]> {
    let parts = duration_parts(text);
    let numbers = parts.and_then(|[months, days, millis]| {
        Some([u32::try_from(months).ok()?, u32::try_from(days).ok()?, u32::try_from(millis).ok()?])
    });
    let numbers = numbers.ok_or_else(|| Fault::new("the text is no duration, as `P14M3DT4.005S` is"))?;
    let mut bytes = [0; 12];
    for (four, number) in bytes.chunks_mut(4).zip(numbers) {
        four.copy_from_slice(&number.to_le_bytes());
    }
    Ok(bytes)
}

fn duration_parts(text: &str) -> Option<[i64; 3]> {
    let mut rest = Rest(text.as_bytes());
    let (mut months, mut days, mut millis, mut in_time, mut parts) = (0_i64, 0_i64, 0_i64, false, 0);
    rest.take(b"P")?;
    while !rest.0.is_empty() {
        if !in_time && rest.take(b"T").is_some() {
            in_time = true;
        }
        let number = rest.digits().filter(|number| *number <= i64::from(u32::MAX))?;
        let fraction = rest.fraction()?;
        parts += 1;
        match (in_time, rest.take(b"YMWDHS")?) {
            (true, b'S') if fraction % 1_000_000 == 0 => {
                millis += number * 1_000 + (fraction / 1_000_000) as i64
            }
            _ if fraction != 0 => return None,
            (true, b'H') => millis += number * 3_600_000,
            (true, b'M') => millis += number * 60_000,
            (false, b'Y') => months += number * 12,
            (false, b'M') => months += number,
            (false, b'W') => days += number * 7,
            (false, b'D') => days += number,
            _ => return None,
        }
    }
    (parts > 0).then_some([months, days, millis])
}
