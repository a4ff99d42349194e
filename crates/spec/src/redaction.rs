//! Keeps secrets out of quoted lines: what the schema calls a secret, what a key calls one, and what looks like one.

use crate::diagnostic::Quoted;
use crate::place::{Files, Place};

const STARS: &str = "***";
/// So much of a line is shown, around the caret: what is longer fits no terminal.
const SHOWN_CHARS_MAX: usize = 160;
/// What stands where a line goes on.
const CUT: char = '…';
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

/// `${env:NAME}` without a default shows nothing.
pub(crate) fn only_a_reference(text: &str) -> bool {
    text.starts_with("${") && text.ends_with('}') && text.matches("${").count() == 1 && !text.contains(":-")
}

/// A line as it may be shown, with its secrets masked.
pub(crate) struct Line {
    file: usize,
    number: usize,
    shown: Vec<char>,
    /// Where each character of the line begins and ends in what is shown; all of a secret is one piece. One more for what
    /// is behind the line.
    pieces: Vec<(usize, usize)>,
}

impl Line {
    pub(crate) fn read(files: &Files, at: Place, masks: &[Place]) -> Self {
        let line: Vec<char> = files.line(at.file, at.line).chars().collect();
        let mut hidden: Vec<(usize, usize)> = masks
            .iter()
            .filter(|it| it.file == at.file && it.line == at.line)
            .map(|it| (it.column - 1, (it.column - 1 + it.length).min(line.len())))
            .chain(looks_secret(&line))
            .filter(|(start, end)| start < end)
            .collect();
        hidden.sort_unstable();
        let mut hidden = hidden.into_iter().peekable();
        let (mut shown, mut pieces) = (Vec::new(), Vec::with_capacity(line.len() + 1));
        while pieces.len() < line.len() {
            let (index, start) = (pieces.len(), shown.len());
            let mut end = index;
            while let Some((_, to)) = hidden.next_if(|(from, _)| *from <= end.max(index)) {
                end = end.max(to);
            }
            if end > index {
                shown.extend(STARS.chars());
            } else {
                shown.push(line[index]);
                end += 1;
            }
            pieces.resize(end, (start, shown.len()));
        }
        pieces.push((shown.len(), shown.len()));
        Self { file: at.file, number: at.line, shown, pieces }
    }

    /// Whether it is the line of that place.
    pub(crate) fn is_of(&self, at: Place) -> bool {
        (self.file, self.number) == (at.file, at.line)
    }

    /// With the caret under that place, which is on this line.
    pub(crate) fn quote(&self, at: Place) -> Quoted {
        let piece = |index: usize| self.pieces[index.min(self.pieces.len() - 1)];
        let first = at.column - 1;
        let column = piece(first).0 + 1;
        let end = piece(first + at.length.max(1) - 1).1;
        self.cut(column, (end + 1).saturating_sub(column).max(1))
    }

    /// The stretch of a long line that the caret stands in.
    fn cut(&self, column: usize, length: usize) -> Quoted {
        let width = self.shown.len();
        if width <= SHOWN_CHARS_MAX {
            return Quoted { text: self.shown.iter().collect(), column, length };
        }
        let length = length.min(SHOWN_CHARS_MAX / 2);
        // As much before the caret as behind it, and at either end of the line all of the rest.
        let before = (SHOWN_CHARS_MAX - length) / 2;
        let first = (column - 1).saturating_sub(before).min(width - SHOWN_CHARS_MAX);
        let last = first + SHOWN_CHARS_MAX;
        let mut text = self.shown[first..last].to_vec();
        if first > 0 {
            text[0] = CUT;
        }
        if last < width {
            text[SHOWN_CHARS_MAX - 1] = CUT;
        }
        Quoted { text: text.into_iter().collect(), column: column - first, length }
    }
}

/// Parts of a line that look like secrets where no tree says so: after a syntax error, inside a URL, in a PEM block.
fn looks_secret(line: &[char]) -> Vec<(usize, usize)> {
    let text: String = line.iter().collect();
    let lower = text.to_ascii_lowercase();
    let starts: Vec<usize> = text.char_indices().map(|(byte, _)| byte).collect();
    let chars_before = |byte: usize| starts.partition_point(|start| *start < byte);
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
        let mut masked = 0;
        for (at, _) in lower.match_indices(word) {
            // A value that holds the word again is masked as a whole.
            if at < masked {
                continue;
            }
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
                masked = end;
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
        let at = Place { file, line: 1, column, length, inline: true };
        let quoted = Line::read(&files, at, &[]).quote(at);
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

    #[test]
    fn of_a_long_line_the_stretch_around_the_caret_is_shown() {
        let line = format!("{}here{}", "-".repeat(100_000), "=-".repeat(50_000));
        let (text, column, length) = shown(&line, 100_001, 4);
        assert_eq!(text.chars().count(), SHOWN_CHARS_MAX);
        assert_eq!(text.chars().skip(column - 1).take(length).collect::<String>(), "here");
        assert!(text.starts_with('…') && text.ends_with('…'), "{text}");
        // At either end, and a place that is long itself.
        assert!(shown(&line, 1, 4).0.starts_with("---"));
        let (text, column, _) = shown(&line, 200_005, 1);
        assert_eq!((text.ends_with("=-=-"), column), (true, SHOWN_CHARS_MAX + 1));
        let (_, column, length) = shown(&line, 1, 200_004);
        assert_eq!((column, length), (1, SHOWN_CHARS_MAX / 2));
        // A secret that is cut stays masked.
        let secret = format!("password: {}, x: y", "s".repeat(100_000));
        assert_eq!(shown(&secret, 1, 8).0, "password: ***, x: y");
    }
}
