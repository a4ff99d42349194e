//! `aqueduct test`: sends the records of `*.test.yaml` through the real stations, with ends in memory, and compares.

mod compare;
mod ends;
mod file;
mod typed;

use std::path::{Path, PathBuf};

use aqueduct_api::Catalog;
use aqueduct_devserver::Registry;
use aqueduct_spec::{Diagnostic, Pipeline};

use crate::{Exit, catalog};
use file::{Case, TestFile};

/// Run the tests beside pipeline files
///
/// Each case of a `*.test.yaml` file names input records, the records that must come out, and those that must be
/// rejected. They pass the stations of the pipeline; its source and its sink are not opened.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Test files, or folders in which all *.test.yaml are run
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    paths: Vec<PathBuf>,
}

/// Runs them all; a file with problems does not keep the others from running.
pub(crate) async fn run(arguments: Arguments) -> Exit {
    let files = match find(&arguments.paths) {
        Ok(files) => files,
        Err(problem) => {
            super::print(&[*problem]);
            return Exit::Wrong;
        }
    };
    // Stands in for the registry of each pipeline.
    let registry = match Registry::start(([127, 0, 0, 1], 0).into()).await {
        Ok(registry) => registry,
        Err(error) => {
            eprintln!("error: cannot start the embedded schema registry: {error}");
            return Exit::Wrong;
        }
    };
    let (catalog, mut passed, mut failed, mut problems) = (catalog::catalog(), 0, 0, Vec::new());
    for path in &files {
        match file::read(path, &catalog, &registry.url()).await {
            Err(found) => problems.extend(found),
            Ok(tests) => {
                for test in tests {
                    println!("{}", path.display());
                    let (good, bad) = run_cases(&test, &catalog).await;
                    passed += good;
                    failed += bad;
                }
            }
        }
    }
    registry.stop().await;
    super::print(&problems);
    println!("{passed} passed, {failed} failed");
    match (problems.is_empty(), failed) {
        (false, _) => Exit::Wrong,
        (true, failed) => Exit::from(failed == 0),
    }
}

async fn run_cases((test, pipeline): &(TestFile, Pipeline), catalog: &Catalog) -> (usize, usize) {
    let (mut passed, mut failed) = (0, 0);
    for case in &test.cases {
        let differences = run_case(case, pipeline, catalog).await;
        if differences.is_empty() {
            passed += 1;
            println!("  ok    {}", case.name);
            continue;
        }
        failed += 1;
        println!("  FAIL  {}", case.name);
        for difference in differences {
            println!("        {}", difference.replace('\n', "\n        "));
        }
    }
    (passed, failed)
}

/// What is different from what the case expects; nothing when it passes.
async fn run_case(case: &Case, pipeline: &Pipeline, catalog: &Catalog) -> Vec<String> {
    match ends::pass(case, pipeline, catalog).await {
        Ok(outcome) => compare::differences(case, &outcome),
        Err(error) => vec![error.to_string()],
    }
}

/// The test files that are meant, in order.
fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        collect(path, &mut files).map_err(|error| {
            Diagnostic::of_file(
                path,
                format!("cannot be read: {error}"),
                "name a test file, or a folder of them",
            )
        })?;
        if files.len() == before {
            let remedy = "put tests beside the pipeline, in a file that ends in .test.yaml";
            return Err(Box::new(Diagnostic::of_file(path, "there is no test here", remedy)));
        }
    }
    Ok(files)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        path.metadata()?;
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() || name.ends_with(".test.yaml") || name.ends_with(".test.yml") {
            collect(&path, files)?;
        }
    }
    Ok(())
}
