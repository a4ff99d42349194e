//! The connector `generate`: a source of made-up orders, the same ones again for the same seed.

mod config;
mod order;
mod pace;
mod row;
mod source;

pub use config::{Config, Kind};
pub use order::Customers;
pub use row::schema;
