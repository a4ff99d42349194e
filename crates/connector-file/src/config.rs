//! The blocks of `file` in a pipeline file.

use std::collections::BTreeSet;
use std::path::{Component, PathBuf};

use aqueduct_api::config::Size;
use aqueduct_api::{Problem, Rows};
use schemars::JsonSchema;
use serde::Deserialize;

/// The path that stands for standard input or output.
pub(crate) const STANDARD: &str = "-";

/// A file to read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The file; `-` is standard input.
    pub path: String,
    /// What a line is. Unless given, `csv` where the `value` beside `file` is `csv`, and `records` otherwise.
    pub format: Option<FileFormat>,
    /// The topic of records that do not name theirs; the name of the file, up to its first dot, if not given.
    pub topic: Option<String>,
    /// Wait at the end of the file for more lines, instead of ending there.
    #[serde(default)]
    pub follow: bool,
    /// What the offset of a record is, where a line is a whole record. Unless given, `lines` where the sink names what it
    /// writes by offsets, and `carried` otherwise.
    pub offsets: Option<OffsetsOf>,
    /// A longer line is a bad record, of which only so much is kept: a file of another kind must not fill the memory.
    #[serde(default = "line_max")]
    pub line_max: Size,
}

/// How records stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// A line is a whole record, as the sink `file` writes it: a JSON object with key, value and all else.
    Records,
    /// A line is the bytes of a value, an empty one too.
    Lines,
    /// A line is a value in JSON; empty lines are passed over.
    JsonLines,
    /// A row is a value, as the format `csv` of the `value` says: its quotes may go around line ends.
    Csv,
}

/// Where offsets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OffsetsOf {
    /// The line says it, or its number does. They may repeat and go back, as after a crash of who wrote the file.
    Carried,
    /// The number of the line, whatever it says: they grow. For sinks that name what they write by offsets.
    Lines,
}

/// A file to write.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// The file, one record a line, added at its end; it and its folder are made when missing; `-` is
    /// standard output.
    pub path: String,
}

impl SourceConfig {
    /// What parsing alone cannot see.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = named(&self.path);
        if self.follow && self.path == "-" {
            let remedy = "leave it out: standard input is read until its other end is closed";
            problems.push(Problem::new("follow", "standard input cannot be followed").remedy(remedy));
        }
        if !(1..LINE_MAX_BYTES).contains(&self.line_max.0) {
            let problem = Problem::new("line_max", "takes a size from 1 byte to less than 4GiB");
            problems.push(problem.remedy("write a size, as in 16MiB"));
        }
        problems
    }

    /// What the format of the values and that of the file say of each other.
    pub(crate) fn problems_of_rows(&self, rows: Option<&Rows>) -> Vec<Problem> {
        let format = self.format(rows);
        if format == FileFormat::Csv && rows.is_none() {
            let problem = Problem::new("format", "nobody says how the rows of this file are written");
            return vec![
                problem.remedy("write `value: csv` beside `file`, with its `separator` and its `fields`"),
            ];
        }
        if format != FileFormat::Csv && rows.is_some_and(|rows| rows.first.is_some()) {
            let problem = Problem::new("", "only a file of rows can name the fields in its first line");
            return vec![problem.remedy("leave `format` of `file` out, or write `fields`")];
        }
        Vec::new()
    }

    /// What stands against a sink that names objects by offsets. Its pipeline would stop where an offset comes again, at each
    /// start anew.
    pub(crate) fn problems_of_offsets(&self, rows: Option<&Rows>) -> Vec<Problem> {
        if self.format(rows) != FileFormat::Records || self.offsets != Some(OffsetsOf::Carried) {
            return Vec::new();
        }
        let says = "the offsets that lines carry may repeat, and the sink names what it writes by offsets";
        vec![Problem::new("offsets", says).remedy(
            "leave `offsets` out, or write `lines`: the offset of a record is then the number of its line",
        )]
    }

    /// How the file is read, where its values stand in these rows.
    pub(crate) fn format(&self, rows: Option<&Rows>) -> FileFormat {
        // The line of a record never reads as a row, so nobody is misunderstood.
        self.format.unwrap_or(if rows.is_some() { FileFormat::Csv } else { FileFormat::Records })
    }

    /// The topic of records that do not name theirs.
    pub(crate) fn topic(&self) -> &str {
        if let Some(topic) = &self.topic {
            return topic;
        }
        let name = self.path.rsplit('/').next().unwrap_or_default();
        match name.split('.').find(|part| !part.is_empty()) {
            None | Some("-") => "stdin",
            Some(stem) => stem,
        }
    }
}

impl SinkConfig {
    /// What parsing alone cannot see.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        named(&self.path)
    }
}

/// A file as no two paths name it but by links. Nothing for standard input and output.
pub(crate) fn one_name(path: &str) -> Option<String> {
    let path = std::path::absolute(path).ok().filter(|_| path != STANDARD)?;
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    Some(plain.display().to_string())
}

/// What stands for the system that files are in, where ends ask whether they are at the same one.
pub(crate) fn system() -> BTreeSet<String> {
    BTreeSet::from(["file".to_owned()])
}

fn named(path: &str) -> Vec<Problem> {
    if path.is_empty() {
        let remedy = "name a file, or `-` for standard input or output";
        return vec![Problem::new("path", "is empty").remedy(remedy)];
    }
    Vec::new()
}

/// A record has to be shorter.
const LINE_MAX_BYTES: u64 = 1 << 32;

fn line_max() -> Size {
    Size::mebibytes(16)
}
