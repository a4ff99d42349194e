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
mod health;
pub mod native;
pub mod preflight;
pub mod producer;
mod properties;
mod tls;
mod tokens;
pub mod wire;

pub use self::advertised::Advertised;
pub use self::client::{
    AdminContext, CHECK_INTERVAL, REQUEST_TIMEOUT, admin_client, client_config, log, set_properties,
};
pub use self::diagnose::{Access, denial, fatal_denial, login, transactional_id_denial};
pub use self::errors::{
    code_of, error_name, is_connection, is_passing, librdkafka_code, near_topics, no_broker, no_topic,
};
pub use self::health::{ClientHealth, WaitReason};
pub use self::properties::check as check_properties;
pub use self::tls::CertificateInfo;
pub use self::tokens::Tokens;
