//! Where a row of a file ends: newlines inside quotes belong to a cell.

use memchr::memchr;

/// Looks for the end of a row, in bytes that come in pieces.
#[derive(Clone, Debug, Default)]
pub struct RowEnd {
    /// So many bytes of the row were looked at.
    looked_at: usize,
    inside: Inside,
}

/// Where the next byte stands. What [`super::cells`] refuses ends as if it had no quotes: one bad row is one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inside {
    /// At the start of a cell, the only place where a quote opens one.
    #[default]
    Start,
    Plain,
    Quoted,
    /// Behind a quote that ended the cell, or was the first of two.
    Quote,
}

impl RowEnd {
    /// Where the newline is that ends the row, of which these are the bytes so far. Called again with more of the same row it
    /// goes on where it was.
    pub fn find(&mut self, row: &[u8], separator: char) -> Option<usize> {
        let (mut utf8, mut inside) = ([0; 4], self.inside);
        let separator = separator.encode_utf8(&mut utf8).as_bytes();
        let last = separator.last().copied().unwrap_or(b',');
        let mut at = self.looked_at;
        let end = loop {
            let Some(&byte) = row.get(at) else { break None };
            inside = match (inside, byte) {
                (Inside::Quoted, b'"') => Inside::Quote,
                (Inside::Quoted, _) => {
                    at += memchr(b'"', &row[at..]).unwrap_or(row.len() - at);
                    continue;
                }
                (_, b'\n') => break Some(at),
                (Inside::Start | Inside::Quote, b'"') => Inside::Quoted,
                (_, byte) if byte == last && row[..=at].ends_with(separator) => Inside::Start,
                _ => Inside::Plain,
            };
            at += 1;
        };
        *self = Self { looked_at: at, inside };
        end
    }

    /// Whether a quote was opened and not closed.
    pub fn in_quotes(&self) -> bool {
        self.inside == Inside::Quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, separator: char) -> Vec<&str> {
        let (mut rows, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            // However the bytes arrive, the end is where it is.
            let mut slowly = RowEnd::default();
            let found = (1..=rest.len()).find_map(|len| slowly.find(&rest.as_bytes()[..len], separator));
            assert_eq!(RowEnd::default().find(rest.as_bytes(), separator), found, "{rest:?}");
            let (row, behind) = found.map_or((rest, ""), |at| (&rest[..at], &rest[at + 1..]));
            rows.push(row);
            rest = behind;
        }
        rows
    }

    #[test]
    fn a_newline_ends_a_row_unless_it_is_quoted() {
        assert_eq!(rows("a,b\nc,d\r\n\nlast", ','), ["a,b", "c,d\r", "", "last"]);
        assert_eq!(rows("\"a\nb\",c\nd,\"\"\"\n\"\"\"\n", ','), ["\"a\nb\",c", "d,\"\"\"\n\"\"\""]);
        assert_eq!(rows("a,\"x\ny\"\n", ';'), ["a,\"x", "y\""], "no cell begins there");
        assert_eq!(rows("a;\"x\ny\"\n", ';'), ["a;\"x\ny\""]);
        assert_eq!(rows("a→\"x\ny\"→\nb", '→'), ["a→\"x\ny\"→", "b"]);
        // No reader agrees on these; none of them takes its neighbours along.
        assert_eq!(rows("5\" pipe,1\nb,2\n", ','), ["5\" pipe,1", "b,2"]);
        assert_eq!(rows("\"a\"b,1\nb,2\n", ','), ["\"a\"b,1", "b,2"]);
    }

    #[test]
    fn a_quote_without_an_end_is_known() {
        let mut end = RowEnd::default();
        assert_eq!(end.find(b"a,\"b\nc\n", ','), None);
        assert!(end.in_quotes());
        assert_eq!(end.find(b"a,\"b\nc\n\"\n", ','), Some(8));
    }
}
