//! `aqueduct plan`: what will run, one line a stage, without starting it.

use std::path::{Path, PathBuf};

use aqueduct_engine::Plan;

use crate::supervise::limits;
use crate::{Exit, catalog, memory};

/// Print what will run, one line a stage, and what it guarantees
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pipeline files, or folders of them: those that will run in one process, since they share its memory
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    paths: Vec<PathBuf>,
}

/// Prints a plan for each pipeline.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let Some(loaded) = super::load(&arguments.paths, &catalog::catalog()) else { return Exit::Wrong };
    let tasks = loaded.pipelines.iter().map(|pipeline| pipeline.tasks).sum();
    let memory_max_bytes = memory::budget(loaded.runtime.memory_max_bytes, memory::limit(Path::new("/")));
    for pipeline in &loaded.pipelines {
        let limits = limits(pipeline, memory_max_bytes, tasks);
        println!("{} ({})", pipeline.name, pipeline.file.display());
        println!("{}", Plan::of(pipeline, &limits));
    }
    Exit::Good
}
