//! One file a command: its arguments, what it does, how it ends.

pub(crate) mod check;
pub(crate) mod dev;
pub(crate) mod health;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod test;

use std::io::IsTerminal;
use std::path::PathBuf;

use aqueduct_api::Catalog;
use aqueduct_spec::{Diagnostic, Loaded};

/// Reads files and folders; when something is wrong, all of it is printed and nothing is returned.
pub(crate) fn load(paths: &[PathBuf], catalog: &Catalog) -> Option<Loaded> {
    let loaded = aqueduct_spec::load(paths, catalog, &aqueduct_spec::Environment::of_process());
    print(&loaded.diagnostics);
    loaded.diagnostics.is_empty().then_some(loaded)
}

/// Prints problems to standard error, and how many there are.
pub(crate) fn print(diagnostics: &[Diagnostic]) {
    let color = std::io::stderr().is_terminal();
    for diagnostic in diagnostics {
        eprintln!("{}\n", diagnostic.render(color));
    }
    match diagnostics.len() {
        0 => {}
        1 => eprintln!("1 problem"),
        count => eprintln!("{count} problems"),
    }
}
