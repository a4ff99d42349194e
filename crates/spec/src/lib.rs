//! The pipeline file as the user wrote it: parsed with its places, interpolated, checked against the catalog, all
//! problems of a file at once.

pub mod pipeline;

pub use pipeline::{DeadLetter, Delivery, Errors, OnBadRecord, Pipeline, Runtime, StopAfter};
