//! One problem of a file as people read it: what, where, the line with a caret, the path, and what to do.

use std::fmt::{self, Write};
use std::path::PathBuf;

/// A problem with its place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as it was named on the command line, or found in a folder.
    pub file: PathBuf,
    /// From 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In characters; at least 1.
    pub length: usize,
    /// Where, as the user would type it: `source.kafka.topics[1]`; empty for syntax.
    pub path: String,
    /// What is wrong: lower case, no full stop.
    pub says: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// The line with its secrets masked.
    pub quoted: Option<Quoted>,
}

/// A line of a file as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// The line, with `***` for every secret.
    pub text: String,
    /// Where the caret begins in that text, in characters, from 1.
    pub column: usize,
    /// How far it reaches, in characters; at least 1.
    pub length: usize,
}

impl Diagnostic {
    /// A problem of a file as a whole.
    pub fn of_file(file: impl Into<PathBuf>, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            length: 0,
            path: String::new(),
            says: says.into(),
            remedy: Some(remedy.into()),
            quoted: None,
        }
    }

    /// Several lines for a terminal, without a line end at the last; with ANSI colours or without.
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out, color);
        out
    }

    fn write(&self, out: &mut impl Write, color: bool) -> fmt::Result {
        let style = |code: &'static str| if color { code } else { "" };
        let (red, blue, bold, off) =
            (style("\x1b[1;31m"), style("\x1b[1;34m"), style("\x1b[1m"), style("\x1b[0m"));
        write!(out, "{red}error{off}{bold}: {}{off}", self.says)?;
        let margin = self.line.to_string().len();
        write!(out, "\n{:margin$}{blue}-->{off} {}", "", self.file.display())?;
        if self.line > 0 {
            write!(out, ":{}:{}", self.line, self.column)?;
        }
        let bar = format!("\n{:margin$} {blue}|{off}", "");
        if let Some(quoted) = &self.quoted {
            let shown: String = quoted.text.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
            write!(out, "{bar}\n{blue}{} |{off} {}", self.line, shown.trim_end())?;
            let caret = "^".repeat(quoted.length.max(1));
            write!(out, "{bar} {:1$}{red}{caret}{off}", "", quoted.column.saturating_sub(1))?;
        }
        if !self.path.is_empty() {
            write!(out, "\n{:margin$} {blue}={off} at: {}", "", self.path)?;
        }
        if let Some(remedy) = &self.remedy {
            write!(out, "\n{:margin$} {blue}={off} help: {remedy}", "")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    /// As [`Diagnostic::render`] without colours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}
