//! Tokens of an identity provider for SASL OAUTHBEARER, fetched with client credentials (RFC 6749, section 4.4). The
//! library (librdkafka) can fetch them itself, but only when it is built with curl.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::client::OAuthToken;
use serde::Deserialize;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::config::{Connection, Oauth, Sasl};
use crate::credentials::{Credentials, SYSTEM_AUTHORITIES};
use crate::diagnosis::Diagnosed;
use crate::diagnosis::connecting::TOKEN_MISSING;

/// How long the provider may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// No answer is longer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How long a token is taken to last where the provider does not say.
const LIFETIME_DEFAULT_S: i64 = 300;

/// Fetches tokens for one connection.
#[derive(Clone, Debug)]
pub struct Tokens {
    connection: Connection,
    oauth: Oauth,
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<i64>,
}

/// RFC 6749, section 5.2.
#[derive(Deserialize)]
struct Denied {
    error: String,
    error_description: Option<String>,
}

impl Tokens {
    /// `None` for a connection that needs none.
    pub fn new(connection: &Connection) -> Option<Self> {
        match &connection.sasl {
            Some(Sasl::Oauthbearer(oauth)) => {
                Some(Self { connection: connection.clone(), oauth: oauth.clone() })
            }
            _ => None,
        }
    }

    /// Asks the provider. librdkafka asks for the next one when four fifths of the lifetime are over.
    pub fn fetch(&self) -> Result<OAuthToken, Diagnosed> {
        let credentials = Credentials::load(&self.connection).map_err(|(_, diagnosed)| diagnosed)?;
        let granted = self.ask(&credentials).map_err(|cause| {
            let Oauth { client_id, token_url, .. } = &self.oauth;
            TOKEN_MISSING.fill(&[("user", client_id), ("url", token_url), ("cause", &cause)])
        })?;
        let lifetime_s = granted.expires_in.unwrap_or(LIFETIME_DEFAULT_S).max(1);
        Ok(OAuthToken {
            token: granted.access_token,
            principal_name: self.oauth.client_id.clone(),
            lifetime_ms: Timestamp::now().as_millisecond() + lifetime_s * 1_000,
        })
    }

    fn ask(&self, credentials: &Credentials) -> Result<Granted, String> {
        let Oauth { client_id, scope, parameters, token_url, .. } = &self.oauth;
        let secret = credentials.password.as_ref().map(|secret| secret.reveal().as_str()).unwrap_or_default();
        let mut form =
            vec![("grant_type", "client_credentials"), ("client_id", client_id), ("client_secret", secret)];
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(FETCH_TIMEOUT))
            .http_status_as_error(false)
            .tls_config(tls(credentials.token_ca.as_deref()))
            .build()
            .into();
        let mut answer = agent.post(token_url).send_form(form).map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        if status.is_success() {
            // What it says otherwise may be the token, so it is not shown.
            return serde_json::from_slice(&body).map_err(|_| "the answer holds no access_token".into());
        }
        Err(match serde_json::from_slice(&body) {
            Ok(Denied { error, error_description: Some(more) }) => {
                format!("it answers {status}, {error}: {more}")
            }
            Ok(Denied { error, .. }) => format!("it answers {status}, {error}"),
            Err(_) => format!("it answers {status}"),
        })
    }
}

fn tls(ca: Option<&str>) -> TlsConfig {
    let system = || SYSTEM_AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    let text = ca.map_or_else(system, |ca| ca.as_bytes().to_vec());
    let certificates = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(certificates.collect())))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build()
}
