//! The connector `discard`: a sink that takes everything and keeps nothing.

mod config;
mod sink;

pub use config::Config;
