//! Times, dates and decimals between the messages that hold them and the numbers of rows.

use crate::shape::Timestamps;
use aqueduct_api::Fault;

const DAY_US: i64 = 86_400_000_000;

/// Seconds and nanoseconds as a timestamp of the option's unit.
pub(crate) fn timestamp(seconds: i64, nanos: i64, of: Timestamps) -> Result<i64, Fault> {
    let (per_second, rest) = match of {
        Timestamps::Nanos => (1_000_000_000, in_second(nanos)?),
        Timestamps::MicrosCut => (1_000_000, in_second(nanos)? / 1000),
        Timestamps::Micros => (1_000_000, whole_micros(in_second(nanos)?)?),
    };
    // One step away from zero first: the earliest time of all has whole seconds that do not fit by themselves.
    let time = i128::from(seconds) * per_second + i128::from(rest);
    i64::try_from(time).map_err(|_| {
        let unit = if of == Timestamps::Nanos { "nanoseconds" } else { "microseconds" };
        Fault::new(format!("{seconds} seconds are beyond what 64 bits of {unit} hold"))
    })
}

fn in_second(nanos: i64) -> Result<i64, Fault> {
    match nanos {
        0..1_000_000_000 => Ok(nanos),
        _ => Err(Fault::new(format!("{nanos} nanoseconds are no part of a second"))),
    }
}

fn whole_micros(nanos: i64) -> Result<i64, Fault> {
    if nanos % 1000 == 0 {
        return Ok(nanos / 1000);
    }
    Err(Fault::new(format!(
        "{nanos} nanoseconds are finer than a microsecond: read timestamps as `nanos`, or as `micros_cut`"
    )))
}

/// Seconds and nanoseconds of a timestamp, `per_second` of which are a second.
pub(crate) fn seconds(time: i64, per_second: i64) -> (i64, i64) {
    (time.div_euclid(per_second), time.rem_euclid(per_second) * (1_000_000_000 / per_second))
}

/// Days since 1970-01-01 in the Gregorian calendar.
pub(crate) fn days([year, month, day, _]: [i64; 4]) -> Result<i32, Fault> {
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = usize::try_from(month - 1).ok().and_then(|month| lengths.get(month));
    if !(1..=9999).contains(&year) || !length.is_some_and(|length| (1..=*length).contains(&day)) {
        return Err(Fault::new(format!("{year}-{month}-{day} is no date with a year, a month and a day")));
    }
    // Years that begin in March have their odd day at their end.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let leaps = year / 4 - year / 100 + year / 400;
    Ok((365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468) as i32)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Year, month and day.
pub(crate) fn date(days: i32) -> Result<[i64; 4], Fault> {
    let days = i64::from(days) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
    let year = if month <= 2 { year + 1 } else { year };
    match year {
        1..=9999 => Ok([year, month, day, 0]),
        _ => Err(Fault::new(format!("the year {year} has no place in a date"))),
    }
}

/// Microseconds since midnight.
pub(crate) fn time_us([hours, minutes, seconds, nanos]: [i64; 4], of: Timestamps) -> Result<i64, Fault> {
    let nanos = in_second(nanos)?;
    let micros = if of == Timestamps::MicrosCut { nanos / 1000 } else { whole_micros(nanos)? };
    if !(0..24).contains(&hours) || !(0..60).contains(&minutes) || !(0..60).contains(&seconds) {
        return Err(Fault::new(format!("{hours}:{minutes}:{seconds} is no time of day")));
    }
    Ok(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

/// Hours, minutes, seconds and nanoseconds.
pub(crate) fn time_of_day(micros: i64) -> Result<[i64; 4], Fault> {
    if !(0..DAY_US).contains(&micros) {
        return Err(Fault::new(format!("{micros} microseconds are no time of day")));
    }
    let seconds = micros / 1_000_000;
    Ok([seconds / 3600, seconds / 60 % 60, seconds % 60, micros % 1_000_000 * 1000])
}

/// A whole number, big-endian in two's complement, in as few bytes as it takes.
pub(crate) fn unsigned_bytes(number: u64) -> Vec<u8> {
    signed_bytes(i128::from(number))
}

/// See [`unsigned_bytes`].
pub(crate) fn signed_bytes(number: i128) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let sign = if number < 0 { 0xff } else { 0 };
    let more = bytes.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0).count();
    bytes[more..].to_vec()
}

/// The whole number, where 128 bits hold it. No bytes at all are zero.
pub(crate) fn signed(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let (sign, fill) = if negative { (0xff, -1) } else { (0, 0) };
    let more = bytes.iter().take_while(|byte| **byte == sign).count();
    let digits = &bytes[more.min(bytes.len())..];
    let fits = digits.len() < 16 || digits.len() == 16 && (digits[0] & 0x80 != 0) == negative;
    fits.then(|| digits.iter().fold(fill, |number: i128, byte| number << 8 | i128::from(*byte)))
}

/// A decimal's number under another scale; nothing where digits would be lost, or there are too many.
pub(crate) fn rescaled(bytes: &[u8], from: i64, to: i64) -> Result<Vec<u8>, Fault> {
    let number = signed(bytes);
    let power = u32::try_from((to - from).unsigned_abs()).ok().and_then(|power| 10_i128.checked_pow(power));
    let moved = match (number, power) {
        (Some(0), _) => Some(0),
        (Some(number), Some(power)) if to >= from => number.checked_mul(power),
        (Some(number), Some(power)) if number % power == 0 => Some(number / power),
        _ => None,
    };
    let says = || Fault::new(format!("a decimal of scale {from} does not fit into scale {to}"));
    moved.map(signed_bytes).ok_or_else(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_ten_thousand_years_comes_back() {
        assert_eq!(days([1970, 1, 1, 0]), Ok(0));
        assert_eq!(days([2000, 2, 29, 0]), Ok(11_016));
        for day in days([1, 1, 1, 0]).unwrap()..=days([9999, 12, 31, 0]).unwrap() {
            assert_eq!(days(date(day).unwrap()), Ok(day));
        }
        for wrong in [[0, 1, 1, 0], [2023, 2, 29, 0], [1900, 2, 29, 0], [2023, 0, 1, 0], [2023, 4, 31, 0]] {
            assert!(days(wrong).is_err(), "{wrong:?}");
        }
        assert!(date(i32::MAX).is_err() && date(i32::MIN).is_err());
    }

    #[test]
    fn times_come_back_or_are_refused() {
        for time in [0, 1, -1, i64::MAX, i64::MIN, -62_135_596_800_000_000] {
            let (s, nanos) = seconds(time, 1_000_000);
            assert_eq!(timestamp(s, nanos, Timestamps::Micros), Ok(time));
            let (s, nanos) = seconds(time, 1_000_000_000);
            assert_eq!(timestamp(s, nanos, Timestamps::Nanos), Ok(time));
        }
        assert!(timestamp(0, 1, Timestamps::Micros).is_err());
        assert_eq!(timestamp(-1, 999_999_999, Timestamps::MicrosCut), Ok(-1));
        assert!(timestamp(-62_135_596_800, 0, Timestamps::Nanos).is_err());
        assert!(timestamp(0, 1_000_000_000, Timestamps::Nanos).is_err());
        assert!(timestamp(i64::MAX, 0, Timestamps::Micros).is_err());
        assert_eq!(time_us([23, 59, 59, 999_999_000], Timestamps::Micros), Ok(DAY_US - 1));
        assert_eq!(time_of_day(DAY_US - 1), Ok([23, 59, 59, 999_999_000]));
        assert!(time_us([24, 0, 0, 0], Timestamps::Micros).is_err() && time_of_day(DAY_US).is_err());
    }

    #[test]
    fn whole_numbers_take_as_few_bytes_as_they_need() {
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0, 128]),
            (-1, &[255]),
            (-128, &[128]),
            (-129, &[255, 127]),
            (i128::from(u64::MAX), &[0, 255, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            assert_eq!(signed_bytes(number), bytes, "{number}");
            assert_eq!(signed(bytes), Some(number), "{number}");
        }
        for number in [i128::MAX, i128::MIN] {
            assert_eq!(signed(&signed_bytes(number)), Some(number));
        }
        assert_eq!(signed(&[]), Some(0));
        assert_eq!(signed(&[0; 40]), Some(0));
        assert_eq!(signed(&[255; 40]), Some(-1));
        assert_eq!(signed(&[1; 17]), None);
        assert_eq!(rescaled(&[5], 0, 2), Ok(vec![1, 0xf4]));
        assert_eq!(rescaled(&[1, 0xf4], 2, 0), Ok(vec![5]));
        assert!(rescaled(&[5], 1, 0).is_err() && rescaled(&[5], 0, 60).is_err());
        assert_eq!(rescaled(&[0], 0, 60), Ok(vec![0]));
    }
}
