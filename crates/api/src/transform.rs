//! What a single-message transform is to the engine.

use crate::error::Result;
use crate::record::Record;

/// Changes one record at a time: no I/O, no waiting.
pub trait Transform: Send {
    /// Which parts it looks into; the others pass undecoded.
    fn needs(&self) -> Needs;

    /// The record to pass on, `None` to drop it (it counts as delivered), or an error of kind `BadRecord` to set it
    /// aside.
    fn apply(&mut self, record: Record) -> Result<Option<Record>>;
}

/// The parts of a record whose structure is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The key.
    pub key: bool,
    /// The value.
    pub value: bool,
}
