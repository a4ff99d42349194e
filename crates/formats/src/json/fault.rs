//! Where in a text a fault stands, for people: by line and column.

use std::fmt::Write;

use aqueduct_api::Error;
pub(crate) use aqueduct_api::Fault;

/// A fault with the text it was met in.
pub(crate) trait InText {
    /// This record will never pass. The place is one in these bytes, if there is one.
    fn into_error(self, bytes: &[u8]) -> Error;
}

impl InText for Fault {
    #[cold]
    fn into_error(self, bytes: &[u8]) -> Error {
        let mut says = String::new();
        if !self.path().is_empty() {
            let _ = write!(says, "field `{}`: ", self.path());
        }
        says.push_str(self.says());
        if let Some(at) = self.byte() {
            let before = &bytes[..at.min(bytes.len())];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            let _ = write!(says, " at byte {at}, line {line}, column {column}");
        }
        Error::bad_record(says)
    }
}
