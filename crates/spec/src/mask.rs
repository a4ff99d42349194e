//! Keeps secrets out of quoted lines: what the schema calls a secret, what a key calls one, and what looks like one.

use crate::diagnostic::Quoted;
use crate::report::{Files, Place, Report};
use crate::tree::{Kind, Node};

const STARS: &str = "***";
const SECRET_WORDS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "private_key",
    "api_key",
    "apikey",
    "jaas",
    "key.pem",
];

/// Whether a key of that name holds something that is not shown. Misspelt it still does: just then its line is quoted.
pub(crate) fn secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let nearly =
        |word: &str| key.split(['_', '.', '-']).any(|part| strsim::damerau_levenshtein(part, word) == 1);
    SECRET_WORDS.iter().any(|word| key.contains(word) || nearly(word))
}

/// Hides every scalar that stands under a key that names a secret.
pub(crate) fn hide(node: &mut Node, below_secret: bool, report: &mut Report) {
    match &mut node.kind {
        Kind::Map(entries) => {
            for entry in entries {
                hide(&mut entry.value, below_secret || secret_key(&entry.key), report);
            }
        }
        Kind::List(items) => items.iter_mut().for_each(|item| hide(item, below_secret, report)),
        Kind::Text(_) | Kind::Number(_) if below_secret => {
            node.hidden = true;
            if !node.as_text().is_some_and(only_a_reference) {
                report.mask(node.at);
            }
        }
        _ => {}
    }
}

/// `${env:NAME}` without a default shows nothing.
pub(crate) fn only_a_reference(text: &str) -> bool {
    text.starts_with("${") && text.ends_with('}') && text.matches("${").count() == 1 && !text.contains(":-")
}

/// The line of a place with its secrets masked, and where the caret goes in what is left.
pub(crate) fn quote(files: &Files, at: Place, masks: &[Place]) -> Quoted {
    let line: Vec<char> = files.line(at.file, at.line).chars().collect();
    let mut hidden: Vec<(usize, usize)> = masks
        .iter()
        .filter(|mask| mask.file == at.file && mask.line == at.line)
        .map(|mask| (mask.column - 1, (mask.column - 1 + mask.length).min(line.len())))
        .chain(looks_secret(&line))
        .filter(|(start, end)| start < end)
        .collect();
    hidden.sort_unstable();
    let (first, last) = (at.column - 1, (at.column - 1 + at.length).min(line.len().max(at.column)));
    let (mut text, mut column, mut end) = (String::new(), None, None);
    let mut index = 0;
    let mut width = 0;
    while index <= line.len() {
        let mask = hidden.iter().filter(|(start, _)| *start <= index).map(|(_, end)| *end).max();
        let (next, shown) = match mask.filter(|end| *end > index) {
            Some(end) => (end, STARS.to_owned()),
            None => (index + 1, line.get(index).map(char::to_string).unwrap_or_default()),
        };
        if next > first && column.is_none() {
            column = Some(width + 1);
        }
        width += shown.chars().count();
        text.push_str(&shown);
        if next >= last && end.is_none() {
            end = Some(width);
        }
        index = next;
    }
    let column = column.unwrap_or(width + 1);
    let length = (end.unwrap_or(width) + 1).saturating_sub(column).max(1);
    Quoted { text, column, length }
}

/// Parts of a line that look like secrets where no tree says so: after a syntax error, inside a URL, in a PEM block.
fn looks_secret(line: &[char]) -> Vec<(usize, usize)> {
    let text: String = line.iter().collect();
    let lower = text.to_ascii_lowercase();
    let chars_before = |byte: usize| text[..byte].chars().count();
    let mut found = Vec::new();
    let bare = text.trim();
    if bare.len() >= 40 && bare.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c)) {
        found.push((0, line.len()));
    }
    // A key in one line, with its line ends escaped.
    if let Some(at) = text.find("-----BEGIN ").filter(|at| text[*at..].contains("PRIVATE KEY-----")) {
        found.push((chars_before(at), line.len()));
    }
    for word in SECRET_WORDS {
        for (at, _) in lower.match_indices(word) {
            let after = at + word.len();
            let name_end = text[after..].find(|c: char| !(c.is_alphanumeric() || "_.-\"'".contains(c)));
            let colon = after + name_end.unwrap_or(text.len() - after);
            let Some(rest) = text[colon..].trim_start().strip_prefix(':') else {
                continue;
            };
            let value = rest.trim_start();
            let start = text.len() - value.len();
            let end = start + end_of_scalar(value);
            if !only_a_reference(text[start..end].trim_matches(['"', '\''])) {
                found.push((chars_before(start), chars_before(end)));
            }
        }
    }
    for (at, _) in text.match_indices("://") {
        let authority = at + 3;
        let end =
            text[authority..].find(['/', ' ', '"', '\'', ',']).map_or(text.len(), |end| authority + end);
        let Some(host) = text[authority..end].rfind('@') else {
            continue;
        };
        if let Some(colon) = text[authority..authority + host].find(':') {
            found.push((chars_before(authority + colon + 1), chars_before(authority + host)));
        }
    }
    found
}

/// Bytes of a scalar at the start of `text`; lists and maps reach to the end of the line.
fn end_of_scalar(text: &str) -> usize {
    match text.chars().next() {
        None => 0,
        Some(quote @ ('"' | '\'')) => text[1..].find(quote).map_or(text.len(), |end| end + 2),
        Some('[' | '{') => text.len(),
        Some('$') if text.starts_with("${") => text.find('}').map_or(text.len(), |end| end + 1),
        Some(_) => [text.find(','), text.find('}'), text.find(" #")]
            .into_iter()
            .flatten()
            .min()
            .map_or(text.trim_end().len(), |end| text[..end].trim_end().len()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shown(line: &str, column: usize, length: usize) -> (String, usize, usize) {
        let mut files = Files::default();
        let file = files.add(Path::new("a"), line.to_owned());
        let quoted = quote(&files, Place { file, line: 1, column, length, inline: true }, &[]);
        (quoted.text, quoted.column, quoted.length)
    }

    #[test]
    fn what_looks_like_a_secret_is_masked_and_the_caret_stays_under_its_word() {
        let line = "{ sasl.password: hunter2, regoin: x }";
        assert_eq!(shown(line, 27, 6), ("{ sasl.password: ***, regoin: x }".into(), 23, 6));
        assert_eq!(shown("token: \"a, b\" # c", 1, 5), ("token: *** # c".into(), 1, 5));
        assert_eq!(shown("secret_key: abc", 13, 3), ("secret_key: ***".into(), 13, 3));
        assert_eq!(shown("url: postgres://me:pw@host/db", 6, 99).0, "url: postgres://me:***@host/db");
        assert_eq!(shown("password: ${env:PW}", 1, 8).0, "password: ${env:PW}");
        assert_eq!(shown("password: ${env:PW:-x}", 1, 8).0, "password: ***");
        assert_eq!(shown("secret: [a, b]", 1, 6).0, "secret: ***");
        assert_eq!(shown(&format!("  {}", "QUJD".repeat(16)), 3, 1).0, "***");
        assert_eq!(shown("topics: [orders]", 9, 8), ("topics: [orders]".into(), 9, 8));
        assert_eq!(shown("a: 1", 5, 1), ("a: 1".into(), 5, 1));
    }
}
