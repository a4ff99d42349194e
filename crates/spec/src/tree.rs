//! YAML text to a tree in which every value knows its place: one marked parse, several documents a file.
//!
//! The dialect is YAML 1.2's core schema with three differences: `10_000` is a number, `007` is text (some read it as
//! octal), and tags and merge keys are refused.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::Number;

use crate::place::{Files, Place};
use crate::report::Report;
use crate::syntax;

const DEPTH_MAX: usize = 64;
const NODES_MAX: usize = 100_000;
/// No pipeline file may have more bytes than this.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Node {
    /// The value, or the first line of it.
    pub(crate) at: Place,
    /// What it is.
    pub(crate) kind: Kind,
    /// A scalar without quotes.
    pub(crate) plain: bool,
    /// Its text came from outside the file, all or in part, and is never shown.
    pub(crate) fill: Option<Fill>,
    /// Its key names a secret: it is never shown.
    pub(crate) hidden: bool,
    /// The path under which the user finds it, where that is not where it is used: a shared connection.
    pub(crate) home: Option<Arc<str>>,
}

/// What a node is.
#[derive(Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// It was wrong and has been reported: nothing more is said about it.
    Broken,
}

/// A key of a map with its value.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Place,
    pub(crate) value: Node,
}

/// What was filled into a text from outside the file.
#[derive(Clone, Default)]
pub(crate) struct Fill {
    /// As it was written: `${env:NAME}`.
    pub(crate) names: Vec<String>,
    /// What stood there.
    pub(crate) values: Vec<String>,
    /// The text is one filling and nothing else.
    pub(crate) whole: bool,
}

impl Node {
    pub(crate) fn new(at: Place, kind: Kind) -> Self {
        Self { at, kind, plain: false, fill: None, hidden: false, home: None }
    }

    pub(crate) fn text(at: Place, text: impl Into<String>) -> Self {
        Self::new(at, Kind::Text(text.into()))
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        if let Kind::Map(entries) = &self.kind { entries } else { &[] }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Kind::Map(entries) = &mut self.kind else {
            return None;
        };
        entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// Takes an entry out, so that it is not looked at again.
    pub(crate) fn take(&mut self, key: &str) -> Option<Entry> {
        let Kind::Map(entries) = &mut self.kind else {
            return None;
        };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index))
    }

    /// Where to point for a problem of the whole value: a block of several lines is named by its key.
    pub(crate) fn place(&self, key: Place) -> Place {
        if self.at.inline { self.at } else { key }
    }
}

/// Reads all documents of a file. What is wrong is reported; documents before a syntax error are kept.
pub(crate) fn parse(file: usize, files: &Files, report: &mut Report) -> Vec<Node> {
    let text = files.text(file);
    let start = Place { file, line: 1, column: 1, length: 1, inline: true };
    if text.len() > FILE_BYTES_MAX {
        report.say(start, "", format!("the file has {} bytes, more than 1 MiB", text.len()));
        return Vec::new();
    }
    let mut builder = Builder::new(files, file);
    let mut parser = Parser::new_from_str(text);
    if let Err(stop) = builder.read(&mut parser) {
        let (place, says, remedy) = match stop {
            Stop::Syntax(error) => syntax::explain(builder.place_of(*error.marker()), error.info(), text),
            Stop::Refused(place, says, remedy) => (place, says, Some(remedy)),
        };
        report.say(place, "", says).remedy_if(remedy);
        // What was read of the document at hand is not what was meant.
        builder.documents.retain(|document| matches!(document.kind, Kind::Map(_)));
    }
    report.append(builder.duplicates);
    builder.documents
}

enum Stop {
    Syntax(ScanError),
    Refused(Place, String, String),
}

struct Builder<'a> {
    files: &'a Files,
    file: usize,
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    duplicates: Report,
}

/// A list or map that is not closed yet.
struct Open {
    at: Place,
    anchor: usize,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Place)>,
        /// The line of each key so far.
        lines: HashMap<String, usize>,
    },
}

impl<'a> Builder<'a> {
    fn new(files: &'a Files, file: usize) -> Self {
        Self {
            files,
            file,
            documents: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            duplicates: Report::default(),
        }
    }

    fn read(&mut self, parser: &mut Parser<'_, StrInput<'_>>) -> Result<(), Stop> {
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(Stop::Syntax)?;
            match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let node = self.scalar(&text, style, span);
                    self.refuse_tag(tag.is_some(), node.at)?;
                    self.finish(node, anchor, Some(&text))?;
                }
                Event::Alias(id) => {
                    let at = self.place(span);
                    let Some(node) = self.anchors.get(&id).cloned() else {
                        let remedy = "write the value out".to_owned();
                        return Err(Stop::Refused(
                            at,
                            "this alias stands inside its own anchor".into(),
                            remedy,
                        ));
                    };
                    self.count(size_of_tree(&node), at)?;
                    self.finish(node, 0, None)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.begin(span, anchor, tag.is_some(), Body::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.begin(
                        span,
                        anchor,
                        tag.is_some(),
                        Body::Map { entries: Vec::new(), key: None, lines: HashMap::new() },
                    )?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, span: Span, anchor: usize, tagged: bool, body: Body) -> Result<(), Stop> {
        let at = self.place(span);
        self.refuse_tag(tagged, at)?;
        if self.open.len() >= DEPTH_MAX {
            let says = format!("lists and maps are nested more than {DEPTH_MAX} deep");
            return Err(Stop::Refused(
                at,
                says,
                "a pipeline needs fewer than ten; check the brackets".into(),
            ));
        }
        self.open.push(Open { at, anchor, body });
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), Stop> {
        let Some(Open { mut at, anchor, body }) = self.open.pop() else {
            return Ok(());
        };
        // A flow collection ends with its bracket; a block ends where something else begins.
        let same_line = span.end.line() == at.line && !span.is_empty();
        at.inline = same_line;
        if same_line {
            at.length = (span.end.col() + 1).saturating_sub(at.column).max(1);
        }
        let kind = match body {
            Body::List(items) => Kind::List(items),
            Body::Map { entries, .. } => Kind::Map(entries),
        };
        self.finish(Node::new(at, kind), anchor, None)
    }

    /// Puts a finished value where it belongs. `raw` is the text of a scalar, which may be a key.
    fn finish(&mut self, node: Node, anchor: usize, raw: Option<&str>) -> Result<(), Stop> {
        self.count(1, node.at)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.body) {
            None => self.documents.push(node),
            Some(Body::List(items)) => items.push(node),
            Some(Body::Map { entries, key, lines }) => match key.take() {
                None => *key = Some((key_text(&node, raw)?, node.at)),
                Some((name, at)) => match lines.get(&name) {
                    Some(first) => {
                        let says = format!("`{name}` stands twice; the first is in line {first}");
                        self.duplicates.say(at, "", says).remedy("keep one of them");
                    }
                    None => {
                        lines.insert(name.clone(), at.line);
                        entries.push(Entry { key: name, at, value: node });
                    }
                },
            },
        }
        Ok(())
    }

    fn count(&mut self, more: usize, at: Place) -> Result<(), Stop> {
        self.nodes += more;
        if self.nodes > NODES_MAX {
            let says = format!("the file has more than {NODES_MAX} values once its aliases are written out");
            return Err(Stop::Refused(at, says, "use fewer aliases, or several files".into()));
        }
        Ok(())
    }

    fn refuse_tag(&self, tagged: bool, at: Place) -> Result<(), Stop> {
        if tagged {
            let remedy = "leave the tag out; put text that begins with ! in quotes".to_owned();
            return Err(Stop::Refused(at, "tags such as !name are not part of the language".into(), remedy));
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, span: Span) -> Node {
        let plain = style == ScalarStyle::Plain;
        let kind = if plain { plain_kind(text) } else { Kind::Text(text.to_owned()) };
        Node { plain, ..Node::new(self.place(span), kind) }
    }

    fn place(&self, span: Span) -> Place {
        let mut place = self.place_of(span.start);
        place.length = if span.end.line() == span.start.line() {
            span.len().max(1)
        } else {
            let line = self.files.line(self.file, place.line).chars().count();
            (line + 1).saturating_sub(place.column).max(1)
        };
        place
    }

    fn place_of(&self, mark: Marker) -> Place {
        Place { file: self.file, line: mark.line().max(1), column: mark.col() + 1, length: 1, inline: true }
    }
}

fn key_text(node: &Node, raw: Option<&str>) -> Result<String, Stop> {
    let refuse = |says: &str, remedy: &str| Err(Stop::Refused(node.at, says.to_owned(), remedy.to_owned()));
    match raw {
        Some("<<") if node.plain => refuse(
            "merge keys (`<<`) are not supported",
            "name what is shared as a connection in aqueduct.yaml",
        ),
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        Some(_) => refuse("a key is missing before the colon", "write `name: value`"),
        None => refuse(
            "a key must be text, not a list, a map or an alias",
            "put text that begins with { or [ in quotes",
        ),
    }
}

fn size_of_tree(node: &Node) -> usize {
    match &node.kind {
        Kind::List(items) => 1 + items.iter().map(size_of_tree).sum::<usize>(),
        Kind::Map(entries) => 1 + entries.iter().map(|entry| size_of_tree(&entry.value)).sum::<usize>(),
        _ => 1,
    }
}

/// What a scalar without quotes is.
pub(crate) fn plain_kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ => number(text).map_or_else(|| Kind::Text(text.to_owned()), Kind::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let first = unsigned.chars().next()?;
    let well_placed = !text.ends_with('_') && !text.contains("__");
    if !(first.is_ascii_digit() || first == '.' && unsigned.len() > 1) || !well_placed {
        return None;
    }
    let digits = text.strip_prefix('+').unwrap_or(text).replace('_', "");
    if unsigned.chars().all(|c| c.is_ascii_digit() || c == '_') {
        if first == '0' && unsigned.len() > 1 {
            return None;
        }
        return digits
            .parse::<i64>()
            .map(Number::from)
            .or_else(|_| digits.parse::<u64>().map(Number::from))
            .ok();
    }
    let float = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if text.contains('_') || !unsigned.chars().all(float) {
        return None;
    }
    digits.parse::<f64>().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(text: &str) -> String {
        match plain_kind(text) {
            Kind::Null => "null".into(),
            Kind::Bool(value) => value.to_string(),
            Kind::Number(value) => value.to_string(),
            Kind::Text(value) => format!("'{value}'"),
            _ => unreachable!(),
        }
    }

    #[test]
    fn plain_scalars_are_yaml_1_2_and_a_little_more() {
        for (text, kind) in [
            ("~", "null"),
            ("true", "true"),
            ("yes", "'yes'"),
            ("off", "'off'"),
            ("10_000", "10000"),
            ("-3", "-3"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.5", "1.5"),
            ("1e3", "1000.0"),
            ("007", "'007'"),
            ("1_", "'1_'"),
            ("2026-01-01", "'2026-01-01'"),
            ("12:30:45", "'12:30:45'"),
            ("5m", "'5m'"),
            (".", "'.'"),
            ("-", "'-'"),
            ("1.2.3", "'1.2.3'"),
        ] {
            assert_eq!(kind_of(text), kind, "{text}");
        }
    }
}
