//! Dates, times and timestamps from texts, as RFC 3339 writes them: to the numbers that Avro keeps them in.

use aqueduct_api::schema::{Logical, Unit};
use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, Timestamp};

use aqueduct_api::Fault;

/// The number that stands for this text.
///
/// # Errors
/// When the text is something else, or finer than the unit.
pub(crate) fn from_text(logical: Logical, text: &str) -> Result<i64, Fault> {
    let since = |of: Option<SignedDuration>, what: &str| {
        of.ok_or_else(|| Fault::new(format!("the text is not {what}")))
    };
    match logical {
        Logical::Date => {
            let date = text.parse::<Date>().ok().filter(|_| !text.contains([':', 'T', 't', ' ']));
            let days = date.map(|date| date.duration_since(EPOCH.date()));
            Ok(since(days, "a date: 2026-11-25")?.as_hours() / 24)
        }
        Logical::TimeMillis => count(since(time(text), "a time of day: 10:15:30.5")?, Unit::Millis),
        Logical::TimeMicros => count(since(time(text), "a time of day: 10:15:30.5")?, Unit::Micros),
        Logical::Timestamp { unit, local: false } => {
            let stamp = text.parse::<Timestamp>().ok().map(Timestamp::as_duration);
            count(since(stamp, "a timestamp with a zone: 2026-11-25T10:15:30Z")?, unit)
        }
        Logical::Timestamp { unit, local: true } => {
            // With a zone it would be a point in time, which this is not.
            let zone =
                |text: &str| text.get(10..).is_some_and(|time| time.contains(['Z', 'z', '+', '-', '[']));
            let local = text.parse::<DateTime>().ok().filter(|_| text.contains(':') && !zone(text));
            count(
                since(
                    local.map(|local| local.duration_since(EPOCH)),
                    "a timestamp without a zone: 2026-11-25T10:15:30",
                )?,
                unit,
            )
        }
        Logical::Decimal { .. } | Logical::Uuid | Logical::Duration => {
            Err(Fault::new("text where a number belongs"))
        }
    }
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

fn time(text: &str) -> Option<SignedDuration> {
    let time = text.parse::<Time>().ok().filter(|_| text.as_bytes().get(2) == Some(&b':'));
    time.map(|time| time.duration_since(Time::midnight()))
}

fn count(since: SignedDuration, unit: Unit) -> Result<i64, Fault> {
    let (nanos, name) = match unit {
        Unit::Millis => (1_000_000, "milliseconds"),
        Unit::Micros => (1_000, "microseconds"),
        Unit::Nanos => (1, "nanoseconds"),
    };
    let all = since.as_nanos();
    if all % nanos != 0 {
        return Err(Fault::new(format!("the text says a time finer than the schema's {name}")));
    }
    i64::try_from(all / nanos)
        .map_err(|_| Fault::new(format!("the time is too far away for {name} in 64 bits")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(logical: Logical, text: &str) -> Option<i64> {
        from_text(logical, text).ok()
    }

    #[test]
    fn texts_become_numbers_and_nothing_is_rounded() {
        assert_eq!(number(Logical::Date, "1970-01-02"), Some(1));
        assert_eq!(number(Logical::Date, "1969-12-31"), Some(-1));
        assert_eq!(number(Logical::Date, "2026-11-25"), Some(20_782));
        assert_eq!(number(Logical::Date, "2026-11-25T00:00:00Z"), None);
        assert_eq!(number(Logical::Date, "2026-02-30"), None);
        assert_eq!(number(Logical::TimeMillis, "00:00:01.5"), Some(1_500));
        assert_eq!(number(Logical::TimeMicros, "23:59:59.999999"), Some(86_399_999_999));
        assert_eq!(number(Logical::TimeMillis, "00:00:00.0001"), None);
        assert_eq!(number(Logical::TimeMillis, "25:00:00"), None);
        let stamp = |unit, local| Logical::Timestamp { unit, local };
        assert_eq!(number(stamp(Unit::Millis, false), "1970-01-01T01:00:00.001+01:00"), Some(1));
        assert_eq!(number(stamp(Unit::Micros, false), "1969-12-31T23:59:59.999999Z"), Some(-1));
        assert_eq!(number(stamp(Unit::Millis, false), "1969-12-31T23:59:59.9999Z"), None);
        assert_eq!(number(stamp(Unit::Nanos, false), "1970-01-01T00:00:00.000000001Z"), Some(1));
        assert_eq!(number(stamp(Unit::Nanos, false), "2300-01-01T00:00:00Z"), None);
        assert_eq!(number(stamp(Unit::Millis, false), "1970-01-01T00:00:00"), None);
        assert_eq!(number(stamp(Unit::Millis, true), "1970-01-01T00:00:01"), Some(1_000));
        assert_eq!(number(stamp(Unit::Millis, true), "1970-01-01T00:00:01Z"), None);
        assert_eq!(number(stamp(Unit::Millis, true), "1970-01-01T00:00:01+02:00"), None);
        assert_eq!(number(Logical::Uuid, "1970-01-01"), None);
    }
}
