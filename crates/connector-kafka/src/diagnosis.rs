//! The table of everything that can be wrong with a cluster, a group, a topic or a record: one entry a trouble, with
//! the sentence, why it happens and what to do. Messages at run time, `aqueduct check --connect` and the page
//! `docs/kafka/errors.md` are all made of it, so that they say the same.

mod reading;
mod transactions;
mod writing;

use aqueduct_kafka_client::diagnosis::connecting::*;
pub use aqueduct_kafka_client::diagnosis::{Diagnosis, Reaction};

pub(crate) use self::reading::*;
pub(crate) use self::transactions::*;
pub(crate) use self::writing::*;

/// All of them, in the order of the page.
pub const ALL: &[&Diagnosis] = &[
    &TOPIC_MISSING,
    &TOPIC_NOT_CREATED,
    &TOPIC_NAME,
    &RECORD_TOO_LARGE,
    &RECORD_TIME,
    &RECORD_REFUSED,
    &PARTITION_WITHOUT_LEADER,
    &NOT_ENOUGH_REPLICAS,
    &NOT_ACKNOWLEDGED,
    &THROTTLED,
    &TRANSACTION_UNDONE,
    &PARTITIONS_LOST,
    &PRODUCER_FENCED,
    &TRANSACTION_TOO_LONG,
    &OFFSET_DELETED,
    &OFFSET_BEYOND_END,
    &OFFSETS_FORGOTTEN,
    &TOPIC_MADE_ANEW,
    &OFFSET_NONE,
    &BATCH_DAMAGED,
    &PARTITION_MISSING,
    &GROUP_HAS_MEMBERS,
    &GROUP_GIVES_NOTHING,
    &ADDRESS_UNKNOWN,
    &CONNECTION_REFUSED,
    &NO_ANSWER,
    &NO_BROKER,
    &ADVERTISED_UNREACHABLE,
    &TLS_EXPECTED,
    &TLS_UNEXPECTED,
    &NOT_KAFKA,
    &CONTROLLER_PORT,
    &CA_UNKNOWN,
    &BROKER_CERTIFICATE_EXPIRED,
    &BROKER_CERTIFICATE_EARLY,
    &BROKER_NAME_WRONG,
    &CERTIFICATE_REQUIRED,
    &CERTIFICATE_REFUSED,
    &TLS_FAILED,
    &SASL_REQUIRED,
    &SASL_UNEXPECTED,
    &MECHANISM_UNSUPPORTED,
    &LOGIN_REFUSED,
    &TOKEN_MISSING,
    &CREDENTIALS_REPLACED,
    &CLUSTER_REPLACED,
    &FILE_UNREADABLE,
    &NOT_PEM,
    &KEY_LOCKED,
    &KEY_MISMATCH,
    &CERTIFICATE_EXPIRED,
    &CERTIFICATE_EARLY,
    &TOPIC_DENIED,
    &GROUP_DENIED,
    &CLUSTER_DENIED,
    &TRANSACTIONAL_ID_DENIED,
];
