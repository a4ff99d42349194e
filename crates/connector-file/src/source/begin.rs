//! The beginning of a file: what stands there in front of its records.

use aqueduct_api::{Error, Result, Rows};
use bytes::Bytes;

use super::FileSource;
use crate::cut::{Cut, Line};

impl FileSource {
    /// Passes what stands in front of the records: a byte order mark, a row of names, the line end that the last record did
    /// not have yet. False while more bytes are needed to know.
    pub(super) fn begin(&mut self) -> Result<bool> {
        if self.open_line {
            match &*self.buffer {
                [] | [b'\r'] if !self.ended => return Ok(false),
                [b'\n', ..] => self.pass(1),
                [b'\r', b'\n', ..] => self.pass(2),
                _ => {}
            }
            self.open_line = false;
        }
        if self.begun {
            return Ok(true);
        }
        if self.place.byte == 0 {
            match mark(&self.buffer, self.ended) {
                Mark::Unknown => return Ok(false),
                Mark::None => {}
                Mark::Utf8 => self.pass(3),
                Mark::Other(encoding) => {
                    let remedy = format!("convert it: iconv -f {encoding} -t UTF-8");
                    return Err(Error::config(format!("the file is {encoding}, by its byte order mark"))
                        .with("path", &self.config.path)
                        .remedy(remedy));
                }
            }
        }
        let wanted = self.rows.as_ref().and_then(|rows| rows.first.clone());
        if let Some(first) = wanted {
            if self.names.is_none() {
                self.names = self.first_row()?;
            }
            let Some(names) = self.names.take() else { return Ok(self.ended) };
            // Rows of the file before it may not have been decoded yet, and their names are those that stand in `first`.
            if self.given.is_some() && first.get().is_some_and(|before| before != names) {
                self.names = Some(names);
                return Err(Error::config("the new file names other fields in its first line")
                    .with("path", &self.config.path));
            }
            first.set(names);
        }
        self.begun = true;
        Ok(true)
    }

    /// The first row that is not empty.
    fn first_row(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.cutter.cut(&self.buffer, self.ended) {
                Cut::More => return Ok(None),
                Cut::Line(Line { content, len, lines }) => {
                    let row = Bytes::copy_from_slice(&self.buffer[..content]);
                    self.pass(len);
                    self.place.line += lines;
                    if !row.is_empty() {
                        return Ok(Some(row));
                    }
                }
                Cut::Unclosed(_) | Cut::TooLong => {
                    let error = Error::config("the first line has no end, and it is to name the fields");
                    return Err(self
                        .at(error)
                        .remedy("see whether this is a file of CSV, or write `fields`"));
                }
            }
        }
    }
}

/// What a file begins with.
enum Mark {
    Unknown,
    None,
    Utf8,
    Other(&'static str),
}

fn mark(bytes: &[u8], ended: bool) -> Mark {
    const MARKS: [(&[u8], Mark); 5] = [
        (b"\xef\xbb\xbf", Mark::Utf8),
        (b"\xff\xfe\0\0", Mark::Other("UTF-32LE")),
        (b"\0\0\xfe\xff", Mark::Other("UTF-32BE")),
        (b"\xff\xfe", Mark::Other("UTF-16LE")),
        (b"\xfe\xff", Mark::Other("UTF-16BE")),
    ];
    for (mark, means) in MARKS {
        if bytes.starts_with(mark) {
            return means;
        }
        if !ended && mark.starts_with(bytes) {
            return Mark::Unknown;
        }
    }
    Mark::None
}

/// Whether an empty line is a row: of one cell with nothing in it.
pub(super) fn one_cell(rows: &Rows) -> bool {
    match (rows.cells, &rows.first) {
        (Some(cells), _) => cells == 1,
        (None, Some(first)) => first.get().is_some_and(|names| {
            let names = String::from_utf8_lossy(&names).into_owned();
            !names.contains(rows.separator)
        }),
        (None, None) => false,
    }
}
