//! The `directory` sink: records into files of a local folder.

mod config;
mod folder;
mod probe;
mod sink;

pub use config::Config;
