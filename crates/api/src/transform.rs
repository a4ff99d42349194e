//! What a single-message transform is to the engine.

use std::sync::Arc;

use crate::error::Result;
use crate::record::Record;

/// Changes one record at a time: no I/O, no waiting.
pub trait Transform: Send {
    /// The fields that it reads or changes; parts without any pass undecoded.
    fn projection(&self) -> Projection;

    /// Changes the record where it stands, or says that it is dropped (it counts as delivered). An error of kind `BadRecord`
    /// sets it aside as the source gave it, whatever was changed.
    fn apply(&mut self, record: &mut Record) -> Result<Outcome>;
}

/// What becomes of a record behind a transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Keep,
    /// It is dropped, and counts as delivered.
    Drop,
}

/// The fields that a transform reads or changes, for each part of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// Of the key.
    pub key: Fields,
    /// Of the value.
    pub value: Fields,
}

/// The fields of one part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// Nothing: its bytes pass.
    #[default]
    None,
    /// These fields of its outermost record, with all that is in them.
    Named(Vec<Arc<str>>),
    /// All of it.
    All,
}

impl Fields {
    /// The fields of both.
    pub fn and(self, other: Fields) -> Fields {
        match (self, other) {
            (Fields::None, other) | (other, Fields::None) => other,
            (Fields::Named(mut these), Fields::Named(those)) => {
                those.into_iter().for_each(|field| {
                    if !these.contains(&field) {
                        these.push(field);
                    }
                });
                Fields::Named(these)
            }
            (Fields::All, _) | (_, Fields::All) => Fields::All,
        }
    }
}
