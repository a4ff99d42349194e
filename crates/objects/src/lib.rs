//! What every sink of files shares: which record goes into which object, what the object is called, when it
//! is finished, and from when on its batches are durable. The stores themselves (S3, a folder) stand
//! elsewhere.

mod adopted;
mod checkpoint;
mod compression;
pub mod config;
mod content;
mod digest;
mod footer;
mod format;
mod group;
mod json_line;
mod layout;
mod names;
mod object;
mod sink;
pub mod store;

pub use footer::Footprint;
pub use sink::{ObjectsSink, Settings};
pub use store::{Finished, Found, Leftovers, Store, Upload, mark, persist};
