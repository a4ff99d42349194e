//! Kafka's protocol, where librdkafka does too much for each record or has no call for a request.

pub mod connection;
pub mod dialer;
pub mod group;
pub mod record_batch;
mod sasl;
