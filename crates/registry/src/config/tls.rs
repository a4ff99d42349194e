//! The keys `tls` of a registry: whom to trust, and who we are.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use aqueduct_api::config::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// An encrypted connection. Files are read when the pipeline starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authorities to trust, a path or PEM text; those of the system if it is not given.
    #[serde(default, deserialize_with = "given")]
    pub ca: Option<Pem>,
    /// The client certificate with its intermediate ones, a path or PEM text.
    #[serde(default, deserialize_with = "given")]
    pub certificate: Option<Pem>,
    /// The private key of the certificate, a path or PEM text.
    #[serde(default, deserialize_with = "given")]
    pub key: Option<Pem>,
    /// The password of an encrypted key.
    #[serde(default, deserialize_with = "super::given_secret")]
    pub key_password: Option<Secret>,
}

/// A path, or the PEM text itself; the text is told by its first words.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// Where it stands.
    File(PathBuf),
    /// The text.
    Text(String),
}

impl Tls {
    /// Whether anything is said.
    pub(crate) fn is_given(&self) -> bool {
        *self != Self::default()
    }
}

/// An empty text is none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pem>, D::Error> {
    let pem = Option::<Pem>::deserialize(deserializer)?;
    Ok(pem.filter(|pem| !matches!(pem, Pem::File(path) if path.as_os_str().is_empty())))
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Text(_) => f.write_str("PEM text"),
        }
    }
}

impl<'de> Deserialize<'de> for Pem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text.contains("-----BEGIN ") { Pem::Text(text) } else { Pem::File(text.into()) })
    }
}

impl JsonSchema for Pem {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "pem".into()
    }
    /// Whoever shows a file to people shows a path, and masks the text.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "pem" })
    }
}
