//! What is wrong with a value, and where: in the row, and in the bytes.

use std::fmt;

use aqueduct_api::Error;

/// A value that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    says: String,
    /// Where in the bytes, counted from 0.
    at: Option<usize>,
    path: String,
}

impl Fault {
    /// In words, lower case, without a full stop.
    #[cold]
    pub(crate) fn new(says: impl Into<String>) -> Self {
        Self(Box::new(Inner { says: says.into(), at: None, path: String::new() }))
    }

    /// Met at this byte.
    #[cold]
    pub(crate) fn at(mut self, byte: usize) -> Self {
        self.0.at.get_or_insert(byte);
        self
    }

    /// Inside this field.
    #[cold]
    pub(crate) fn in_field(mut self, name: &str) -> Self {
        let dot = if self.0.path.is_empty() || self.0.path.starts_with('[') { "" } else { "." };
        self.0.path.insert_str(0, &format!("{name}{dot}"));
        self
    }

    /// Inside this item of a list.
    #[cold]
    pub(crate) fn in_item(self, index: usize) -> Self {
        self.in_field(&format!("[{index}]"))
    }

    /// Inside this entry of a map.
    #[cold]
    pub(crate) fn in_entry(self, name: &str) -> Self {
        self.in_field(&format!("[{name:?}]"))
    }

    /// Where in the row: `items[3].price`; empty for the whole.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The sentence alone.
    pub fn says(&self) -> &str {
        &self.0.says
    }
}

impl fmt::Display for Fault {
    /// The field, the sentence, and the byte where it was met.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "field `{}`: ", self.0.path)?;
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
