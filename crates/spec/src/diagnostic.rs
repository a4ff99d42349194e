//! One problem of a file as people read it: what, where, the line with a caret, the path, and what to do.

use std::fmt::{self, Write};
use std::path::PathBuf;

/// A sentence that quotes a longer text is cut in its middle.
const SAID_CHARS_MAX: usize = 1_000;

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
        write!(out, "{red}error{off}{bold}: {}{off}", plain(&self.says))?;
        let margin = self.line.to_string().len();
        write!(out, "\n{:margin$}{blue}-->{off} {}", "", self.file.display())?;
        if self.line > 0 {
            write!(out, ":{}:{}", self.line, self.column)?;
        }
        let bar = format!("\n{:margin$} {blue}|{off}", "");
        if let Some(quoted) = &self.quoted {
            let shown: String = quoted.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            write!(out, "{bar}\n{blue}{} |{off} {}", self.line, shown.trim_end())?;
            // A terminal gives some characters two columns, and some none.
            let columns = |chars: usize| shown.chars().take(chars).map(columns_of).sum::<usize>();
            let before = quoted.column.saturating_sub(1);
            let beyond = before.saturating_sub(shown.chars().count());
            let (indent, under) = (columns(before), columns(before + quoted.length) - columns(before));
            let (indent, caret) = (" ".repeat(indent + beyond), "^".repeat(under.max(1)));
            write!(out, "{bar} {indent}{red}{caret}{off}")?;
        }
        if !self.path.is_empty() {
            write!(out, "\n{:margin$} {blue}={off} at: {}", "", plain(&self.path))?;
        }
        if let Some(remedy) = &self.remedy {
            write!(out, "\n{:margin$} {blue}={off} help: {}", "", plain(remedy))?;
        }
        Ok(())
    }
}

/// What a file says goes to a terminal: bounded, and without what would move the cursor.
fn plain(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= SAID_CHARS_MAX {
        return shown.collect();
    }
    let half = SAID_CHARS_MAX / 2;
    let end: String = shown.clone().skip(text.chars().count() - half).collect();
    shown.take(half).chain(['…']).collect::<String>() + &end
}

/// How many columns of a terminal a character takes, as near as carets need it: East Asian wide characters and emoji take
/// two, what stands above another one takes none.
fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

impl fmt::Display for Diagnostic {
    /// As [`Diagnostic::render`] without colours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}
