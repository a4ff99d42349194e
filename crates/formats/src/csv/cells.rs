//! The cells of a line, as RFC 4180 quotes them.

use std::borrow::Cow;
use std::ops::Range;

/// A cell of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cell<'a> {
    /// Where it stands, or what is left of it without its doubled quotes.
    pub(super) text: CellText<'a>,
    pub(super) quoted: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum CellText<'a> {
    Span(&'a str, Range<usize>),
    Own(String),
}

impl CellText<'_> {
    pub(super) fn get(&self) -> &str {
        match self {
            CellText::Span(line, range) => &line[range.clone()],
            CellText::Own(text) => text,
        }
    }
}

/// The line without its line end, if it has one.
pub(super) fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// The cells of a line, one after the other. The error says what is wrong and at which byte.
pub(super) fn cells(
    line: &str,
    separator: char,
) -> impl Iterator<Item = Result<Cell<'_>, (&'static str, usize)>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let begin = next.take()?;
        let read = if line[begin..].starts_with('"') {
            quoted(line, begin, separator)
        } else {
            plain(line, begin, separator)
        };
        Some(read.map(|(cell, end)| {
            next = line[end..].starts_with(separator).then_some(end + separator.len_utf8());
            cell
        }))
    })
}

type Read<'a> = Result<(Cell<'a>, usize), (&'static str, usize)>;

fn plain(line: &str, begin: usize, separator: char) -> Read<'_> {
    let end = line[begin..].find(separator).map_or(line.len(), |at| begin + at);
    if let Some(at) = line[begin..end].find('"') {
        return Err(("a quote stands inside a cell that has none around it", begin + at));
    }
    Ok((Cell { text: CellText::Span(line, begin..end), quoted: false }, end))
}

fn quoted(line: &str, begin: usize, separator: char) -> Read<'_> {
    let mut unescaped: Option<String> = None;
    let mut from = begin + 1;
    loop {
        let Some(quote) = line[from..].find('"').map(|at| from + at) else {
            return Err(("the quote of a cell has no end", begin));
        };
        if line[quote + 1..].starts_with('"') {
            unescaped.get_or_insert_default().push_str(&line[from..=quote]);
            from = quote + 2;
            continue;
        }
        let end = quote + 1;
        if end < line.len() && !line[end..].starts_with(separator) {
            return Err(("something follows the quote at the end of a cell", end));
        }
        let text = match unescaped {
            None => CellText::Span(line, begin + 1..quote),
            Some(text) => CellText::Own(text + &line[from..quote]),
        };
        return Ok((Cell { text, quoted: true }, end));
    }
}

/// Appends a cell, in quotes where it needs them: a text that would be read as null does too.
pub(super) fn write(text: &str, separator: char, null: &str, out: &mut Vec<u8>) {
    let needs_quotes = text == null || text.contains(['"', '\r', '\n', separator]);
    if !needs_quotes {
        return out.extend_from_slice(text.as_bytes());
    }
    let inside = if text.contains('"') { Cow::from(text.replace('"', "\"\"")) } else { Cow::from(text) };
    out.push(b'"');
    out.extend_from_slice(inside.as_bytes());
    out.push(b'"');
}
