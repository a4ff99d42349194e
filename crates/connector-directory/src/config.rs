//! The block of `directory` in a pipeline file.

use aqueduct_api::Problem;
use aqueduct_api::config::Template;
use aqueduct_objects::config::{Format, OnNullValue, Rotate};
use schemars::JsonSchema;
use serde::Deserialize;

/// A folder to write files into.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder; it is made when missing.
    pub folder: String,
    /// The name of each file below the folder, as in `{topic}/{partition}-{start_offset}`; names topic,
    /// partition and start offset, so that each file has its own. The suffix of the format is added unless it ends in
    /// a known one, as `.json` or `.gz`.
    pub path: Template,
    /// How records are written: `lines` or `json_lines`, with `compression` and `level`.
    pub format: Format,
    /// When a file is finished, and the next begun.
    #[serde(default)]
    pub rotate: Rotate,
    /// What to do with a record that has no value.
    #[serde(default)]
    pub on_null_value: OnNullValue,
}

impl Config {
    /// What parsing alone cannot see.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = aqueduct_objects::config::check(&self.path, &self.format, &self.rotate);
        if self.folder.is_empty() {
            problems
                .insert(0, Problem::new("folder", "names no folder").remedy("write `.` for the current one"));
        }
        problems
    }
}
