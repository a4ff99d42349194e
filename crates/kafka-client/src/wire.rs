//! Kafka's protocol as we speak it ourselves, where the library does too much for each record.

pub mod connection;
pub mod dialer;
pub mod group;
pub mod record_batch;
mod sasl;
