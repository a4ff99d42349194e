//! Records to lines.

use aqueduct_api::{Error, Payload, Record, Result};
use serde::de::IgnoredAny;

use crate::config::{Format, OnNullValue};
use crate::json_line::is_json_line;

/// Writes values as lines.
pub(crate) struct LineWriter {
    json: bool,
    on_null_value: OnNullValue,
}

impl LineWriter {
    pub(crate) fn new(format: &Format, on_null_value: OnNullValue) -> Self {
        Self { json: matches!(format, Format::JsonLines(_)), on_null_value }
    }

    /// Appends the line of a record; nothing if it is to be skipped, or refused as a bad record.
    pub(crate) fn append(&self, record: &Record, out: &mut Vec<u8>) -> Result<bool> {
        let Payload::Raw(value) = &record.value else {
            return match self.on_null_value {
                OnNullValue::Skip => Ok(false),
                OnNullValue::Reject => {
                    Err(Error::bad_record("the record has no value, and a line cannot say that")
                        .remedy("set `on_null_value: skip` to leave such records out"))
                }
            };
        };
        if self.json {
            if is_json_line(value) {
                out.extend_from_slice(value);
            } else {
                serde_json::from_slice::<IgnoredAny>(value)
                    .map_err(|error| Error::bad_record("the value is not JSON").caused_by(error))?;
                // In valid JSON a line break only ever stands between tokens.
                if memchr::memchr2(b'\n', b'\r', value).is_some() {
                    compact(value, out);
                } else {
                    out.extend_from_slice(value);
                }
            }
        } else if let Some(at) = memchr::memchr(b'\n', value) {
            return Err(Error::bad_record(format!(
                "the value has a newline at byte {at}, so it is not one line"
            ))
            .remedy("use `json_lines` if the values are JSON"));
        } else {
            out.extend_from_slice(value);
        }
        out.push(b'\n');
        Ok(true)
    }
}

/// Valid JSON without the white space between its tokens.
fn compact(json: &[u8], out: &mut Vec<u8>) {
    let (mut in_text, mut escaped) = (false, false);
    for byte in json {
        if in_text {
            in_text = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_text = *byte == b'"';
        }
        out.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Lines;

    fn line(format: Format, on_null_value: OnNullValue, value: Option<&str>) -> Result<Option<String>> {
        let record = Record {
            topic: "t".into(),
            origin: Default::default(),
            key: Payload::Absent,
            value: value.map_or(Payload::Absent, |value| value.to_owned().into()),
            headers: Default::default(),
            timestamp_us: None,
        };
        let mut out = Vec::new();
        let taken = LineWriter::new(&format, on_null_value).append(&record, &mut out)?;
        Ok(taken.then(|| String::from_utf8(out).unwrap()))
    }

    #[test]
    fn a_value_is_one_line() {
        let lines = |value| line(Format::Lines(Lines::default()), OnNullValue::Reject, value);
        assert_eq!(lines(Some("a b")).unwrap().as_deref(), Some("a b\n"));
        assert_eq!(lines(Some("")).unwrap().as_deref(), Some("\n"));
        assert_eq!(
            lines(Some("a\nb")).unwrap_err().to_string(),
            "the value has a newline at byte 1, so it is not one line; use `json_lines` if the values are JSON"
        );
        assert!(lines(None).unwrap_err().to_string().contains("on_null_value: skip"));
        assert!(line(Format::Lines(Lines::default()), OnNullValue::Skip, None).unwrap().is_none());
    }

    #[test]
    fn json_is_checked_and_kept_in_one_line() {
        let json = |value| line(Format::JsonLines(Lines::default()), OnNullValue::Reject, Some(value));
        assert_eq!(
            json(r#"{"a": 1}"#).unwrap().as_deref(),
            Some("{\"a\": 1}\n"),
            "untouched when in one line"
        );
        let pretty = "{\n  \"a b\\\"  c\\\\\" : [1,\r\n 2],\n\t\"n\": null }";
        assert_eq!(json(pretty).unwrap().as_deref(), Some("{\"a b\\\"  c\\\\\":[1,2],\"n\":null}\n"));
        assert_eq!(json("{\"a\": 1").unwrap_err().says(), "the value is not JSON");
        assert!(json("").is_err() && json("1 2").is_err() && json("\"a\nb\"").is_err());
    }
}
