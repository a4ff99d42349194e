//! The `s3` sink: records into objects of a bucket.

mod bucket;
mod client;
mod config;
mod probe;
mod sink;
mod store;
mod upload;

pub use config::{Config, Connection};
