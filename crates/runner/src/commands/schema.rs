//! `aqueduct schema`: a JSON Schema of pipeline files for editors, from the config types.

use crate::{Exit, catalog};

/// Prints it.
pub(crate) fn run() -> Exit {
    // The alternate form is indented; a JSON value always prints.
    println!("{:#}", aqueduct_spec::json_schema(&catalog::catalog()));
    Exit::Good
}
