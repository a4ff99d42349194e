//! Kafka's protocol, where librdkafka does too much for each record or has no call for a request.

pub(crate) mod address;
pub(crate) mod connection;
pub mod dialer;
pub mod group;
pub(crate) mod record_batch;
mod sasl;
