//! Cuts bytes into lines, or into the rows of CSV.

use aqueduct_formats::RowEnd;
use memchr::memchr;

/// Finds out where lines end, in bytes that come in pieces.
pub(crate) struct Cutter {
    /// Rows have this between their cells, and newlines inside of quotes; lines have neither.
    separator: Option<char>,
    line_max: usize,
    /// So many bytes of the line have no newline.
    searched: usize,
    row: RowEnd,
}

/// What stands first in the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A whole line.
    Line(Line),
    /// The first line of a row in which a quote is opened and, as far as a line may reach, never closed.
    Unclosed(Line),
    /// A line that is longer than it may be.
    TooLong,
    /// A line that is not complete.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Bytes without the line end.
    pub(crate) content: usize,
    /// Bytes with it.
    pub(crate) len: usize,
    /// How many lines of the file it is.
    pub(crate) lines: u64,
}

impl Cutter {
    pub(crate) fn new(separator: Option<char>, line_max: usize) -> Self {
        Self { separator, line_max, searched: 0, row: RowEnd::default() }
    }

    /// Looks at the bytes from the start of a line; `ended` where no more will come. To be called again with more of the same
    /// line, or with the next one.
    pub(crate) fn cut(&mut self, bytes: &[u8], ended: bool) -> Cut {
        let end = match self.separator {
            Some(separator) => self.row.find(bytes, separator),
            None => memchr(b'\n', &bytes[self.searched..]).map(|at| self.searched + at),
        };
        self.searched = end.unwrap_or(bytes.len());
        let too_long = content(&bytes[..self.searched]) > self.line_max;
        let in_quotes = ended && end.is_none() && self.in_quotes();
        let cut = match end {
            // A quote that takes half of the file along is more likely forgotten than meant.
            _ if too_long || in_quotes => match self.first_line(bytes) {
                Some(line) if self.separator.is_some() => Cut::Unclosed(line),
                _ if too_long => Cut::TooLong,
                _ => Cut::Line(line(bytes, None)),
            },
            None if !ended || bytes.is_empty() => return Cut::More,
            end => Cut::Line(line(bytes, end)),
        };
        self.reset();
        cut
    }

    /// What was looked at last is a row that is not complete because a quote is open.
    pub(crate) fn in_quotes(&self) -> bool {
        self.separator.is_some() && self.row.in_quotes()
    }

    /// The same bytes will come again, from the start of a line.
    pub(crate) fn reset(&mut self) {
        (self.searched, self.row) = (0, RowEnd::default());
    }

    fn first_line(&self, bytes: &[u8]) -> Option<Line> {
        let reach = bytes.len().min(self.line_max.saturating_add(2));
        memchr(b'\n', &bytes[..reach])
            .map(|end| line(bytes, Some(end)))
            .filter(|line| line.content <= self.line_max)
    }
}

fn line(bytes: &[u8], end: Option<usize>) -> Line {
    let (inside, len) = end.map_or((bytes, bytes.len()), |end| (&bytes[..end], end + 1));
    let lines = 1 + memchr::memchr_iter(b'\n', inside).count() as u64;
    Line { content: content(inside), len, lines }
}

/// A line may end as on Windows.
fn content(line: &[u8]) -> usize {
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of it, given byte by byte.
    fn all(text: &str, separator: Option<char>, line_max: usize) -> Vec<String> {
        let (mut cutter, mut said, mut from) = (Cutter::new(separator, line_max), Vec::new(), 0);
        for to in 0..=text.len() {
            loop {
                let ended = to == text.len();
                let (line, mark) = match cutter.cut(&text.as_bytes()[from..to], ended) {
                    Cut::More => break,
                    Cut::Line(line) => (line, ""),
                    Cut::Unclosed(line) => (line, "unclosed "),
                    Cut::TooLong => {
                        said.push("too long".to_owned());
                        return said;
                    }
                };
                said.push(format!("{mark}{} {}", line.lines, &text[from..from + line.content]));
                from += line.len;
            }
        }
        said
    }

    #[test]
    fn lines_end_in_newlines_and_the_last_one_in_the_file() {
        assert_eq!(all("a\n\nb\r\n\rc\n d", None, 9), ["1 a", "1 ", "1 b", "1 \rc", "1  d"]);
        assert_eq!(all("", None, 9), [""; 0]);
        assert_eq!(all("abc\nabcd\r\n", None, 4), ["1 abc", "1 abcd"]);
        assert_eq!(all("abc\nabcde\n", None, 4), ["1 abc", "too long"]);
        assert_eq!(all("abc\nabcde", None, 4), ["1 abc", "too long"]);
    }

    #[test]
    fn rows_may_go_on_behind_a_newline() {
        assert_eq!(all("a,\"b\nc\"\r\nd\n", Some(','), 99), ["2 a,\"b\nc\"", "1 d"]);
        // A forgotten quote costs its own line.
        let expected = ["unclosed 1 a,\"b", "1 c", "1 d"];
        assert_eq!(all("a,\"b\nc\nd\n", Some(','), 99), expected);
        assert_eq!(all("a,\"b\nc\nd\ne\nf", Some(','), 5)[..3], expected);
        assert_eq!(all("a\nb,\"c", Some(','), 99), ["1 a", "1 b,\"c"]);
        assert_eq!(all("\"abcd\ne\"\n", Some(','), 4), ["too long"]);
    }
}
