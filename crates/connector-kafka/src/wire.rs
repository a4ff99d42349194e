//! Kafka's protocol as we speak it ourselves, where the library does too much for each record.

pub(crate) mod dial;
pub(crate) mod group;
pub(crate) mod link;
mod login;
pub(crate) mod record_batch;
