//! Durations with their unit in the value: `250ms`, `5m`, `1h 30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time as written in a pipeline file. Units: `ms`, `s`, `m`, `h`, `d`; several may follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const TAKEN: &str = "write a number with its unit: ms, s, m, h or d, as in 250ms, 5m or 1h30m";

impl Duration {
    /// That many milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(std::time::Duration::from_millis(ms))
    }

    /// That many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a duration; {TAKEN}");
        let mut rest = text.trim();
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(refuse());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '_').ok_or_else(refuse)?;
            let number: u64 = rest[..digits].replace('_', "").parse().map_err(|_| refuse())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(refuse)?;
            total = number.checked_mul(*unit_ms).and_then(|ms| total.checked_add(ms)).ok_or_else(refuse)?;
            rest = rest[letters..].trim_start();
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = self.0.as_millis() as u64;
        if ms == 0 {
            return f.write_str("0s");
        }
        for (name, unit_ms) in UNITS.iter().rev() {
            if ms >= *unit_ms {
                write!(f, "{}{name}", ms / unit_ms)?;
                ms %= unit_ms;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a duration; {TAKEN}")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Duration, E> {
                Err(E::custom(format!("`{number}` has no unit; {TAKEN}")))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration", "pattern": "^\\s*([0-9][0-9_]*(ms|s|m|h|d)\\s*)+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_refuses_what_two_could_read_differently() {
        for (text, ms) in
            [("250ms", 250), ("5m", 300_000), ("1h30m", 5_400_000), ("1h 30m", 5_400_000), ("0s", 0)]
        {
            assert_eq!(text.parse(), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "5M", "10 minutes", "-1s", "1.5s", "m", "99999999999999999999d"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Duration>("30").unwrap_err().to_string().contains("has no unit"));
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["250ms", "5m", "1h30m", "1d", "0s", "1m1s500ms"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
    }
}
