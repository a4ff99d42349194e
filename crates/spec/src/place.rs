//! The files that were read, and places in them.

use std::path::{Path, PathBuf};

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
pub(crate) struct Files(Vec<File>);

struct File {
    path: PathBuf,
    text: String,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

impl Files {
    pub(crate) fn add(&mut self, path: &Path, text: String) -> usize {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.0.push(File { path: path.to_owned(), text, lines });
        self.0.len() - 1
    }

    pub(crate) fn path(&self, file: usize) -> &Path {
        &self.0[file].path
    }

    pub(crate) fn text(&self, file: usize) -> &str {
        &self.0[file].text
    }

    /// A line by its number from 1.
    pub(crate) fn line(&self, file: usize, number: usize) -> &str {
        let Some(start) = self.0[file].lines.get(number.wrapping_sub(1)) else { return "" };
        self.text(file)[*start..].lines().next().unwrap_or("")
    }

    /// `orders.yaml:3:14`
    pub(crate) fn name(&self, place: Place) -> String {
        format!("{}:{}:{}", self.path(place.file).display(), place.line, place.column)
    }
}
