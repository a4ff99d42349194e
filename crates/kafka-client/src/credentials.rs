//! The certificates, keys and passwords that a connection names, read from disk: checked by `check`, given to every client,
//! and compared later, so that a client is made anew when they were replaced.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use aqueduct_api::config::Secret;
use aqueduct_api::{Error, ErrorKind, Problem};
use openssl::asn1::Asn1TimeRef;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509NameRef};

use crate::config::{Connection, Password, Pem, Sasl, Tls};
use crate::diagnosis::Diagnosed;
use crate::diagnosis::connecting::{
    CERTIFICATE_EARLY, CERTIFICATE_EXPIRED, FILE_UNREADABLE, KEY_LOCKED, KEY_MISMATCH, NOT_PEM,
};

/// Where distributions keep the authorities that they trust; by default librdkafka trusts those of the machine that it was
/// built on.
pub(crate) const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The texts themselves, in PEM where they are certificates and keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) ca: Option<String>,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<Secret>,
    pub(crate) key_password: Option<Secret>,
    /// Of the SASL user, or the secret of the client of an identity provider.
    pub(crate) password: Option<Secret>,
    pub(crate) token_ca: Option<String>,
}

/// Of the contents of all files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Of what a client reads once, when it is made.
    pub tls: u64,
    /// Of what can be exchanged while it runs.
    pub login: u64,
}

/// What was wrong, and with which key of the block `connection`.
type Wrong = (&'static str, Diagnosed);

impl Credentials {
    /// Reads all files.
    pub(crate) fn load(connection: &Connection) -> Result<Self, Wrong> {
        let mut read = Self::default();
        if let Some(tls) = &connection.tls {
            read.ca = text_of("tls.ca", tls.ca.as_ref())?;
            read.certificate = text_of("tls.certificate", tls.certificate.as_ref())?;
            read.key = text_of("tls.key", tls.key.as_ref())?.map(Secret::new);
            read.key_password = secret_of("tls.key_password", tls.key_password.as_ref())?;
        }
        let (at, password, token_ca) = match &connection.sasl {
            Some(Sasl::Plain(login)) => ("sasl.plain.password", Some(&login.password), None),
            Some(Sasl::ScramSha256(login)) => ("sasl.scram_sha_256.password", Some(&login.password), None),
            Some(Sasl::ScramSha512(login)) => ("sasl.scram_sha_512.password", Some(&login.password), None),
            Some(Sasl::Oauthbearer(oauth)) => {
                ("sasl.oauthbearer.client_secret", Some(&oauth.client_secret), oauth.ca.as_ref())
            }
            // `kinit` reads it, and its errors are not reported.
            Some(Sasl::Kerberos(kerberos)) => {
                read_bytes("sasl.kerberos.keytab", &kerberos.keytab)?;
                ("", None, None)
            }
            None => ("", None, None),
        };
        read.password = secret_of(at, password)?;
        read.token_ca = text_of("sasl.oauthbearer.ca", token_ca)?;
        Ok(read)
    }

    /// Differs from that of other contents, and does not hold them.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let secret = |secret: &Option<Secret>| hash(secret.as_ref().map(Secret::reveal));
        Fingerprint {
            tls: hash((&self.ca, &self.certificate, secret(&self.key), secret(&self.key_password))),
            login: hash((secret(&self.password), &self.token_ca)),
        }
    }

    /// The client certificate, without those above it.
    pub fn own_certificate(&self) -> Option<X509> {
        X509::from_pem(self.certificate.as_ref()?.as_bytes()).ok()
    }

    /// The key, decrypted with its password.
    pub(crate) fn own_key(&self) -> Option<PKey<Private>> {
        open_key(self.key.as_ref()?.reveal(), self.key_password.as_ref()).ok()
    }
}

/// Who we are to the cluster.
pub struct Principal {
    /// In words.
    pub words: String,
    /// As `kafka-acls.sh` takes it; rules of the broker may shorten the name of a certificate.
    pub grantee: String,
}

impl Principal {
    /// As far as it can be known here: brokers do not say it.
    pub fn of(connection: &Connection) -> Self {
        let words = |words: String, name: &str| Self { words, grantee: format!("User:{name}") };
        let own = || Credentials::load(connection).ok()?.own_certificate();
        match (&connection.sasl, own()) {
            (Some(sasl), _) => words(format!("user `{}`", sasl.user()), sasl.user()),
            (None, Some(own)) => {
                let subject = subject_of(own.subject_name());
                words(format!("the user of certificate `{subject}`"), &subject)
            }
            (None, None) => words("a user without a name".to_owned(), "ANONYMOUS"),
        }
    }
}

/// Reads all files; an error that the next start may not meet.
pub fn load(connection: &Connection) -> Result<Credentials, Error> {
    load_diagnosed(connection).map_err(|diagnosed| diagnosed.error(ErrorKind::Fatal))
}

/// Reads all files.
pub(crate) fn load_diagnosed(connection: &Connection) -> Result<Credentials, Diagnosed> {
    Credentials::load(connection).map_err(|(_, diagnosed)| diagnosed)
}

/// What can be checked without the network: files that are missing or hold something else, keys of other certificates,
/// certificates that have expired or are not valid yet.
pub fn check(connection: &Connection) -> Vec<Problem> {
    let wrong = match Credentials::load(connection) {
        Err(wrong) => Some(wrong),
        Ok(read) => connection.tls.as_ref().and_then(|tls| wrong_with(&read, tls)),
    };
    wrong.map(|(at, diagnosed)| diagnosed.problem(format!("connection.{at}"))).into_iter().collect()
}

fn wrong_with(read: &Credentials, tls: &Tls) -> Option<Wrong> {
    if let (Some(text), Some(pem)) = (&read.ca, &tls.ca)
        && !X509::stack_from_pem(text.as_bytes()).is_ok_and(|all| !all.is_empty())
    {
        return Some(("tls.ca", NOT_PEM.fill(&[("file", &name_of(pem)), ("what", &"certificate")])));
    }
    let (Some(text), Some(pem)) = (&read.certificate, &tls.certificate) else { return None };
    let Ok(certificate) = X509::from_pem(text.as_bytes()) else {
        let diagnosed = NOT_PEM.fill(&[("file", &name_of(pem)), ("what", &"certificate")]);
        return Some(("tls.certificate", diagnosed));
    };
    if let Some(diagnosed) = out_of_time(&certificate) {
        return Some(("tls.certificate", diagnosed));
    }
    let (Some(text), Some(pem)) = (&read.key, &tls.key) else { return None };
    let file = name_of(pem);
    match open_key(text.reveal(), read.key_password.as_ref()) {
        Ok(key) if certificate.public_key().is_ok_and(|public| public.public_eq(&key)) => None,
        Ok(_) => {
            let subject = subject_of(certificate.subject_name());
            Some(("tls.key", KEY_MISMATCH.fill(&[("file", &file), ("subject", &subject)])))
        }
        Err(_) if !text.reveal().contains("PRIVATE KEY-----") => {
            Some(("tls.key", NOT_PEM.fill(&[("file", &file), ("what", &"private key")])))
        }
        Err(_) if text.reveal().contains("ENCRYPTED") => {
            let (at, cause) = match read.key_password {
                Some(_) => ("tls.key_password", "the password does not open it"),
                None => ("tls.key", "there is no password for it"),
            };
            Some((at, KEY_LOCKED.fill(&[("file", &file), ("cause", &cause)])))
        }
        Err(_) => {
            Some(("tls.key", NOT_PEM.fill(&[("file", &file), ("what", &"private key that can be read")])))
        }
    }
}

/// A client certificate that has expired or is not valid yet.
pub fn out_of_time(certificate: &X509) -> Option<Diagnosed> {
    let subject = subject_of(certificate.subject_name());
    let (from, to) = (certificate.not_before(), certificate.not_after());
    let now = jiff::Timestamp::now();
    if time_of(to).is_some_and(|to| to < now) {
        return Some(CERTIFICATE_EXPIRED.fill(&[("subject", &subject), ("time", &shown(to))]));
    }
    if time_of(from).is_some_and(|from| from > now) {
        return Some(CERTIFICATE_EARLY.fill(&[("subject", &subject), ("time", &shown(from))]));
    }
    None
}

/// When it is, to the second.
pub fn time_of(time: &Asn1TimeRef) -> Option<jiff::Timestamp> {
    let past = openssl::asn1::Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    jiff::Timestamp::from_second(i64::from(past.days) * 86_400 + i64::from(past.secs)).ok()
}

/// The time as people and programs read it.
pub fn shown(time: &Asn1TimeRef) -> String {
    time_of(time).map_or_else(|| time.to_string(), |time| time.to_string())
}

/// `CN=client,O=Example`, the order in which Kafka names principals.
pub fn subject_of(name: &X509NameRef) -> String {
    let mut parts: Vec<String> = name
        .entries()
        .map(|entry| {
            let key = entry.object().nid().short_name().unwrap_or("?");
            let value = entry.data().to_string().unwrap_or_default();
            format!("{key}={value}")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// OpenSSL would ask for the password of an encrypted key at the terminal.
fn open_key(text: &str, password: Option<&Secret>) -> Result<PKey<Private>, openssl::error::ErrorStack> {
    let password = password.map(|password| password.reveal().as_bytes()).unwrap_or_default();
    PKey::private_key_from_pem_callback(text.as_bytes(), |buffer| {
        let length = password.len().min(buffer.len());
        buffer[..length].copy_from_slice(&password[..length]);
        Ok(length)
    })
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn text_of(at: &'static str, pem: Option<&Pem>) -> Result<Option<String>, Wrong> {
    pem.map(|pem| match pem {
        Pem::Text(text) => Ok(text.clone()),
        Pem::File(path) => read(at, path),
    })
    .transpose()
}

fn secret_of(at: &'static str, password: Option<&Password>) -> Result<Option<Secret>, Wrong> {
    password
        .map(|password| match password {
            Password::Text(text) => Ok(text.clone()),
            Password::File(path) => {
                let text = read(at, path)?;
                Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
        })
        .transpose()
}

fn read(at: &'static str, path: &Path) -> Result<String, Wrong> {
    let says = || NOT_PEM.fill(&[("file", &path.display()), ("what", &"text")]);
    String::from_utf8(read_bytes(at, path)?).map_err(|_| (at, says()))
}

fn read_bytes(at: &'static str, path: &Path) -> Result<Vec<u8>, Wrong> {
    std::fs::read(path).map_err(|error| {
        let cause = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "this process may not".to_owned(),
            _ => error.to_string(),
        };
        (at, FILE_UNREADABLE.fill(&[("file", &path.display()), ("cause", &cause)]))
    })
}

fn name_of(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Text(_) => "the text given here".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_keytab_is_found_without_a_broker() {
        let sasl = serde_json::json!({ "kerberos": { "principal": "a@B", "keytab": "/no/such.keytab" } });
        let connection: Connection =
            serde_json::from_value(serde_json::json!({ "brokers": "a:1", "sasl": sasl })).unwrap();
        let problems = check(&connection);
        let diagnosed: Vec<(&str, &str)> = problems.iter().map(|it| (&*it.path, &*it.says)).collect();
        let says = "cannot read /no/such.keytab: there is no such file";
        assert_eq!(diagnosed, [("connection.sasl.kerberos.keytab", says)]);
    }
}
