//! What was found wrong while files are read, by place; made into diagnostics once all files are known.

use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::mask;

/// A stretch of one line of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: usize,
    /// From 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// In characters.
    pub(crate) length: usize,
    /// All of the value is here; a block of several lines is not.
    pub(crate) inline: bool,
}

/// The files that were read.
#[derive(Default)]
pub(crate) struct Files(Vec<(PathBuf, String)>);

impl Files {
    pub(crate) fn add(&mut self, path: &Path, text: String) -> usize {
        self.0.push((path.to_owned(), text));
        self.0.len() - 1
    }

    pub(crate) fn path(&self, file: usize) -> &Path {
        &self.0[file].0
    }

    pub(crate) fn text(&self, file: usize) -> &str {
        &self.0[file].1
    }

    /// A line by its number from 1.
    pub(crate) fn line(&self, file: usize, number: usize) -> &str {
        self.text(file).lines().nth(number.wrapping_sub(1)).unwrap_or("")
    }

    /// `orders.yaml:3:14`
    pub(crate) fn name(&self, place: Place) -> String {
        format!("{}:{}:{}", self.path(place.file).display(), place.line, place.column)
    }
}

/// One thing that is wrong.
pub(crate) struct Finding {
    at: Place,
    path: String,
    says: String,
    remedy: Option<String>,
}

impl Finding {
    pub(crate) fn remedy(&mut self, remedy: impl Into<String>) {
        self.remedy = Some(remedy.into());
    }

    pub(crate) fn remedy_if(&mut self, remedy: Option<String>) {
        self.remedy = remedy;
    }
}

/// All that is wrong so far, and what must not be shown.
#[derive(Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    masks: Vec<Place>,
}

impl Report {
    pub(crate) fn say(&mut self, at: Place, path: &str, says: impl Into<String>) -> &mut Finding {
        self.findings.push(Finding { at, path: path.to_owned(), says: says.into(), remedy: None });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// What stands there is a secret.
    pub(crate) fn mask(&mut self, place: Place) {
        self.masks.push(place);
    }

    pub(crate) fn append(&mut self, other: Report) {
        self.findings.extend(other.findings);
        self.masks.extend(other.masks);
    }

    pub(crate) fn count(&self) -> usize {
        self.findings.len()
    }

    pub(crate) fn speaks_of(&self, file: usize) -> bool {
        self.findings.iter().any(|finding| finding.at.file == file)
    }

    /// In the order of files and lines, each once, with their lines quoted and secrets masked.
    pub(crate) fn diagnostics(self, files: &Files) -> Vec<Diagnostic> {
        let mut list: Vec<Diagnostic> = Vec::new();
        let mut findings = self.findings;
        findings.sort_by_key(|finding| (finding.at.file, finding.at.line, finding.at.column));
        for Finding { at, path, says, remedy } in findings {
            let quoted = (at.line > 0).then(|| mask::quote(files, at, &self.masks));
            let file = files.path(at.file).to_owned();
            let (column, length) = (at.column, at.length);
            let found = Diagnostic { file, line: at.line, column, length, path, says, remedy, quoted };
            if !list.contains(&found) {
                list.push(found);
            }
        }
        list
    }
}
