//! The client of a Kafka cluster: connections, logins, what can be wrong with them, requests about the cluster, and the
//! idempotent producer. Over librdkafka, and over the protocol itself where librdkafka does too much for each record.

pub mod admin;
mod advertised;
mod client;
pub mod config;
pub mod credentials;
mod diagnose;
pub mod diagnosis;
mod errors;
pub mod native;
pub mod preflight;
pub mod producer;
mod properties;
mod tokens;
mod troubles;
pub mod wire;

pub use self::advertised::Advertised;
pub use self::client::{ASK_TIMEOUT, Caller, LOOK_AGAIN, admin, common, log, overlay};
pub use self::diagnose::{Deed, denial, denied_transactions, fatal_denial, login};
pub use self::errors::{
    code_of, error_name, is_connection, is_passing, librdkafka_code, near_topics, no_broker, no_topic,
};
pub use self::properties::check as check_properties;
pub use self::tokens::Tokens;
pub use self::troubles::{Trouble, Troubles};
