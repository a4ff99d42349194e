//! The connector `generate`: a source of made-up orders, the same ones again for the same seed.

mod config;
mod order;
mod pace;
mod source;

pub use config::{Config, Kind};
pub use source::Orders;
