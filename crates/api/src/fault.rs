//! What is wrong with a value, and where: in the row, and in the bytes. What every format says of a record that it cannot
//! read or write.

use std::fmt::{self, Write};

use crate::error::Error;

/// A value that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    says: String,
    /// Where in the bytes, counted from 0.
    at: Option<usize>,
    /// From the inside to the outside.
    path: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Field(String),
    Item(usize),
    Entry(String),
}

impl Fault {
    /// In words, lower case, without a full stop.
    #[cold]
    pub fn new(says: impl Into<String>) -> Self {
        Self(Box::new(Inner { says: says.into(), at: None, path: Vec::new() }))
    }

    /// Met at this byte.
    #[cold]
    pub fn at(mut self, byte: usize) -> Self {
        self.0.at.get_or_insert(byte);
        self
    }

    /// Inside this field.
    #[cold]
    pub fn in_field(mut self, name: impl AsRef<str>) -> Self {
        self.0.path.push(Part::Field(name.as_ref().to_owned()));
        self
    }

    /// Inside this item of a list.
    #[cold]
    pub fn in_item(mut self, index: usize) -> Self {
        self.0.path.push(Part::Item(index));
        self
    }

    /// Inside this entry of a map.
    #[cold]
    pub fn in_entry(mut self, name: impl AsRef<str>) -> Self {
        self.0.path.push(Part::Entry(name.as_ref().to_owned()));
        self
    }

    /// Where in the row: `items[3].price`; empty for the whole.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for part in self.0.path.iter().rev() {
            // Writing to a string does not fail.
            let _ = match part {
                Part::Item(index) => write!(path, "[{index}]"),
                Part::Entry(name) => write!(path, "[{name:?}]"),
                Part::Field(name) if !is_plain(name) => write!(path, "[{name:?}]"),
                Part::Field(name) if path.is_empty() => write!(path, "{name}"),
                Part::Field(name) => write!(path, ".{name}"),
            };
        }
        path
    }

    /// The sentence alone.
    pub fn says(&self) -> &str {
        &self.0.says
    }

    /// Where in the bytes it was met, counted from 0.
    pub fn byte(&self) -> Option<usize> {
        self.0.at
    }
}

impl fmt::Display for Fault {
    /// The field, the sentence, and the byte where it was met.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "field `{}`: ", self.path())?;
        }
        f.write_str(&self.0.says)?;
        self.0.at.map_or(Ok(()), |at| write!(f, " (byte {at})"))
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Error {
    /// This record will never pass.
    fn from(fault: Fault) -> Self {
        Error::bad_record(fault.to_string())
    }
}

/// Whether a name needs no quotes; those of Avro and Protobuf never do, those of JSON may be any text.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$'))
}
