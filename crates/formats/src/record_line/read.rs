//! Reads record lines.

use std::borrow::Cow;
use std::fmt;

use aqueduct_api::{Error, Header, Headers, Origin, Payload, Record, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::Defaults;

/// Reads one line, with or without its newline. The error is of kind `BadRecord` and names the field.
pub fn read(line: &[u8], defaults: Defaults) -> Result<Record> {
    let text = crate::text::utf8(line)?;
    // A struct would also be read from a list, by position.
    if !text.trim_start().starts_with('{') {
        return Err(Error::bad_record("not a record line: a record is a JSON object"));
    }
    let line: Line<'_> = serde_json::from_str(text).map_err(|_| explain(text))?;
    let key = payload(line.key, "key")?;
    let value = line.value.ok_or_else(|| {
        Error::bad_record("the record has no `value`").remedy("write `\"value\": null` for a tombstone")
    })?;
    let value = payload(Some(value), "value")?;
    let mut headers = Vec::with_capacity(line.headers.0.len());
    for (name, value) in line.headers.0 {
        let value = payload(value, "headers")?.bytes().cloned();
        headers.push(Header { name: name.as_ref().into(), value });
    }
    Ok(Record {
        topic: match line.topic {
            Some(topic) if *topic != *defaults.topic => topic.as_ref().into(),
            _ => defaults.topic,
        },
        origin: Origin {
            partition: line.partition.unwrap_or(defaults.partition),
            offset: line.offset.unwrap_or(defaults.offset),
        },
        key,
        value,
        headers: headers.into_iter().collect::<Headers>(),
        timestamp_us: line.timestamp.map(timestamp_us).transpose()?,
    })
}

/// Reads a record from a value that was parsed already, as in the cases of a test. Numbers have by then the
/// precision of [`serde_json::Number`]; all else is as in [`read`].
pub fn from_json(value: &serde_json::Value, defaults: Defaults) -> Result<Record> {
    read(value.to_string().as_bytes(), defaults)
}

/// One line, its payloads still as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, default)]
    topic: Option<Cow<'a, str>>,
    #[serde(default)]
    partition: Option<i32>,
    #[serde(default)]
    offset: Option<i64>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    // A `null` that is written is not the same as no value at all.
    #[serde(borrow, default, deserialize_with = "written")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    headers: HeaderList<'a>,
}

fn written<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Headers as a list of names and values, or as a map.
#[derive(Default)]
struct HeaderList<'a>(Vec<(Cow<'a, str>, Option<&'a RawValue>)>);

impl<'de: 'a, 'a> Deserialize<'de> for HeaderList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = HeaderList<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of headers, each with `name` and `value`, or a map from name to value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(HeaderList::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut headers = Vec::new();
                while let Some(HeaderLine { name, value }) = list.next_element()? {
                    headers.push((name, value));
                }
                Ok(HeaderList(headers))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    headers.push((name, value));
                }
                Ok(HeaderList(headers))
            }
        }
        deserializer.deserialize_any(List)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

/// A name that borrows where it can; a bare `Cow` as the key of a map never does.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded<'a> {
    #[serde(borrow)]
    base64: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Microseconds {
    us: i64,
}

fn payload(raw: Option<&RawValue>, field: &'static str) -> Result<Payload> {
    let Some(text) = raw.map(RawValue::get) else {
        return Ok(Payload::Absent);
    };
    match text.as_bytes().first() {
        Some(b'n') => Ok(Payload::Absent),
        Some(b'"') => {
            let text: Cow<'_, str> = serde_json::from_str::<Name<'_>>(text).map_err(|e| bad(field, &e))?.0;
            Ok(Bytes::from(text.into_owned()).into())
        }
        Some(b'{') if is_encoded(text) => {
            let encoded: Encoded<'_> = serde_json::from_str(text).map_err(|e| bad(field, &e))?;
            let bytes = BASE64.decode(encoded.base64.as_bytes()).map_err(|e| {
                bad(field, &e)
                    .remedy("write standard base64 with padding (RFC 4648), or the JSON text as a string")
            })?;
            Ok(bytes.into())
        }
        _ => Ok(compact(text).into()),
    }
}

/// Whether an object has `base64` for its first and only field.
fn is_encoded(object: &str) -> bool {
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = bool;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
            let mut only = 0;
            while let Some((Name(name), _)) = map.next_entry::<Name<'_>, de::IgnoredAny>()? {
                only = if name == "base64" && only == 0 { 1 } else { 2 };
            }
            Ok(only == 1)
        }
    }
    // Most objects are data and never name it.
    object.contains("base64")
        && serde_json::Deserializer::from_str(object).deserialize_map(Fields).unwrap_or(false)
}

/// JSON text without the whitespace between its tokens.
fn compact(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text.as_bytes() {
        if in_string {
            (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
    out
}

fn timestamp_us(raw: &RawValue) -> Result<i64> {
    let refuse = || {
        Error::bad_record(format!("`timestamp`: {} is no time", raw.get()))
            .remedy("write RFC 3339, as in \"2026-01-01T00:00:00.250Z\"")
    };
    if raw.get().starts_with('{') {
        return serde_json::from_str(raw.get()).map(|Microseconds { us }| us).map_err(|_| refuse());
    }
    let text: Name<'_> = serde_json::from_str(raw.get()).map_err(|_| refuse())?;
    let at: Timestamp = text.0.parse().map_err(|_| refuse())?;
    Ok(at.as_microsecond())
}

fn bad(field: &'static str, error: &dyn fmt::Display) -> Error {
    let says = error.to_string();
    // A parser counts columns from the start of the field, which helps nobody.
    let says = says.split(" at line ").next().unwrap_or_default();
    Error::bad_record(format!("`{field}`: {says}"))
}

/// Reads the line once more, slower, to say which field is wrong.
fn explain(text: &str) -> Error {
    let mut json = serde_json::Deserializer::from_str(text);
    let (path, error) = match serde_path_to_error::deserialize::<_, Line<'_>>(&mut json) {
        Ok(_) => return Error::bad_record("not a record line: something follows the JSON object"),
        Err(error) => (error.path().to_string(), error.into_inner().to_string()),
    };
    // There is only one line, so its number says nothing.
    let error = error.replace(" at line 1 column ", " at column ");
    if path == "." || path == "?" || error.contains(&format!("`{path}`")) {
        Error::bad_record(format!("not a record line: {error}"))
    } else {
        Error::bad_record(format!("not a record line: `{path}`: {error}"))
    }
}
