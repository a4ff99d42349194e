//! Text filled per record: `{topic}/{timestamp:%Y/%m/%d}/{partition}-{start_offset}`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::record::{Payload, Record};

/// A template, parsed once. `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Copied as it stands.
    Text(String),
    /// `{topic}`
    Topic,
    /// `{partition}`
    Partition,
    /// `{start_offset}`: the offset of the first record of a file, 20 digits, so that names sort as offsets do.
    StartOffset,
    /// `{timestamp:FORMAT}`: the time of the record in UTC, by strftime.
    Timestamp(String),
    /// `{key}` as text.
    Key,
    /// `{header.NAME}` as text.
    Header(String),
}

const KNOWN: &str = "{topic}, {partition}, {start_offset}, {timestamp:%Y-%m-%d}, {key} and {header.NAME}";

impl Template {
    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The text, if nothing is filled in.
    pub fn constant(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What stands before and after `{start_offset}`, if that stands here exactly once.
    pub fn around_start_offset(&self) -> Option<(Template, Template)> {
        let mut halves = self.pieces.split(|piece| *piece == Piece::StartOffset);
        let (head, tail) = (halves.next()?, halves.next()?);
        let half = |pieces: &[Piece]| Template { text: self.text.clone(), pieces: pieces.to_vec() };
        halves.next().is_none().then(|| (half(head), half(tail)))
    }

    /// Fills it for one record, at the end of `out`. What the record brings of its own (key, headers) goes through
    /// `own`, which may escape it; a record without what the template asks for is a bad record.
    pub fn render(
        &self,
        record: &Record,
        start_offset: Option<i64>,
        own: fn(&str, &mut String),
        out: &mut String,
    ) -> Result<()> {
        use fmt::Write;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Topic => out.push_str(&record.topic),
                Piece::Partition => write!(out, "{}", record.origin.partition)?,
                Piece::StartOffset => write!(out, "{:020}", start_offset.unwrap_or(record.origin.offset))?,
                Piece::Timestamp(format) => write_time(record, format, out)?,
                Piece::Key => own(self.text_of(&record.key, "key")?, out),
                Piece::Header(name) => {
                    let header = record.headers.last(name).and_then(|header| header.value.clone());
                    let payload = header.map_or(Payload::Absent, Payload::Raw);
                    own(self.text_of(&payload, name)?, out);
                }
            }
        }
        Ok(())
    }

    fn text_of<'a>(&self, payload: &'a Payload, what: &str) -> Result<&'a str> {
        let Payload::Raw(bytes) = payload else {
            return Err(Error::bad_record(format!(
                "the record has no `{what}`, which `{}` needs",
                self.text
            )));
        };
        std::str::from_utf8(bytes).map_err(|_| {
            Error::bad_record(format!("`{what}` is not UTF-8 text, which `{}` needs", self.text))
        })
    }
}

impl From<fmt::Error> for Error {
    fn from(error: fmt::Error) -> Self {
        Error::fatal("cannot write text").caused_by(error)
    }
}

fn write_time(record: &Record, format: &str, out: &mut String) -> Result<()> {
    let Some(us) = record.timestamp_us else {
        return Err(Error::bad_record("the record has no timestamp, which the template needs"));
    };
    let outside = || Error::bad_record(format!("timestamp {us} us is outside the years that have a date"));
    let zoned = Timestamp::from_microsecond(us).map_err(|_| outside())?.to_zoned(TimeZone::UTC);
    out.push_str(&BrokenDownTime::from(&zoned).to_string(format).map_err(|_| outside())?);
    Ok(())
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push_str(&rest[..1]);
                rest = &rest[2..];
                continue;
            }
            if rest.starts_with('}') {
                return Err(format!(
                    "`{text}` closes a brace that was not opened; write }}}} for a brace itself"
                ));
            }
            let end =
                rest.find('}').ok_or_else(|| format!("`{text}` opens a brace and does not close it"))?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(placeholder(&rest[1..end])?);
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }
}

fn placeholder(name: &str) -> Result<Piece, String> {
    match name {
        "topic" => return Ok(Piece::Topic),
        "partition" => return Ok(Piece::Partition),
        "start_offset" => return Ok(Piece::StartOffset),
        "key" => return Ok(Piece::Key),
        "timestamp" => return Err("`{timestamp}` needs a format, as in {timestamp:%Y-%m-%d}".into()),
        _ => {}
    }
    if let Some(header) = name.strip_prefix("header.").filter(|header| !header.is_empty()) {
        return Ok(Piece::Header(header.to_owned()));
    }
    if let Some(format) = name.strip_prefix("timestamp:") {
        let epoch = BrokenDownTime::from(&Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC));
        return match epoch.to_string(format) {
            Ok(_) => Ok(Piece::Timestamp(format.to_owned())),
            Err(error) => Err(format!("`{{{name}}}` is not a time format: {error}")),
        };
    }
    let near = ["topic", "partition", "start_offset", "key", "timestamp"]
        .into_iter()
        .filter(|known| strsim::damerau_levenshtein(known, name) <= 2)
        .map(|known| format!("; did you mean {{{known}}}"))
        .next()
        .unwrap_or_default();
    Err(format!("`{{{name}}}` is not known{near}; known are {KNOWN}"))
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "template".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "template" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Headers, Origin};

    fn record() -> Record {
        let mut headers = Headers::default();
        headers.push("tenant", Some("a/b".into()));
        Record {
            topic: "orders".into(),
            origin: Origin { partition: 3, offset: 42 },
            key: "k".into(),
            value: Payload::Absent,
            headers,
            timestamp_us: Some(1_700_000_000_000_000),
        }
    }

    fn rendered(template: &str) -> Result<String, String> {
        let template: Template = template.parse()?;
        let mut out = String::new();
        let escape = |text: &str, out: &mut String| out.push_str(&text.replace('/', "%2F"));
        template.render(&record(), None, escape, &mut out).map_err(|error| error.to_string())?;
        Ok(out)
    }

    #[test]
    fn fills_what_a_record_brings() {
        assert_eq!(
            rendered("{topic}/{timestamp:%Y/%m/%d}/{partition}-{start_offset}").unwrap(),
            "orders/2023/11/14/3-00000000000000000042"
        );
        assert_eq!(rendered("{{x}} {header.tenant} {key}").unwrap(), "{x} a%2Fb k");
        assert!(rendered("{header.none}").unwrap_err().contains("no `none`"));
    }

    #[test]
    fn names_what_is_wrong() {
        assert!(rendered("{topik}").unwrap_err().contains("did you mean {topic}"));
        assert!(rendered("{topic").unwrap_err().contains("does not close"));
        assert!(rendered("topic}").unwrap_err().contains("not opened"));
        assert!(rendered("{timestamp}").unwrap_err().contains("needs a format"));
        assert!(rendered("{timestamp:%Q%}").unwrap_err().contains("not a time format"));
    }
}
