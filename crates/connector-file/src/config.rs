//! The blocks of `file` in a pipeline file.

use aqueduct_api::Problem;
use aqueduct_api::config::Size;
use schemars::JsonSchema;
use serde::Deserialize;

/// A file to read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The file, one record a line; `-` is standard input.
    pub path: String,
    /// The topic of records that do not name theirs; the name of the file, up to its first dot, if not given.
    pub topic: Option<String>,
    /// Wait at the end of the file for more lines, instead of ending there.
    #[serde(default)]
    pub follow: bool,
    /// A longer line is an error, so that a file of another kind does not fill the memory.
    #[serde(default = "line_max")]
    pub line_max: Size,
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
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = named(&self.path);
        if self.follow && self.path == "-" {
            let remedy = "leave it out: standard input is read until its other end is closed";
            problems.push(Problem::new("follow", "standard input cannot be followed").remedy(remedy));
        }
        if self.line_max == Size(0) {
            problems
                .push(Problem::new("line_max", "no line is that short").remedy("write a size, as in 16MiB"));
        }
        problems
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
    pub(crate) fn check(&self) -> Vec<Problem> {
        named(&self.path)
    }
}

fn named(path: &str) -> Vec<Problem> {
    if path.is_empty() {
        let remedy = "name a file, or `-` for standard input or output";
        return vec![Problem::new("path", "is empty").remedy(remedy)];
    }
    Vec::new()
}

fn line_max() -> Size {
    Size::mebibytes(16)
}
