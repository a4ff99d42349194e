//! The block `connection`: where a cluster is and how to talk to it.

mod sasl;
mod tls;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aqueduct_api::Problem;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use self::sasl::{Kerberos, Login, Oauth, Sasl};
pub use self::tls::{Password, Pem, Tls};

/// Where the cluster is and how to talk to it; the same keys wherever a Kafka cluster is named.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The brokers to ask first: `a:9092,b:9092` or a list.
    pub brokers: Brokers,
    /// Encryption: `true`, or whom to trust and who we are.
    #[serde(default, deserialize_with = "tls::read")]
    #[schemars(with = "tls::TlsChoice")]
    pub tls: Option<Tls>,
    /// How to say who we are where that is not the certificate's part: `{ scram_sha_512: { user: ..., password: ... } }`.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// Any property of librdkafka, for every client of this cluster.
    #[serde(default)]
    pub client: Properties,
}

/// `a:9092,b:9092`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(pub String);

/// Properties of librdkafka by name, as it takes them: text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Properties(pub BTreeMap<String, String>);

/// Properties that have a key of their own or whose value a promise rests on, and what to do instead.
const OWNED: [(&str, &str); 46] = [
    ("bootstrap.servers", "write it as `connection.brokers`"),
    ("metadata.broker.list", "write it as `connection.brokers`"),
    ("group.id", "write it as `group`"),
    ("auto.offset.reset", "write it as `start`"),
    ("isolation.level", "write it as `isolation`"),
    ("session.timeout.ms", "write it as `session_timeout`"),
    ("compression.type", "write it as `compression`"),
    ("compression.codec", "write it as `compression`"),
    ("linger.ms", "write it as `linger`"),
    ("queue.buffering.max.ms", "write it as `linger`"),
    ("enable.auto.commit", COMMITS),
    ("auto.commit.enable", COMMITS),
    ("auto.commit.interval.ms", COMMITS),
    ("enable.auto.offset.store", COMMITS),
    ("offset.store.method", COMMITS),
    ("enable.partition.eof", "leave it out: the ends of partitions are not records"),
    ("acks", ACKS),
    ("request.required.acks", ACKS),
    ("enable.idempotence", ACKS),
    ("message.timeout.ms", WAITS),
    ("delivery.timeout.ms", WAITS),
    ("partitioner", "leave it out: keys go where the Java client puts them, so that all producers agree"),
    ("transactional.id", "leave it out: the pipeline's `delivery` decides about transactions"),
    ("log.queue", "leave it out: log lines go to the pipeline's own log"),
    ("security.protocol", "write `tls` and `sasl` under `connection`: it follows from them"),
    ("ssl.ca.location", CA),
    ("ssl.ca.pem", CA),
    ("ssl.certificate.location", CERTIFICATE),
    ("ssl.certificate.pem", CERTIFICATE),
    ("ssl.keystore.location", CERTIFICATE),
    ("ssl.keystore.password", CERTIFICATE),
    ("ssl.key.location", "write it as `connection.tls.key`"),
    ("ssl.key.pem", "write it as `connection.tls.key`"),
    ("ssl.key.password", "write it as `connection.tls.key_password`"),
    ("ssl.endpoint.identification.algorithm", "write `verify_hostname: false` under `connection.tls`"),
    (
        "enable.ssl.certificate.verification",
        "leave it out: name the authority to trust as `connection.tls.ca`",
    ),
    ("sasl.mechanism", MECHANISM),
    ("sasl.mechanisms", MECHANISM),
    ("sasl.username", MECHANISM),
    ("sasl.password", MECHANISM),
    ("sasl.kerberos.principal", "write it under `connection.sasl.kerberos`"),
    ("sasl.kerberos.keytab", "write it under `connection.sasl.kerberos`"),
    ("sasl.kerberos.service.name", "write it under `connection.sasl.kerberos`"),
    ("sasl.oauthbearer.method", OAUTH),
    ("sasl.oauthbearer.config", OAUTH),
    ("sasl.oauthbearer.token.endpoint.url", OAUTH),
];
const CA: &str = "write it as `connection.tls.ca`";
const CERTIFICATE: &str = "write it as `connection.tls.certificate`, in PEM";
const MECHANISM: &str = "write the mechanism and what it needs under `connection.sasl`";
const OAUTH: &str = "write it under `connection.sasl.oauthbearer`";
const COMMITS: &str = "leave it out: offsets are committed when the sink has the data, never by a timer";
const ACKS: &str = "leave it out: records are written idempotently and acknowledged by all replicas";
const WAITS: &str = "leave it out: a record waits for the broker as long as it takes, it is never given up";

impl Connection {
    /// Whether a client has to be made anew when a file changes.
    pub fn names_files(&self) -> bool {
        let file = |pem: &Option<Pem>| matches!(pem, Some(Pem::File(_)));
        let tls = self.tls.as_ref().is_some_and(|tls| {
            file(&tls.ca)
                || file(&tls.certificate)
                || file(&tls.key)
                || matches!(tls.key_password, Some(Password::File(_)))
        });
        let sasl = match &self.sasl {
            Some(Sasl::Plain(login) | Sasl::ScramSha256(login) | Sasl::ScramSha512(login)) => {
                matches!(login.password, Password::File(_))
            }
            // Read again for each token.
            Some(Sasl::Oauthbearer(_) | Sasl::Kerberos(_)) | None => false,
        };
        tls || sasl
    }

    /// What can be wrong with it, without the network; `path` leads to this block and ends in a dot.
    pub fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        if self.brokers.0.split(',').any(|broker| broker.trim().is_empty()) {
            problems.push(
                Problem::new(format!("{path}brokers"), "a broker without a name")
                    .remedy("write host and port, as in kafka:9092"),
            );
        }
        if let Some(tls) = &self.tls {
            self.check_tls(tls, &format!("{path}tls"), problems);
        }
        if cfg!(not(feature = "kerberos")) && matches!(self.sasl, Some(Sasl::Kerberos(_))) {
            problems.push(
                Problem::new(format!("{path}sasl.kerberos"), "this binary is built without Kerberos")
                    .remedy("build it with `cargo build --release --features kerberos`"),
            );
        }
        if let Some(Sasl::Oauthbearer(oauth)) = &self.sasl
            && !oauth.token_url.starts_with("https://")
            && !oauth.token_url.starts_with("http://")
        {
            problems.push(
                Problem::new(
                    format!("{path}sasl.oauthbearer.token_url"),
                    "not the address of a token endpoint",
                )
                .remedy("write it as in https://id.example.com/oauth2/token"),
            );
        }
        self.client.check(&format!("{path}client"), problems);
    }

    fn check_tls(&self, tls: &Tls, path: &str, problems: &mut Vec<Problem>) {
        if tls.certificate.is_none() && tls.key.is_some() {
            problems.push(
                Problem::new(format!("{path}.key"), "a key without a certificate")
                    .remedy("name the client certificate as `certificate`"),
            );
        }
        if tls.key.is_none() && tls.certificate.is_some() {
            problems.push(
                Problem::new(format!("{path}.certificate"), "a certificate without its key")
                    .remedy("name the private key as `key`"),
            );
        }
        if tls.key.is_none() && tls.key_password.is_some() {
            problems.push(Problem::new(format!("{path}.key_password"), "a password without a key"));
        }
    }
}

impl Brokers {
    /// One by one.
    pub fn each(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').map(str::trim)
    }

    /// All bootstrap addresses, in lower case.
    pub fn addresses(&self) -> BTreeSet<String> {
        self.each().map(str::to_ascii_lowercase).collect()
    }

    /// The cluster, the same for every order in which its brokers are named.
    pub fn system(&self) -> String {
        let mut brokers: Vec<&str> = self.each().collect();
        brokers.sort_unstable();
        format!("kafka at {}", brokers.join(","))
    }
}

impl Properties {
    /// Refuses what is owned; the values themselves are checked by the library.
    pub fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        for (owned, remedy) in OWNED {
            if self.0.contains_key(owned) {
                let says = format!("`{owned}` may not be set here");
                problems.push(Problem::new(format!("{path}.{owned}"), says).remedy(remedy));
            }
        }
    }
}

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BrokersVisitor;
        impl<'de> Visitor<'de> for BrokersVisitor {
            type Value = Brokers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("brokers with their ports, as in \"a:9092,b:9092\" or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Brokers, E> {
                Ok(Brokers(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Brokers, A::Error> {
                let list: Vec<String> = Vec::deserialize(de::value::SeqAccessDeserializer::new(list))?;
                Ok(Brokers(list.join(",")))
            }
        }
        deserializer.deserialize_any(BrokersVisitor)
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map: BTreeMap<String, serde_json::Value> = BTreeMap::deserialize(deserializer)?;
        let text = |(name, value): (String, serde_json::Value)| match value {
            serde_json::Value::String(text) => Ok((name, text)),
            serde_json::Value::Number(number) => Ok((name, number.to_string())),
            serde_json::Value::Bool(flag) => Ok((name, flag.to_string())),
            _ => Err(de::Error::custom(format!("`{name}` has to be text, a number, true or false"))),
        };
        map.into_iter().map(text).collect::<Result<_, _>>().map(Properties)
    }
}

inline_schema!(Brokers, "brokers", |_generator| {
    json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
});

inline_schema!(Properties, "properties", |_generator| {
    json_schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
});

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn connection(raw: serde_json::Value) -> Result<Connection, String> {
        serde_json::from_value(raw).map_err(|error| error.to_string())
    }

    #[test]
    fn tls_is_a_word_or_a_map() {
        let tls = |tls| connection(json!({ "brokers": "a:1", "tls": tls })).map(|connection| connection.tls);
        assert_eq!(tls(json!(true)), Ok(Some(Tls::default())));
        assert_eq!((tls(json!(false)), tls(json!(null))), (Ok(None), Ok(None)));
        let full = tls(json!({ "ca": "/a", "certificate": "-----BEGIN CERTIFICATE-----\nx", "key": "/k",
            "key_password": { "file": "/p" }, "verify_hostname": false }))
        .unwrap()
        .unwrap();
        assert_eq!(full.ca, Some(Pem::File("/a".into())));
        assert!(matches!(full.certificate, Some(Pem::Text(_))));
        assert_eq!((full.key_password, full.verify_hostname), (Some(Password::File("/p".into())), false));
        assert_eq!(tls(json!({ "ca": "", "certificate": "", "key": "" })), Ok(Some(Tls::default())));
        let wrong = tls(json!({ "cert": "/a" })).unwrap_err();
        assert!(wrong.contains("unknown field `cert`"), "{wrong}");
        assert!(tls(json!("yes")).unwrap_err().contains("true, or a map"));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let secret = "-----BEGIN PRIVATE KEY-----\nhunter2";
        let connection = connection(json!({
            "brokers": "a:1",
            "tls": { "certificate": "/c", "key": secret, "key_password": "hunter2" },
            "sasl": { "scram_sha_512": { "user": "app", "password": "hunter2" } },
        }));
        let shown = format!("{:?}", connection.unwrap());
        assert!(!shown.contains("hunter2") && shown.contains("app"), "{shown}");
    }

    #[test]
    fn what_belongs_together_comes_together() {
        let problems = |raw| {
            let mut problems = Vec::new();
            connection(raw).unwrap().check("connection.", &mut problems);
            problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
        };
        assert_eq!(
            problems(json!({ "brokers": "a:1", "tls": { "certificate": "/c", "key_password": "x" } })),
            ["connection.tls.certificate", "connection.tls.key_password"]
        );
        assert_eq!(
            problems(json!({ "brokers": "a:1", "tls": { "key": "/c" },
                "sasl": { "oauthbearer": { "token_url": "id", "client_id": "a", "client_secret": "b" } },
                "client": { "security.protocol": "ssl" } })),
            [
                "connection.tls.key",
                "connection.sasl.oauthbearer.token_url",
                "connection.client.security.protocol"
            ]
        );
    }
}
