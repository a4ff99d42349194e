//! What all clients of librdkafka share: the properties of a connection, their log, and a client for admin requests.

use std::time::Duration;

use aqueduct_api::Error;
use aqueduct_api::config::Secret;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use crate::config::{Connection, Properties, Sasl};
use crate::credentials;
use crate::tokens::Tokens;

/// How long a response may take before the connection is closed.
const SOCKET_TIMEOUT_MS: &str = "10000";

/// A client for admin requests.
pub fn admin_client(
    connection: &Connection,
    properties: &Properties,
) -> Result<AdminClient<AdminContext>, Error> {
    let mut client = client_config(connection, "aqueduct-admin")?;
    set_properties(&mut client, &[&connection.client, properties]);
    client
        .create_with_context(AdminContext::new(connection))
        .map_err(|error| Error::config("the Kafka client refuses its settings").caused_by(error))
}

/// The context of a client for admin requests.
pub struct AdminContext {
    tokens: Option<Tokens>,
}

impl AdminContext {
    /// For a client of this cluster.
    pub fn new(connection: &Connection) -> Self {
        Self { tokens: Tokens::new(connection) }
    }
}

impl ConsumerContext for AdminContext {}

impl ProducerContext for AdminContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl ClientContext for AdminContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client reports");
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let tokens = self.tokens.as_ref().ok_or("no token is configured")?;
        tokens.fetch().map_err(|diagnosed| diagnosed.to_string().into())
    }
}

/// librdkafka's properties for a connection, with the credentials as they are now.
///
/// # Errors
/// When a file with credentials cannot be read.
pub fn client_config(connection: &Connection, client_id: &str) -> Result<ClientConfig, Error> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &connection.brokers.0);
    client.set("client.id", client_id);
    client.set("socket.keepalive.enable", "true");
    // librdkafka waits a minute for a broker that does not respond and keeps its connections open.
    client.set("socket.timeout.ms", SOCKET_TIMEOUT_MS);
    client.set("reconnect.backoff.max.ms", "2000");
    client.set_log_level(RDKafkaLogLevel::Info);
    let credentials = credentials::load(connection)?;
    let protocol = match (&connection.tls, &connection.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = &connection.tls {
        match &credentials.ca {
            Some(ca) => client.set("ssl.ca.pem", ca),
            // By default librdkafka trusts the authorities of the machine that it was built on.
            None => client.set("ssl.ca.location", "probe"),
        };
        let verify = if tls.verify_hostname { "https" } else { "none" };
        client.set("ssl.endpoint.identification.algorithm", verify);
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().clone());
        for (name, text) in [
            ("ssl.certificate.pem", credentials.certificate.clone()),
            ("ssl.key.pem", secret(&credentials.key)),
            ("ssl.key.password", secret(&credentials.key_password)),
        ] {
            text.map(|text| client.set(name, text));
        }
    }
    if let Some(sasl) = &connection.sasl {
        client.set("sasl.mechanism", sasl.mechanism());
        match sasl {
            Sasl::Plain(login) | Sasl::ScramSha256(login) | Sasl::ScramSha512(login) => {
                client.set("sasl.username", &login.user);
                client
                    .set("sasl.password", credentials.password.as_ref().map_or("", |secret| secret.reveal()));
            }
            // The context of the client fetches tokens.
            Sasl::Oauthbearer(_) => {}
            Sasl::Kerberos(kerberos) => {
                client.set("sasl.kerberos.principal", &kerberos.principal);
                client.set("sasl.kerberos.keytab", kerberos.keytab.display().to_string());
                client.set("sasl.kerberos.service.name", &kerberos.service_name);
            }
        }
    }
    Ok(client)
}

/// Sets properties that a file names; later layers win.
pub fn set_properties(client: &mut ClientConfig, layers: &[&Properties]) {
    for (name, value) in layers.iter().flat_map(|layer| &layer.0) {
        client.set(name, value);
    }
}

/// A line of librdkafka's log, at most at level debug here: what users have to know is shown as a diagnosis.
pub fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{line}");
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// How long the probe may take whether any broker answers, and how often it is made.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a request to the cluster may take before it is made again.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
