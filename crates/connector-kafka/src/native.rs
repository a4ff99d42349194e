//! The calls into librdkafka that its wrapper does not have, or makes dear: the one folder with unsafe code. Pointers of the
//! library stay inside; what comes out borrows from what owns them.
#![allow(unsafe_code)]

pub(crate) mod batch_queue;
pub(crate) mod member_id;
pub(crate) mod topic;
pub(crate) mod transactions;
