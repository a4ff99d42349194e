//! `aqueduct check`: all problems of the files at once, without touching the network.

use std::path::PathBuf;

use crate::{Exit, catalog};

/// Find all problems of pipeline files, without touching the network
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pipeline files, or folders of them
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    paths: Vec<PathBuf>,
}

/// Checks them.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let Some(loaded) = super::load(&arguments.paths, &catalog::catalog()) else { return Exit::Wrong };
    match loaded.pipelines.len() {
        1 => println!("1 pipeline is fine"),
        count => println!("{count} pipelines are fine"),
    }
    Exit::Good
}
