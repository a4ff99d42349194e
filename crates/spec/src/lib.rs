//! The pipeline file as the user wrote it: parsed with its places, interpolated, checked against the catalog, all
//! problems of a file at once.

mod check;
mod dead_letter;
mod delivery;
mod dev;
mod diagnostic;
mod editor;
mod ends;
mod file;
mod formats;
mod head;
mod hide;
mod interpolate;
mod load;
pub mod loops;
mod mismatch;
mod names;
pub mod pipeline;
mod place;
mod read_as;
mod redaction;
mod reference;
mod report;
mod settings;
mod shape;
mod spot;
mod syntax;
mod tree;

pub use dev::DevEnds;
pub use diagnostic::{Diagnostic, Quoted};
pub use editor::json_schema;
pub use interpolate::Environment;
pub use load::{LoadOptions, Loaded, load, load_with};
pub use pipeline::{DeadLetter, Delivery, Errors, Health, OnBadRecord, Pipeline, Runtime, State, StopAfter};
pub use read_as::read_as;
pub use reference::{file_reference, reference};
