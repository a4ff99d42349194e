//! The keys `sasl` of a connection: how to say who we are, and prove it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Password, Pem};

/// One mechanism with what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Sasl {
    /// A user and a password, sent as they are: only over TLS.
    #[serde(rename = "plain")]
    Plain(Login),
    /// A user and a password that is proved without being sent.
    #[serde(rename = "scram_sha_256")]
    ScramSha256(Login),
    /// A user and a password that is proved without being sent.
    #[serde(rename = "scram_sha_512")]
    ScramSha512(Login),
    /// A token of an identity provider, fetched with client credentials.
    #[serde(rename = "oauthbearer")]
    Oauthbearer(Oauth),
    /// A ticket of Kerberos; only in a binary built with the feature `kerberos`.
    #[serde(rename = "kerberos")]
    Kerberos(Kerberos),
}

/// A user of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The user's password, or `{ file: PATH }`.
    pub password: Password,
}

/// Client credentials of OpenID Connect (RFC 6749, section 4.4).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oauth {
    /// Where tokens are given out: `https://id.example.com/oauth2/token`.
    pub token_url: String,
    /// The client's id there.
    pub client_id: String,
    /// The client's secret there, or `{ file: PATH }`.
    pub client_secret: Password,
    /// What is asked for, where the provider wants it said.
    #[serde(default)]
    pub scope: Option<String>,
    /// Anything else the provider wants to hear: `{ audience: kafka }`.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// The authorities to trust there, a path or PEM text; those of the system if it is not given.
    #[serde(default, deserialize_with = "super::tls::given")]
    pub ca: Option<Pem>,
}

/// A principal with its keytab.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kerberos {
    /// Who we are: `aqueduct@EXAMPLE.COM`.
    pub principal: String,
    /// The principal's keys.
    pub keytab: PathBuf,
    /// The first part of the brokers' own principals.
    #[serde(default = "kafka")]
    pub service_name: String,
}

fn kafka() -> String {
    "kafka".into()
}

impl Sasl {
    /// As brokers spell it.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Sasl::Plain(_) => "PLAIN",
            Sasl::ScramSha256(_) => "SCRAM-SHA-256",
            Sasl::ScramSha512(_) => "SCRAM-SHA-512",
            Sasl::Oauthbearer(_) => "OAUTHBEARER",
            Sasl::Kerberos(_) => "GSSAPI",
        }
    }

    /// Who we say we are.
    pub fn user(&self) -> &str {
        match self {
            Sasl::Plain(login) | Sasl::ScramSha256(login) | Sasl::ScramSha512(login) => &login.user,
            Sasl::Oauthbearer(oauth) => &oauth.client_id,
            Sasl::Kerberos(kerberos) => &kerberos.principal,
        }
    }
}
