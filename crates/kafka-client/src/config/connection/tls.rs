//! The keys `tls` of a connection: whom to trust, and who we are.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use aqueduct_api::config::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// An encrypted connection. `tls: true` trusts the authorities that the system trusts. A key whose text is empty is one
/// that is not given, so that `${env:NAME:-}` may fill it where a platform injects the variable and leave it out elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
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
    #[serde(default)]
    pub key_password: Option<Password>,
    /// Whether the broker's certificate has to name the host that is connected to.
    #[serde(default = "yes")]
    pub verify_hostname: bool,
}

/// A path, or the PEM text itself; the text is told by its first words.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// Where it stands. It is read anew for each connection that is set up.
    File(PathBuf),
    /// The text.
    Text(String),
}

/// A secret as text, or `{ file: PATH }`, which is read anew for each client that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// The secret itself.
    Text(Secret),
    /// Where it stands; a line end behind it does not belong to it.
    File(PathBuf),
}

fn yes() -> bool {
    true
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca: None, certificate: None, key: None, key_password: None, verify_hostname: true }
    }
}

/// An empty text is none.
pub(super) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pem>, D::Error> {
    let pem = Option::<Pem>::deserialize(deserializer)?;
    Ok(pem.filter(|pem| !matches!(pem, Pem::File(path) if path.as_os_str().is_empty())))
}

/// `true`, `false` or the keys.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tls>, D::Error> {
    struct TlsVisitor;
    impl<'de> Visitor<'de> for TlsVisitor {
        type Value = Option<Tls>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, or a map as in { ca: /etc/kafka/ca.crt }")
        }
        fn visit_bool<E: de::Error>(self, on: bool) -> Result<Option<Tls>, E> {
            Ok(on.then(Tls::default))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Option<Tls>, E> {
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<Tls>, A::Error> {
            Tls::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(TlsVisitor)
}

/// The schema of what [`read`] takes.
pub(super) struct TlsChoice;

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

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            file: PathBuf,
        }
        struct PasswordVisitor;
        impl<'de> Visitor<'de> for PasswordVisitor {
            type Value = Password;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or a map as in { file: /run/secrets/password }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Password, E> {
                Ok(Password::Text(Secret::new(text.to_owned())))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Password, A::Error> {
                let named = Named::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Password::File(named.file))
            }
        }
        deserializer.deserialize_any(PasswordVisitor)
    }
}

// Whoever shows a file to people shows a path, and masks the text.
inline_schema!(Pem, "pem", |_generator| json_schema!({ "type": "string", "format": "pem" }));

inline_schema!(Password, "password", |_generator| {
    json_schema!({ "anyOf": [
        { "type": "string", "format": "secret" },
        {
            "type": "object",
            "properties": { "file": { "type": "string", "description": "Where it stands; read anew for each client that is made." } },
            "required": ["file"],
            "additionalProperties": false,
        },
    ] })
});

inline_schema!(TlsChoice, "tls", |generator| {
    let keys = generator.subschema_for::<Tls>();
    json_schema!({ "anyOf": [{ "type": "boolean" }, keys, { "type": "null" }] })
});
