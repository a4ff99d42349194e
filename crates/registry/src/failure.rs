//! What can go wrong with a registry, in the words for people, and what the runner does about each.

use std::error::Error as StdError;
use std::fmt;

use aqueduct_api::{Error, ErrorKind};
use reqwest::{StatusCode, Url};
use rustls::{AlertDescription, CertificateError};
use schema_registry_converter::error::SRCError;
use serde::Deserialize;

/// So much of what a registry says is passed on.
const WORDS_BYTES_MAX: usize = 2_000;
pub(crate) const UNREADABLE: &str = "an answer that cannot be read";

/// An answer that is none, or a refusal. It is shared by all who wait for the same answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    pub(crate) says: String,
    pub(crate) remedy: Option<String>,
}

/// What the caller has to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The registry knows no such subject, version or schema.
    Unknown,
    /// It refuses what it was given.
    Refused,
    /// It has no such path.
    Absent,
    /// It refuses us.
    Denied,
    /// It does not answer now, or wants no questions now.
    Away,
    /// What answers is no registry, or not to be trusted.
    Wrong,
}

/// What the registries say when they refuse; Apicurio's own pages have `detail` and `title`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error_code: u32,
    #[serde(alias = "detail")]
    message: String,
}

impl Failure {
    pub(crate) fn new(cause: Cause, says: impl Into<String>) -> Self {
        Self { cause, says: says.into(), remedy: None }
    }

    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self.cause {
            Cause::Unknown | Cause::Refused => ErrorKind::BadRecord,
            Cause::Away => ErrorKind::Transient,
            Cause::Absent | Cause::Denied | Cause::Wrong => ErrorKind::Fatal,
        }
    }

    pub(crate) fn into_error(self) -> Error {
        let error = Error::new(self.kind(), self.says);
        match self.remedy {
            Some(remedy) => error.remedy(remedy),
            None => error,
        }
    }

    /// The failure inside an error of the protocol's library, which keeps what [`super::client`] put there.
    pub(crate) fn of_converter(error: &SRCError) -> Self {
        let ours = error.source().and_then(|source| source.downcast_ref::<reqwest_middleware::Error>());
        match ours {
            Some(error) => Self::of_request(error),
            None => Self::not_a_registry(UNREADABLE),
        }
    }

    /// The failure inside an error of the HTTP client.
    pub(crate) fn of_request(error: &reqwest_middleware::Error) -> Self {
        let inner = match error {
            reqwest_middleware::Error::Middleware(inner) => inner.downcast_ref::<Failure>().cloned(),
            reqwest_middleware::Error::Reqwest(_) => None,
        };
        inner.unwrap_or_else(|| {
            Self::new(Cause::Away, format!("the schema registry does not answer: {error}"))
        })
    }

    /// An answer that no registry gives.
    pub(crate) fn not_a_registry(found: &str) -> Self {
        Self::new(Cause::Wrong, format!("what answers is not a schema registry: {found}")).remedy(
            "check the address in `registry.url`: with /schemas/types behind it, it lists AVRO; Apicurio's ends in /apis/ccompat/v7",
        )
    }

    /// What an answer means whose status is not one of success. `login` says as whom we came.
    pub(crate) fn of_answer(url: &Url, status: StatusCode, body: &[u8], login: &str) -> Self {
        let Refusal { error_code, message } = serde_json::from_slice(body).unwrap_or_default();
        let place = host(url);
        let words = if message.is_empty() { status.to_string() } else { bounded(&message) };
        match (status.as_u16(), error_code) {
            (401, _) => Self::new(
                Cause::Denied,
                format!("the schema registry {place} does not let us in as {login}: {words}"),
            )
            .remedy("check `registry.user` and `registry.password`, or `registry.token`"),
            (403, _) => Self::new(Cause::Denied, format!("the schema registry {place} denies this to {login}: {words}"))
                .remedy("give it the right to read the subjects of this pipeline, and to write those that it registers"),
            (404, 40400..40500) => Self::new(Cause::Unknown, words),
            (404, _) => Self { cause: Cause::Absent, ..Self::not_a_registry(&format!("{place}{} is not there", url.path())) },
            (_, 42205) => Self::new(Cause::Away, format!("the schema registry takes no changes: {words}")),
            (408 | 425 | 429 | 500.., _) => {
                Self::new(Cause::Away, format!("the schema registry {place} cannot answer now: {words}"))
            }
            (405, _) => Self::new(Cause::Absent, format!("the schema registry {place} does not do this: {words}")),
            (300..=399, _) => Self::not_a_registry(&format!("{place} sends us elsewhere with {status}")),
            (_, 1..) => Self::new(Cause::Refused, words),
            (409 | 422, _) => Self::new(Cause::Refused, words),
            // Whoever says this without a code of the registry stands in between.
            _ => Self::not_a_registry(&format!("{place} answers {words}")),
        }
    }

    /// Why no answer came.
    pub(crate) fn unreached(url: &Url, error: &reqwest::Error) -> Self {
        let place = host(url);
        let away = |says: String| Self::new(Cause::Away, says);
        if let Some(error) = encryption(error) {
            return Self::unsafe_way(&place, error);
        }
        if error.is_timeout() {
            return away(format!("the schema registry {place} does not answer in time"))
                .remedy("see whether it is overloaded, or `registry.timeout` too short");
        }
        let deepest = chain(error).last().map(ToString::to_string).unwrap_or_default();
        if chain(error).any(|link| link.to_string() == "dns error") {
            return away(format!("the name of the schema registry {place} cannot be resolved: {deepest}"))
                .remedy("check `registry.url`");
        }
        if error.is_connect() {
            return away(format!("the schema registry {place} cannot be reached: {deepest}"))
                .remedy("see whether it runs, and whether a firewall lets us through");
        }
        let remedy = match url.scheme() {
            // Karapace says no more than this to whoever comes without the certificate that it wants.
            "https" => {
                "see whether it wants a client certificate, `registry.tls.certificate`, or why it closes connections"
            }
            _ => "see whether it speaks https where `registry.url` says http, or why it closes connections",
        };
        away(format!("the schema registry {place} broke off: {deepest}")).remedy(remedy)
    }

    fn unsafe_way(place: &str, error: &rustls::Error) -> Self {
        let wrong = |says: String, remedy: &str| Self::new(Cause::Wrong, says).remedy(remedy);
        match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => wrong(
                format!(
                    "the certificate of the schema registry {place} was issued by an authority that is not trusted"
                ),
                "give the authority's certificate as `registry.tls.ca`",
            ),
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => wrong(
                format!("the certificate of the schema registry {place} has expired"),
                "have it renewed, and check the clock of this machine",
            ),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => wrong(
                format!("the certificate of the schema registry {place} is for another name"),
                "write the name that it is for in `registry.url`",
            ),
            rustls::Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::HandshakeFailure
                | AlertDescription::AccessDenied
                | AlertDescription::UnknownCA),
            ) => wrong(
                format!("the schema registry {place} does not accept our certificate: {alert:?}"),
                "check `registry.tls.certificate` and `registry.tls.key`",
            ),
            rustls::Error::InvalidMessage(_) => wrong(
                format!("the schema registry {place} does not speak TLS there"),
                "write its address with http://, or with the port for https",
            ),
            other => wrong(
                format!("no safe connection to the schema registry {place}: {other}"),
                "check its certificate and `registry.tls`",
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)
    }
}

impl StdError for Failure {}

/// `host:port`.
pub(crate) fn host(url: &Url) -> String {
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

/// As much of it as a log line can take.
pub(crate) fn bounded(words: &str) -> String {
    let end = words.floor_char_boundary(WORDS_BYTES_MAX);
    let more = if end < words.len() { "..." } else { "" };
    format!("{}{more}", words[..end].trim())
}

/// An error and those below it.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        // An I/O error does not count the error that it wraps as its source, but that one's source.
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

fn encryption<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|link| link.downcast_ref::<rustls::Error>())
}
