//! Any other YAML file of the product, such as the tests beside a pipeline, read as a type with the same messages.

use std::path::Path;

use aqueduct_api::Problem;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::check;
use crate::diagnostic::Diagnostic;
use crate::interpolate::{self, Environment};
use crate::load::open;
use crate::place::Files;
use crate::report::Report;
use crate::spot::Spot;
use crate::tree::{self, Kind};

/// Reads every document of a file as a `T`, whose schema is what may be written. All problems come at once.
pub fn read_as<T: DeserializeOwned + JsonSchema>(
    path: &Path,
    environment: &Environment,
) -> Result<Vec<T>, Vec<Diagnostic>> {
    let (mut files, mut problems, mut report) = (Files::default(), Vec::new(), Report::default());
    let Some(file) = open(path, &mut files, &mut problems) else {
        return Err(problems);
    };
    let schema = schemars::schema_for!(T).to_value();
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut read = Vec::new();
    for mut node in tree::parse(file, &files, &mut report) {
        if matches!(node.kind, Kind::Null) {
            continue;
        }
        interpolate::fill(&mut node, environment, folder, "", &mut report);
        let spot = Spot::new(node.at, "", "the document");
        let made = check::configured(&node, &schema, &spot, &mut report, |json| {
            serde_json::from_value(json).map_err(|error| vec![Problem::new("", error.to_string())])
        });
        read.extend(made.map(|(made, _)| made));
    }
    problems.extend(report.diagnostics(&files));
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}
