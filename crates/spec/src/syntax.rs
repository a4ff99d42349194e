//! What the YAML parser says of a syntax error, in words that help the person who typed it.

use crate::report::Place;

/// Where to point, what to say and what to do.
pub(crate) fn explain(at: Place, info: &str, text: &str) -> (Place, String, Option<String>) {
    let line = text.lines().nth(at.line - 1).unwrap_or("");
    let before = text
        .lines()
        .take(at.line - 1)
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .last();
    if let Some((number, column)) = tab_in_indentation(text, at.line) {
        let place = Place {
            line: number,
            column,
            length: 1,
            ..at
        };
        return (
            place,
            "a tab stands in the indentation".into(),
            Some("indent with spaces only".into()),
        );
    }
    for (number, line) in [
        Some((at.line, line)),
        before.map(|(index, line)| (index + 1, line)),
    ]
    .into_iter()
    .flatten()
    {
        if let Some((column, length, says, remedy)) = unquoted(line).or_else(|| no_space(line)) {
            return (
                Place {
                    line: number,
                    column,
                    length,
                    ..at
                },
                says.into(),
                Some(remedy.into()),
            );
        }
    }
    if let Some((line, column, says)) = bracket(text) {
        return (
            Place {
                line,
                column,
                length: 1,
                ..at
            },
            says,
            Some("check the { } and [ ] around it".into()),
        );
    }
    let (says, remedy) = match info {
        _ if info.contains("quoted scalar") && info.contains("trailing") => {
            ("text follows a closing quote", "put all of it inside the quotes")
        }
        _ if info.contains("escape") => (
            "the text has an escape that YAML does not know",
            "double the backslash, or use single quotes",
        ),
        _ if info.contains("quoted scalar") => (
            "this quoted text is not closed",
            "close it with the quote it began with",
        ),
        _ if info.contains("flow ") => ("a comma is missing", "write `{ a: 1, b: 2 }`"),
        _ if info.contains("unexpected eof") || info.contains("end of plain scalar") => {
            ("the file ends too early", "check that every { and [ is closed")
        }
        _ if info.contains("mapping values are not allowed") => (
            "a colon stands where no key can stand",
            "put text that contains `: ` in quotes, and check the indentation",
        ),
        _ if info.contains("block mapping")
            || info.contains("simple key")
            || info.contains("indentation") =>
        {
            (
                "this line does not fit the ones above it",
                "give keys of one block the same indentation, `name: value`",
            )
        }
        _ if info.contains("block sequence") || info.contains("block collection") => (
            "a list item does not fit here",
            "give all items of one list the same indentation, `- item`",
        ),
        _ if info.contains("unknown anchor") => (
            "this alias names no anchor above it",
            "write the value out; text that begins with * has to be in quotes",
        ),
        _ if info.contains("escape") => (
            "the text has an escape that YAML does not know",
            "double the backslash, or use single quotes",
        ),
        _ if info.contains("directive") => (
            "directives are not needed here",
            "remove the line that begins with %",
        ),
        _ if info.contains("unexpected character") || info.contains("cannot start any token") => {
            ("text cannot begin with this character", "put the text in quotes")
        }
        _ => {
            return (
                at,
                format!("this is not YAML: {info}"),
                Some("check the line and the one above it".into()),
            );
        }
    };
    (at, says.into(), Some(remedy.into()))
}

/// A tab before the first word of the line, or of the one before it.
fn tab_in_indentation(text: &str, line: usize) -> Option<(usize, usize)> {
    [line, line.saturating_sub(1)]
        .into_iter()
        .filter(|number| *number > 0)
        .find_map(|number| {
            let line = text.lines().nth(number - 1)?;
            let blank: String = line.chars().take_while(|c| c.is_whitespace()).collect();
            blank.chars().position(|c| c == '\t').map(|at| (number, at + 1))
        })
}

type Hint = (usize, usize, &'static str, &'static str);

/// `key: {topic}/x` or, inside braces, `key: ${env:NAME}`: text that has to be in quotes.
fn unquoted(line: &str) -> Option<Hint> {
    let column = |byte: usize| line[..byte].chars().count() + 1;
    for opening in [": ${", ": {", "- {", "[${"] {
        for (at, _) in line.match_indices(opening) {
            let start = at + opening.len() - if opening.ends_with("${") { 2 } else { 1 };
            let Some(end) = line[start..].find('}').map(|end| start + end) else {
                continue;
            };
            if opening.ends_with("${") && line[..start].contains(['{', '[']) {
                let says = "`${...}` inside { } or [ ] has to be in quotes";
                return Some((column(start), end + 1 - start, says, "write \"${env:NAME}\""));
            }
            let inside = &line[start + 1..end];
            let name = |c: char| c.is_ascii_alphanumeric() || "_.:%-/".contains(c);
            let follows = line[end + 1..].chars().next();
            if !opening.ends_with("${")
                && inside.chars().all(name)
                && follows.is_some_and(|c| name(c) || c == '{')
            {
                let says = "text that begins with a brace has to be in quotes";
                return Some((column(start), end + 1 - start, says, "write \"{topic}/...\""));
            }
        }
    }
    None
}

/// The first bracket that is not closed, or that closes nothing. Quoted texts and comments are passed over.
fn bracket(text: &str) -> Option<(usize, usize, String)> {
    let mut open: Vec<(char, usize, usize)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut quote = None;
        let mut last = ' ';
        for (index, c) in line.chars().enumerate() {
            let place = (number + 1, index + 1);
            let begins = last.is_whitespace() || "[{,:".contains(last);
            match (quote, c) {
                (Some(mark), _) if mark == c && last != '\\' => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') if begins => quote = Some(c),
                (None, '#') if last.is_whitespace() => break,
                (None, '{' | '[') if begins || !open.is_empty() => open.push((c, place.0, place.1)),
                (None, '}' | ']') if !open.is_empty() || begins => match open.pop() {
                    None => return Some((place.0, place.1, format!("this `{c}` closes nothing"))),
                    Some((opened, line, column)) if (opened == '{') != (c == '}') => {
                        return Some((line, column, format!("this `{opened}` is closed by `{c}`")));
                    }
                    Some(_) => {}
                },
                _ => {}
            }
            last = c;
        }
    }
    let (opened, line, column) = open.first()?;
    Some((*line, *column, format!("this `{opened}` is not closed")))
}

/// `key:value`, which YAML reads as one word.
fn no_space(line: &str) -> Option<Hint> {
    let bare = line.trim_start().trim_start_matches("- ");
    let start = line.len() - bare.len();
    let key = bare.find(':')?;
    let name = !bare[..key].is_empty() && bare[..key].chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let glued = bare[key + 1..].chars().next().is_some_and(|c| !c.is_whitespace());
    (name && glued).then(|| {
        let column = line[..start + key].chars().count() + 1;
        (
            column,
            1,
            "a space is missing after the colon",
            "write `name: value`",
        )
    })
}
