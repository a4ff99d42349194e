//! What was found wrong while files are read, by place; made into diagnostics once all files are known.

use crate::diagnostic::Diagnostic;
use crate::place::{Files, Place};
use crate::redaction::Line;

/// More problems than these are counted and not told: a file that is wrong so often is wrong in one way.
const TOLD_MAX: usize = 500;

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
    /// Bytes that came from outside the files.
    filled_bytes: usize,
}

/// All files together take no more than this from the environment and from `${file:...}`.
pub(crate) const FILLED_BYTES_MAX: usize = 16 << 20;

impl Report {
    /// Whether so many more bytes may come from outside the files.
    pub(crate) fn may_fill(&mut self, bytes: usize) -> bool {
        self.filled_bytes += bytes;
        self.filled_bytes <= FILLED_BYTES_MAX
    }

    pub(crate) fn say(&mut self, at: Place, path: &str, says: impl Into<String>) -> &mut Finding {
        self.findings.push(Finding { at, path: path.to_owned(), says: says.into(), remedy: None });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// What stands there is a secret.
    pub(crate) fn redact(&mut self, place: Place) {
        self.masks.push(place);
    }

    pub(crate) fn append(&mut self, other: Report) {
        self.findings.extend(other.findings);
        self.masks.extend(other.masks);
        self.filled_bytes += other.filled_bytes;
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
        let more = findings.len().saturating_sub(TOLD_MAX);
        let rest = findings.get(TOLD_MAX).map(|first| files.path(first.at.file).to_owned());
        findings.truncate(TOLD_MAX);
        // Many may be on one line, and a line may be long.
        let mut line: Option<Line> = None;
        for Finding { at, path, says, remedy } in findings {
            line = line.filter(|line| line.is_of(at)).or_else(|| Some(Line::read(files, at, &self.masks)));
            let quoted = line.as_ref().filter(|_| at.line > 0).map(|line| line.quote(at));
            let file = files.path(at.file).to_owned();
            let (column, length) = (at.column, at.length);
            let found = Diagnostic { file, line: at.line, column, length, path, says, remedy, quoted };
            if !list.contains(&found) {
                list.push(found);
            }
        }
        if let Some(file) = rest {
            let says = format!("{more} more problems, here and in the files behind it");
            list.push(Diagnostic::of_file(file, says, "mend those above first"));
        }
        list
    }
}
