//! What the YAML parser says of a syntax error, in words that help the person who typed it.

use crate::place::Place;

/// What the parser's words mean to a person: any of the words, what to say, what to do.
const MEANINGS: [(&[&str], &str, &str); 10] = [
    (&["trailing content"], "text follows a closing quote", "put all of it inside the quotes"),
    (
        &["escape"],
        "the text has an escape that YAML does not know",
        "double the backslash, or use single quotes",
    ),
    (&["quoted scalar"], "this quoted text is not closed", "close it with the quote it began with"),
    (&["flow "], "a comma is missing", "write `{ a: 1, b: 2 }`"),
    (&["unexpected eof", "end of plain"], "the file ends too early", "check that every { and [ is closed"),
    (
        &["mapping values are not allowed"],
        "a colon stands where no key can stand",
        "put text that contains `: ` in quotes, and check the indentation",
    ),
    (
        &["block mapping", "simple key", "indentation", "wrongly indented"],
        "this line does not fit the ones above it",
        "give keys of one block the same indentation, `name: value`",
    ),
    (
        &["block sequence", "block collection"],
        "a list item does not fit here",
        "give all items of one list the same indentation, `- item`",
    ),
    (
        &["unknown anchor"],
        "this alias names no anchor above it",
        "write the value out; text that begins with * has to be in quotes",
    ),
    (&["unexpected character"], "text cannot begin with this character", "put the text in quotes"),
];

/// Where to point, what to say and what to do.
pub(crate) fn explain(at: Place, info: &str, text: &str) -> (Place, String, Option<String>) {
    let place = |line, column, length| Place { line, column, length, ..at };
    if let Some((line, column)) = tab_in_indentation(text, at.line) {
        let remedy = "indent with spaces only".to_owned();
        return (place(line, column, 1), "a tab stands in the indentation".into(), Some(remedy));
    }
    let numbered = || text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let here = numbered().nth(at.line - 1);
    let before = numbered().take(at.line - 1).filter(|(_, line)| !line.trim().is_empty()).last();
    for (number, line) in here.into_iter().chain(before) {
        if let Some((column, length, says, remedy)) = unquoted(line).or_else(|| no_space(line)) {
            return (place(number, column, length), says.into(), Some(remedy.into()));
        }
    }
    if let Some((line, column, says)) = bracket(text) {
        return (place(line, column, 1), says, Some("check the { } and [ ] around it".into()));
    }
    match MEANINGS.iter().find(|(words, ..)| words.iter().any(|word| info.contains(word))) {
        Some((_, says, remedy)) => (at, (*says).into(), Some((*remedy).into())),
        None => {
            let remedy =
                "check this line and the one above it; text with : { [ # * & ! in it is safe in quotes";
            (at, format!("this is not YAML: {info}"), Some(remedy.into()))
        }
    }
}

/// A tab before the first word of the line, or of the one before it.
fn tab_in_indentation(text: &str, line: usize) -> Option<(usize, usize)> {
    [line, line.saturating_sub(1)].into_iter().filter(|number| *number > 0).find_map(|number| {
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
        (column, 1, "a space is missing after the colon", "write `name: value`")
    })
}
