//! The parts of a configuration that every sink of files has: `path`, `format`, `rotate`, `on_null_value`.

use std::borrow::Cow;
use std::fmt;

use aqueduct_api::Problem;
use aqueduct_api::config::{Duration, Piece, Size, Template};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// When an object is finished; whichever bound is met first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rotate {
    /// Records in one object at most; no bound unless given.
    pub records_max: Option<u64>,
    /// Bytes of one object at most, as stored (compressed); exceeded only when a single batch is larger.
    pub bytes_max: Size,
    /// How long a record waits at most until its object is finished; also when no more records come.
    pub age_max: Duration,
}

impl Default for Rotate {
    fn default() -> Self {
        Self { records_max: None, bytes_max: Size::mebibytes(128), age_max: Duration::from_secs(300) }
    }
}

/// What to do with a record that has no value (a tombstone): a line cannot say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnNullValue {
    /// It is a bad record; `errors.on_bad_record` decides.
    #[default]
    Reject,
    /// It is left out.
    Skip,
}

/// How records are written into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes of each value and a newline.
    Lines(Lines),
    /// Each value, which must be JSON, in one line.
    JsonLines(Lines),
}

/// The options of a format of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lines {
    /// How the object is compressed.
    pub compression: Compression,
    /// How hard: 1 to 9 for gzip (6 unless given), 1 to 22 for zstd (3 unless given).
    pub level: Option<i32>,
}

/// How an object is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By gzip (RFC 1952).
    Gzip,
    /// By Zstandard (RFC 8878).
    Zstd,
}

const FORMATS: [&str; 2] = ["lines", "json_lines"];

impl Format {
    /// The record format in which it takes values that have structure; that of the source, if it does not matter.
    pub fn value_format(&self) -> Option<&'static str> {
        match self {
            Format::Lines(_) => None,
            Format::JsonLines(_) => Some("json"),
        }
    }

    /// The options, whichever format it is.
    pub fn lines(&self) -> &Lines {
        match self {
            Format::Lines(lines) | Format::JsonLines(lines) => lines,
        }
    }

    /// What the name of an object ends in, unless the path says it.
    pub fn suffix(&self) -> &'static str {
        match (self, self.lines().compression) {
            (Format::Lines(_), Compression::None) => ".txt",
            (Format::Lines(_), Compression::Gzip) => ".txt.gz",
            (Format::Lines(_), Compression::Zstd) => ".txt.zst",
            (Format::JsonLines(_), Compression::None) => ".jsonl",
            (Format::JsonLines(_), Compression::Gzip) => ".jsonl.gz",
            (Format::JsonLines(_), Compression::Zstd) => ".jsonl.zst",
        }
    }

    fn named<E: serde::de::Error>(name: &str, lines: Lines) -> Result<Self, E> {
        match name {
            "lines" => Ok(Format::Lines(lines)),
            "json_lines" => Ok(Format::JsonLines(lines)),
            _ => Err(E::unknown_variant(name, &FORMATS)),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Lines(_) => "lines",
            Format::JsonLines(_) => "json_lines",
        })?;
        match self.lines().compression {
            Compression::None => Ok(()),
            Compression::Gzip => f.write_str(" with gzip"),
            Compression::Zstd => f.write_str(" with zstd"),
        }
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = Format;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a format: `lines`, `json_lines`, or a map with one of these as its key")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Format, E> {
                Format::named(name, Lines::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Format, A::Error> {
                let name: String = map.next_key()?.ok_or_else(|| A::Error::custom("a format has one key"))?;
                Format::named::<A::Error>(&name, Lines::default())?;
                let format = Format::named(&name, map.next_value()?)?;
                match map.next_key::<String>()? {
                    None => Ok(format),
                    Some(second) => Err(A::Error::custom(format!(
                        "a format has one key, not both `{name}` and `{second}`"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Named)
    }
}

impl JsonSchema for Format {
    fn schema_name() -> Cow<'static, str> {
        "ObjectFormat".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let body = generator.subschema_for::<Lines>();
        let form = |name: &str, about: &str| {
            json_schema!({ "type": "object", "description": about, "properties": { name: body },
                "required": [name], "additionalProperties": false })
        };
        // A name alone has the options' defaults, which readers of schemas know by themselves.
        json_schema!({ "oneOf": [
            form("lines", "The bytes of each value and a newline."),
            form("json_lines", "Each value, which must be JSON, in one line."),
        ] })
    }
}

/// What is wrong with these parts, each with its remedy.
pub fn check(path: &Template, format: &Format, rotate: &Rotate) -> Vec<Problem> {
    let mut problems = check_path(path, format);
    if rotate.records_max == Some(0) {
        problems.push(
            Problem::new("rotate.records_max", "no object can hold 0 records").remedy("write 1 or more"),
        );
    }
    for (is_zero, name) in [(rotate.bytes_max.0 == 0, "bytes_max"), (rotate.age_max.0.is_zero(), "age_max")] {
        if is_zero {
            problems
                .push(Problem::new(format!("rotate.{name}"), "is zero, so no object could take a record"));
        }
    }
    let (name, lines) = match format {
        Format::Lines(lines) => ("lines", lines),
        Format::JsonLines(lines) => ("json_lines", lines),
    };
    let path = || format!("format.{name}.level");
    match (lines.compression, lines.level) {
        (_, None) => {}
        (Compression::None, Some(_)) => problems.push(
            Problem::new(path(), "there is no compression to set a level of")
                .remedy("name a compression too"),
        ),
        (Compression::Gzip, Some(level)) if !(1..=9).contains(&level) => problems
            .push(Problem::new(path(), format!("gzip has no level {level}")).remedy("take one from 1 to 9")),
        (Compression::Zstd, Some(level)) if !(1..=22).contains(&level) => problems
            .push(Problem::new(path(), format!("zstd has no level {level}")).remedy("take one from 1 to 22")),
        _ => {}
    }
    problems
}

/// Two objects must never share a name: each path below is read back without doubt into topic, partition and
/// offset.
fn check_path(path: &Template, format: &Format) -> Vec<Problem> {
    const EXAMPLE: &str = "as in \"{topic}/{partition}-{start_offset}\"";
    let mut problems = Vec::new();
    let mut say = |says: String, remedy: &str| problems.push(Problem::new("path", says).remedy(remedy));
    let count = |piece: &Piece| path.pieces().iter().filter(|other| *other == piece).count();
    for (piece, name, why) in [
        (Piece::Topic, "{topic}", "objects of two topics would have the same name"),
        (Piece::Partition, "{partition}", "objects of two partitions would have the same name"),
        (Piece::StartOffset, "{start_offset}", "an object would have the name of the one before it"),
    ] {
        if count(&piece) == 0 {
            say(format!("has no {name}: {why}"), &format!("add {name}, {EXAMPLE}"));
        }
    }
    if count(&Piece::StartOffset) > 1 {
        say("names {start_offset} twice".into(), "once is enough");
    }
    if let Some((trouble, remedy)) = trouble(path, format) {
        say(trouble, remedy);
    }
    for level in levels(path) {
        let foreign = |piece: &Piece| matches!(piece, Piece::Timestamp(_) | Piece::Key | Piece::Header(_));
        if level.contains(&Piece::Topic) && level.iter().any(foreign) {
            say(
                "{topic} shares its folder level with a part of the record, so two topics could meet in \
                 one name"
                    .into(),
                "put {topic} in a level of its own, as in \"{topic}/{key}/{partition}-{start_offset}\"",
            );
        }
        let Some(at) = level.iter().position(|piece| *piece == Piece::Partition) else {
            continue;
        };
        let (before, after) = (&level[..at], &level[at + 1..]);
        let clear = |beside: Option<&Piece>, side: fn(&str) -> Option<char>| match beside {
            None => true,
            Some(Piece::Text(text)) => side(text).is_some_and(|c| !c.is_ascii_digit()),
            Some(_) => false,
        };
        let clear = clear(before.last(), |text| text.chars().last())
            && clear(after.first(), |text| text.chars().next());
        if !clear || (before.iter().any(foreign) && after.iter().any(foreign)) {
            say(
                "{partition} is not clear of what stands beside it, so 1 and 11 could meet in one name"
                    .into(),
                "put a separator before and after it, as in \"{topic}-{partition}-{start_offset}\"",
            );
        }
    }
    problems
}

/// The folder levels of a path: its pieces split at every slash of the text.
fn levels(path: &Template) -> Vec<Vec<Piece>> {
    let mut levels = vec![Vec::new()];
    for piece in path.pieces() {
        let Piece::Text(text) = piece else {
            levels.last_mut().into_iter().for_each(|level: &mut Vec<Piece>| level.push(piece.clone()));
            continue;
        };
        for (index, part) in text.split('/').enumerate() {
            if index > 0 {
                levels.push(Vec::new());
            }
            if !part.is_empty() {
                levels.last_mut().into_iter().for_each(|level| level.push(Piece::Text(part.to_owned())));
            }
        }
    }
    levels
}

/// What cannot be in any name, seen in the shortest one that the path makes.
fn trouble(path: &Template, format: &Format) -> Option<(String, &'static str)> {
    let fill = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::StartOffset => "0".repeat(20),
        Piece::Timestamp(format) if format.contains('/') => "x/x".into(),
        _ => "x".into(),
    };
    let mut filled: String = path.pieces().iter().map(fill).collect();
    filled.push_str(crate::names::added_suffix(path, format.suffix()));
    let why = crate::names::unfit(&filled)?;
    let remedy = match why.contains("bytes") {
        true => "shorten it: the start offset takes 20 of them, and topics, keys and headers need room too",
        false => "separate the folders by single slashes and begin without one",
    };
    Some((format!("`{}` {why}", path.as_str()), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str) -> Vec<String> {
        let path = path.parse().unwrap();
        let format = Format::Lines(Lines::default());
        check_path(&path, &format).into_iter().map(|problem| problem.says).collect()
    }

    #[test]
    fn takes_paths_whose_names_are_unique() {
        for path in [
            "{topic}/{partition}-{start_offset}",
            "{topic}-{partition}-{start_offset}.json",
            "lake/{topic}/{timestamp:%Y/%m/%d}/{partition}-{start_offset}",
            "{topic}/{header.tenant}/{key}/p{partition}/{start_offset}",
        ] {
            assert_eq!(problems(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn refuses_paths_whose_names_could_meet() {
        for (path, says) in [
            ("{partition}-{start_offset}", "has no {topic}: objects of two topics would have the same name"),
            (
                "{topic}/{start_offset}",
                "has no {partition}: objects of two partitions would have the same name",
            ),
            (
                "{topic}/{partition}",
                "has no {start_offset}: an object would have the name of the one before it",
            ),
            ("{topic}/{partition}-{start_offset}-{start_offset}", "names {start_offset} twice"),
            (
                "/{topic}/{partition}-{start_offset}",
                "`/{topic}/{partition}-{start_offset}` begins with a slash",
            ),
            (
                "a/../{topic}/{partition}-{start_offset}",
                "`a/../{topic}/{partition}-{start_offset}` has a folder `..`",
            ),
            (
                "{topic}//{partition}-{start_offset}",
                "`{topic}//{partition}-{start_offset}` has an empty folder name",
            ),
            (
                "{topic}-{key}/{partition}-{start_offset}",
                "{topic} shares its folder level with a part of the record, so two topics could meet in \
                 one name",
            ),
            (
                "{topic}{partition}-{start_offset}",
                "{partition} is not clear of what stands beside it, so 1 and 11 could meet in one name",
            ),
            (
                "{topic}/{key}-{partition}-{header.a}/{start_offset}",
                "{partition} is not clear of what stands beside it, so 1 and 11 could meet in one name",
            ),
            (
                "{topic}/1{partition}-{start_offset}",
                "{partition} is not clear of what stands beside it, so 1 and 11 could meet in one name",
            ),
        ] {
            assert_eq!(problems(path), [says], "{path}");
        }
    }

    #[test]
    fn a_name_that_is_always_too_long_is_refused() {
        let name = |length: usize| format!("{{topic}}/{}{{partition}}-{{start_offset}}", "-".repeat(length));
        // Beside it stand the partition, a dash, the start offset and `.txt`.
        assert_eq!(problems(&name(229)), [""; 0]);
        assert_eq!(problems(&name(230)), [format!("`{}` has a part of more than 255 bytes", name(230))]);
    }

    #[test]
    fn a_format_is_a_name_or_a_map_with_one_key() {
        let read = |text: &str| serde_json::from_str::<Format>(text).map_err(|error| error.to_string());
        assert_eq!(read("\"lines\""), Ok(Format::Lines(Lines::default())));
        let zstd = Lines { compression: Compression::Zstd, level: Some(1) };
        assert_eq!(read(r#"{"json_lines":{"compression":"zstd","level":1}}"#), Ok(Format::JsonLines(zstd)));
        assert!(
            read("\"csw\"").unwrap_err().contains("unknown variant `csw`, expected `lines` or `json_lines`")
        );
        assert!(
            read(r#"{"lines":{"compresion":"zstd"}}"#).unwrap_err().contains("unknown field `compresion`")
        );
        assert!(read(r#"{"lines":{},"json_lines":{}}"#).unwrap_err().contains("not both"));
    }
}
