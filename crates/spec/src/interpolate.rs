//! Fills `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` into the text values of a parsed tree. Nothing that
//! is filled in can add structure, and none of it is ever shown.

use std::io;
use std::path::Path;

use aqueduct_api::config::file::read_text;

use crate::names;
use crate::place::Place;
use crate::report::{FILLED_BYTES_MAX, Report};
use crate::tree::{FILE_BYTES_MAX, Fill, Kind, Node};

/// Where values from outside come from, so that reading a file stays a pure function of them.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The value of a variable, if it is set.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl Environment<'static> {
    /// The environment and the files of this process.
    pub fn of_process() -> Self {
        Self { variable: &|name| std::env::var(name).ok(), read: &|path| read_text(path, FILE_BYTES_MAX) }
    }
}

/// Fills every text of a tree. `folder` is where relative paths of `${file:...}` begin.
pub(crate) fn fill(
    node: &mut Node,
    environment: &Environment,
    folder: &Path,
    path: &str,
    report: &mut Report,
) {
    match &mut node.kind {
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill(item, environment, folder, &format!("{path}[{index}]"), report);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                fill(&mut entry.value, environment, folder, &path, report);
            }
        }
        Kind::Text(text) if text.contains("${") => {
            let mut filling =
                Filling { environment, folder, at: node.at, path, report, fill: Fill::default() };
            match filling.text(text) {
                None => node.kind = Kind::Broken,
                Some(filled) => {
                    let fill = filling.fill;
                    node.kind = Kind::Text(filled);
                    node.fill = (!fill.names.is_empty()).then_some(fill);
                }
            }
        }
        _ => {}
    }
}

struct Filling<'a> {
    environment: &'a Environment<'a>,
    folder: &'a Path,
    at: Place,
    path: &'a str,
    report: &'a mut Report,
    fill: Fill,
}

impl Filling<'_> {
    /// The filled text; `None` when something could not be filled, which is then reported.
    fn text(&mut self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        let mut whole = false;
        let mut sound = true;
        while let Some(start) = rest.find("${") {
            if rest[..start].ends_with('$') {
                out.push_str(&rest[..start - 1]);
                out.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            out.push_str(&rest[..start]);
            let Some(end) = rest[start..].find('}').map(|end| start + end) else {
                self.say("`${` is not closed".into(), "write ${env:NAME}, or $${ for these two characters");
                return None;
            };
            whole = start == 0 && rest.len() == text.len() && end + 1 == rest.len();
            match self.value(&rest[start + 2..end]) {
                // Aliases repeat a value as often as they are written.
                Some((_, value)) if !self.report.may_fill(value.len()) => {
                    let mib = FILLED_BYTES_MAX >> 20;
                    let says =
                        format!("more than {mib} MiB are filled in by `${{env:...}}` and `${{file:...}}`");
                    self.say(says, "name smaller files, or the same one less often");
                    return None;
                }
                Some((name, value)) => {
                    out.push_str(&value);
                    self.fill.names.push(name);
                    self.fill.values.push(value);
                }
                None => sound = false,
            }
            rest = &rest[end + 1..];
        }
        out.push_str(rest);
        self.fill.whole = whole;
        sound.then_some(out)
    }

    /// How the reference is shown, and its value.
    fn value(&mut self, reference: &str) -> Option<(String, String)> {
        let Some((provider, name)) = reference.split_once(':') else {
            let remedy =
                format!("write ${{env:{reference}}} for the variable, or $${{ for these two characters");
            self.say(format!("`${{{reference}}}` does not say where the value comes from"), remedy);
            return None;
        };
        let value = match provider {
            "env" => self.variable(name),
            "file" => self.file(name),
            _ => {
                let near = names::nearest(provider, ["env", "file"]);
                let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
                let remedy =
                    format!("{near}known are ${{env:NAME}}, ${{env:NAME:-default}} and ${{file:/path}}");
                self.say(format!("values cannot come from `{provider}`"), remedy);
                None
            }
        }?;
        let name = name.split(":-").next().unwrap_or(name);
        Some((format!("${{{provider}:{name}}}"), value))
    }

    fn variable(&mut self, reference: &str) -> Option<String> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || !letters || name.starts_with(|c: char| c.is_ascii_digit()) {
            let remedy = "a name has letters, digits and _; a default follows it as in ${env:NAME:-default}";
            self.say(format!("`{name}` cannot be the name of an environment variable"), remedy);
            return None;
        }
        if default.is_some_and(|default| default.contains("${")) {
            let remedy = "write a plain default";
            self.say(
                format!("the default of `${{env:{name}}}` is itself filled in, which is not supported"),
                remedy,
            );
            return None;
        }
        // As in a shell, `:-` stands in for an empty variable too.
        let found = (self.environment.variable)(name).filter(|value| default.is_none() || !value.is_empty());
        let value = found.or_else(|| default.map(str::to_owned));
        if value.is_none() {
            let remedy = format!("set it, or give a default: ${{env:{name}:-default}}");
            self.say(format!("the environment variable `{name}` is not set"), remedy);
        }
        value
    }

    fn file(&mut self, name: &str) -> Option<String> {
        let path = self.folder.join(name);
        let text = match (self.environment.read)(&path) {
            Ok(text) => text,
            Err(error) => {
                let says = match error.kind() {
                    io::ErrorKind::NotFound => format!("the file `{name}` does not exist"),
                    io::ErrorKind::FileTooLarge => {
                        let says = format!("the file `{name}` is larger than 1 MiB");
                        self.say(says, "name a file that holds one value");
                        return None;
                    }
                    io::ErrorKind::InvalidData => format!("the file `{name}` is not UTF-8 text"),
                    _ => format!("the file `{name}` cannot be read: {error}"),
                };
                self.say(says, "correct the path, or create the file; it holds the value and nothing else");
                return None;
            }
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Some(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }

    fn say(&mut self, says: String, remedy: impl Into<String>) {
        self.report.say(self.at, self.path, says).remedy(remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<(String, bool), String> {
        let read = |path: &Path| match path.to_str() {
            Some("/here/pw") => Ok("hunter2\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let variable = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "BRACES" => Some("${env:A}".to_owned()),
            _ => None,
        };
        let environment = Environment { variable: &variable, read: &read };
        let at = Place { file: 0, line: 0, column: 1, length: 1, inline: true };
        let mut node = Node::text(at, text);
        let mut report = Report::default();
        fill(&mut node, &environment, Path::new("/here"), "x", &mut report);
        let mut files = crate::place::Files::default();
        files.add(Path::new("f"), String::new());
        match report.diagnostics(&files).first() {
            Some(found) => Err(found.says.clone()),
            None => Ok((node.as_text().unwrap().to_owned(), node.fill.is_some_and(|fill| fill.whole))),
        }
    }

    #[test]
    fn fills_what_is_there_and_names_what_is_not() {
        for (text, expected, whole) in [
            ("${env:A}", "1", true),
            ("a${env:A}b${file:pw}", "a1bhunter2", false),
            ("${env:A}${env:A}", "11", false),
            ("$${env:A}", "${env:A}", false),
            ("${env:B:-x y}", "x y", true),
            ("${env:EMPTY:-x}", "x", true),
            ("${env:EMPTY}", "", true),
            ("${env:BRACES}", "${env:A}", true),
            ("${file:/here/pw}", "hunter2", true),
            ("{topic}/$5", "{topic}/$5", false),
        ] {
            assert_eq!(filled(text), Ok((expected.to_owned(), whole)), "{text}");
        }
        for (text, says) in [
            ("${env:B}", "`B` is not set"),
            ("${B}", "does not say where"),
            ("${evn:B}", "cannot come from `evn`"),
            ("${env:B", "not closed"),
            ("${env:MY-VAR}", "cannot be the name"),
            ("${env:B:-${env:A}}", "itself filled in"),
            ("${file:nothing}", "does not exist"),
        ] {
            let found = filled(text).unwrap_err();
            assert!(found.contains(says), "{text}: {found}");
        }
    }

    #[test]
    fn what_is_filled_in_is_bounded_however_often_it_is_named() {
        let big = "x".repeat(FILE_BYTES_MAX);
        let read = |_: &Path| Ok(big.clone());
        let environment = Environment { variable: &|_| None, read: &read };
        let at = Place { file: 0, line: 0, column: 1, length: 1, inline: true };
        let mut report = Report::default();
        let items = (0..1_000).map(|_| Node::text(at, "${file:big}")).collect();
        let mut node = Node::new(at, Kind::List(items));
        fill(&mut node, &environment, Path::new("/here"), "x", &mut report);
        let Kind::List(items) = &node.kind else { panic!("it was a list") };
        let bytes: usize = items.iter().filter_map(Node::as_text).map(str::len).sum();
        assert_eq!(bytes, FILLED_BYTES_MAX);
        assert!(report.count() > 0);
    }
}
