//! What is wrong with a JSON text or with a row that is to become one, and where: in the value, and in the bytes.

use std::fmt::Write;

use aqueduct_api::Error;

/// A value that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(Box<Inner>);

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
}

impl Fault {
    /// In words, lower case, without a full stop.
    #[cold]
    pub(crate) fn new(says: impl Into<String>) -> Self {
        Self(Box::new(Inner { says: says.into(), at: None, path: Vec::new() }))
    }

    /// Met at this byte, if none was named yet.
    #[cold]
    pub(crate) fn at(mut self, byte: usize) -> Self {
        self.0.at.get_or_insert(byte);
        self
    }

    /// Inside this field of an object.
    #[cold]
    pub(crate) fn in_field(mut self, name: impl Into<String>) -> Self {
        self.0.path.push(Part::Field(name.into()));
        self
    }

    /// Inside this item of an array.
    #[cold]
    pub(crate) fn in_item(mut self, index: usize) -> Self {
        self.0.path.push(Part::Item(index));
        self
    }

    /// Where in the value: `items[3].price`; empty for the whole.
    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        for part in self.0.path.iter().rev() {
            // Writing to a string does not fail.
            let _ = match part {
                Part::Item(index) => write!(path, "[{index}]"),
                Part::Field(name) if !is_plain(name) => write!(path, "[{name:?}]"),
                Part::Field(name) if path.is_empty() => write!(path, "{name}"),
                Part::Field(name) => write!(path, ".{name}"),
            };
        }
        path
    }

    /// This record will never pass. The place is one in these bytes, if there is one.
    #[cold]
    pub(crate) fn into_error(self, bytes: &[u8]) -> Error {
        let mut says = String::new();
        if !self.0.path.is_empty() {
            let _ = write!(says, "field `{}`: ", self.path());
        }
        says.push_str(&self.0.says);
        if let Some(at) = self.0.at {
            let before = &bytes[..at.min(bytes.len())];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            let _ = write!(says, " at byte {at}, line {line}, column {column}");
        }
        Error::bad_record(says)
    }

    /// A row that will never pass.
    #[cold]
    pub(crate) fn of_row(self) -> Error {
        self.into_error(&[])
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$'))
}
