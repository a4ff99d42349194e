//! The calls into librdkafka that its wrapper does not have, or makes dear: the one folder with unsafe code. Pointers of the
//! library stay inside; what comes out borrows from what owns them.
#![allow(unsafe_code)]

pub mod batch_queue;
pub mod member_id;
pub(crate) mod property_names;
pub mod topic;
pub mod transactions;
pub(crate) mod update;
