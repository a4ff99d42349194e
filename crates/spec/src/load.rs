//! From paths on the command line to pipelines: finds the files, reads them all, and tells everything that is wrong.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use aqueduct_api::Catalog;
use aqueduct_api::config::file::read_text;

use crate::dev::DevEnds;
use crate::diagnostic::Diagnostic;
use crate::ends::Reading;
use crate::interpolate::Environment;
use crate::loops;
use crate::pipeline::{Pipeline, Runtime};
use crate::place::{Files, Place};
use crate::report::Report;
use crate::settings::{FILE_NAME, Settings};
use crate::tree::{self, FILE_BYTES_MAX, Kind};

const FOLDER_DEPTH_MAX: usize = 16;

/// What was read.
pub struct Loaded {
    /// Sound pipelines, in the order of their files.
    pub pipelines: Vec<Pipeline>,
    /// What holds for the process.
    pub runtime: Runtime,
    /// All that is wrong, by file and line. A pipeline with a problem is not among the sound ones.
    pub diagnostics: Vec<Diagnostic>,
}

/// What may be asked for beside the plain reading.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The shared settings for all files, instead of the `aqueduct.yaml` nearest to each.
    pub settings: Option<PathBuf>,
    /// Ends to put in place of real ones, for `aqueduct dev`.
    pub dev: Option<DevEnds>,
    /// The address of a registry to put in place of every other one, for `aqueduct dev` and `aqueduct test`.
    pub registry_url: Option<String>,
}

/// Reads pipeline files, and all `*.yaml` and `*.yml` in folders and below, except `aqueduct.yaml` and `*.test.yaml`.
pub fn load(paths: &[PathBuf], catalog: &Catalog, environment: &Environment) -> Loaded {
    load_with(paths, catalog, environment, &LoadOptions::default())
}

/// As [`load`], with options.
pub fn load_with(
    paths: &[PathBuf],
    catalog: &Catalog,
    environment: &Environment,
    options: &LoadOptions,
) -> Loaded {
    let mut whole_files = Vec::new();
    let found = discover(paths, &mut whole_files);
    let mut files = Files::default();
    let mut report = Report::default();
    let mut settings = BTreeMap::new();
    let mut documents = Vec::new();
    for Found { path, root } in found {
        let Some(file) = open(&path, &mut files, &mut whole_files) else {
            continue;
        };
        let beside = match &options.settings {
            Some(path) => Some(path.clone()),
            None => nearest_settings(&path, &root),
        };
        if let Some(path) = &beside
            && !settings.contains_key(path)
        {
            let file = open(path, &mut files, &mut whole_files);
            settings.insert(
                path.clone(),
                file.map(|file| Settings::read(file, &files, environment, &mut report)),
            );
        }
        documents.push((file, beside));
    }
    let runtime = one_runtime(settings.values().flatten(), &files, &mut report);
    let mut sound = Vec::new();
    let mut names = HashMap::new();
    for (file, beside) in documents {
        let mut nodes = tree::parse(file, &files, &mut report);
        nodes.retain(|node| !matches!(node.kind, Kind::Null));
        if nodes.is_empty() && !report.speaks_of(file) {
            let at = Place { file, line: 0, column: 0, length: 0, inline: true };
            report.say(at, "", "the file holds no pipeline").remedy("begin with `pipeline: name`");
        }
        let settings = beside.as_ref().and_then(|path| settings.get(path)?.as_ref());
        let (files, dev, registry_url) = (&files, options.dev.as_ref(), options.registry_url.as_deref());
        for node in nodes {
            let report = &mut report;
            let mut reading =
                Reading { catalog, environment, files, file, settings, dev, registry_url, report };
            let read = reading.document(node);
            if unique(&mut names, read.name, files, report) {
                sound.extend(read.pipeline);
            }
        }
    }
    let wrong = loops::report(&sound, &mut report);
    let sound = sound.into_iter().enumerate().filter(|(index, _)| !wrong.contains(index));
    let pipelines = sound.map(|(_, (pipeline, _))| pipeline).collect();
    whole_files.extend(report.diagnostics(&files));
    Loaded { pipelines, runtime, diagnostics: whole_files }
}

/// A pipeline file, and the folder that was named on the command line to find it.
struct Found {
    path: PathBuf,
    root: PathBuf,
}

fn discover(paths: &[PathBuf], wrong: &mut Vec<Diagnostic>) -> Vec<Found> {
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            let mut files = Vec::new();
            if let Err(error) = walk(path, 0, &mut files) {
                let says = format!("the folder cannot be read: {error}");
                wrong.push(Diagnostic::of_file(path, says, "check its permissions"));
            } else if files.is_empty() {
                let remedy = "pipelines are files that end in .yaml or .yml";
                wrong.push(Diagnostic::of_file(path, "the folder holds no pipeline files", remedy));
            }
            files.sort();
            found.extend(files.into_iter().map(|file| Found { path: file, root: path.clone() }));
        } else if name == FILE_NAME {
            let remedy = format!("name the pipelines beside it; {FILE_NAME} is read with them");
            wrong.push(Diagnostic::of_file(path, "this file holds shared settings, not a pipeline", remedy));
        } else if is_test(&name) {
            let says = "this file holds tests of a pipeline, not a pipeline";
            wrong.push(Diagnostic::of_file(path, says, "run it with `aqueduct test`"));
        } else {
            let root = path.parent().unwrap_or(Path::new("")).to_owned();
            found.push(Found { path: path.clone(), root });
        }
    }
    let mut seen = HashSet::new();
    found.retain(|file| seen.insert(fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone())));
    found
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Hidden folders are not the user's pipelines: `.git`, and the `..data` of a mounted config map.
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if depth < FOLDER_DEPTH_MAX {
                walk(&path, depth + 1, files)?;
            }
        } else if (name.ends_with(".yaml") || name.ends_with(".yml")) && name != FILE_NAME && !is_test(&name)
        {
            files.push(path);
        }
    }
    Ok(())
}

fn is_test(name: &str) -> bool {
    name.ends_with(".test.yaml") || name.ends_with(".test.yml")
}

/// The `aqueduct.yaml` in the file's folder, or in one above it up to the folder that was named.
fn nearest_settings(file: &Path, root: &Path) -> Option<PathBuf> {
    let mut folder = file.parent().unwrap_or(Path::new(""));
    loop {
        let path = folder.join(FILE_NAME);
        if path.is_file() {
            return Some(path);
        }
        if folder == root {
            return None;
        }
        folder = folder.parent()?;
    }
}

pub(crate) fn open(path: &Path, files: &mut Files, wrong: &mut Vec<Diagnostic>) -> Option<usize> {
    match read_text(path, FILE_BYTES_MAX) {
        Ok(text) => Some(files.add(path, text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())),
        Err(error) => {
            let (says, remedy) = match error.kind() {
                io::ErrorKind::NotFound => ("there is no such file".into(), "check the path"),
                io::ErrorKind::FileTooLarge => {
                    ("the file is larger than 1 MiB".into(), "split it into several files")
                }
                io::ErrorKind::InvalidData => ("the file is not UTF-8 text".into(), "save it as UTF-8"),
                _ => (
                    format!("the file cannot be read: {error}"),
                    "name a file of text that this process may read",
                ),
            };
            wrong.push(Diagnostic::of_file(path, says, remedy));
            None
        }
    }
}

fn one_runtime<'a>(all: impl Iterator<Item = &'a Settings>, files: &Files, report: &mut Report) -> Runtime {
    let mut first: Option<&Settings> = None;
    for settings in all {
        let (Some(at), Some(other)) = (settings.runtime_at, first.and_then(|first| first.runtime_at)) else {
            first = first.or(Some(settings).filter(|settings| settings.runtime_at.is_some()));
            continue;
        };
        let says =
            format!("`runtime` stands in two files that run together; the other is {}", files.name(other));
        report.say(at, "runtime", says).remedy("keep one of them: it holds for the whole process");
    }
    first.map(|settings| settings.runtime.clone()).unwrap_or_default()
}

fn unique(
    names: &mut HashMap<String, Place>,
    name: Option<(String, Place)>,
    files: &Files,
    report: &mut Report,
) -> bool {
    let Some((name, at)) = name else { return true };
    if let Some(first) = names.get(&name) {
        let says = format!("two pipelines are named `{name}`; the other is {}", files.name(*first));
        report
            .say(at, "pipeline", says)
            .remedy("give each a name of its own: offsets and groups are kept by it");
        return false;
    }
    names.insert(name, at);
    true
}
