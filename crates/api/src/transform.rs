//! What a single-message transform is to the engine.

use std::sync::Arc;

use crate::error::Result;
use crate::record::Record;

/// Changes one record at a time: no I/O, no waiting.
pub trait Transform: Send {
    /// Which parts it looks into; the others pass undecoded.
    fn needs(&self) -> Needs;

    /// Changes the record where it stands, or says that it is dropped (it counts as delivered). An error of kind `BadRecord`
    /// sets it aside as the source gave it, whatever was changed.
    fn apply(&mut self, record: &mut Record) -> Result<Onward>;
}

/// Whether a record goes on behind a transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// It does.
    Yes,
    /// It is dropped.
    No,
}

/// What is looked at in the parts of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// In the key.
    pub key: Look,
    /// In the value.
    pub value: Look,
}

/// What is looked at in one part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// Nothing: its bytes pass.
    #[default]
    Nothing,
    /// These fields of its outermost record, with all that is in them.
    Fields(Vec<Arc<str>>),
    /// All of it.
    Everything,
}

impl Look {
    /// What two look at together.
    pub fn and(self, other: Look) -> Look {
        match (self, other) {
            (Look::Nothing, other) | (other, Look::Nothing) => other,
            (Look::Fields(mut these), Look::Fields(those)) => {
                those.into_iter().for_each(|field| {
                    if !these.contains(&field) {
                        these.push(field);
                    }
                });
                Look::Fields(these)
            }
            (Look::Everything, _) | (_, Look::Everything) => Look::Everything,
        }
    }
}
