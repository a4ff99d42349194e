//! Calls into librdkafka that its wrapper does not have or makes slow. Pointers of librdkafka stay inside; what is returned
//! borrows from what owns them.
#![allow(unsafe_code)]

pub mod batch_queue;
pub mod member_id;
pub(crate) mod property_names;
pub mod topic;
pub mod transactions;
pub(crate) mod update;
