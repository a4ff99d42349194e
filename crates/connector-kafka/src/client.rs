//! What consumers and producers share: their properties, what they are waiting for, and what an error code
//! means.

mod advertised;
pub(crate) mod credentials;
mod diagnose;
mod exchange;
pub(crate) mod knock;
mod names;
mod properties;
mod tokens;
mod troubles;

use std::time::Duration;

use aqueduct_api::config::Secret;
use aqueduct_api::{Error, ErrorKind};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::ProducerContext;

pub(crate) use self::advertised::Advertised;
pub(crate) use self::diagnose::{Deed, denial, denied_transactions, fatal_denial, login};
pub(crate) use self::properties::check as check_properties;
pub(crate) use self::tokens::Tokens;
pub(crate) use self::troubles::{Trouble, Troubles};
use crate::config::{Connection, Isolation, Properties, Sasl, SinkConfig, SourceConfig};
use crate::diagnosis::{NO_BROKER, TOPIC_MISSING};

/// Memory that librdkafka may fill with records ahead of the engine (it counts uncompressed bytes, over all
/// partitions).
const PREFETCH_KIBIBYTES: &str = "16384";
/// The same as records, for each partition: a small one costs half a kilobyte beside its payload, which the bound in bytes
/// does not count.
const PREFETCH_RECORDS: &str = "30000";
/// One answer of a broker, compressed; it comes on top of what is prefetched already. The share of one partition in it
/// stays at the library's megabyte: a batch that is larger than the share comes only when it is the first of an answer
/// (KIP-74), and a producer in a hurry makes batches of up to a megabyte.
const FETCH_BYTES_MAX: &str = "2097152";
/// Memory for records that the broker has not acknowledged yet.
const UNACKNOWLEDGED_KIBIBYTES: &str = "32768";
/// The same as records: each costs some 200 bytes beside its payload.
const UNACKNOWLEDGED_RECORDS_MAX: &str = "40000";
/// How long a broker may leave a request unanswered before it is taken for gone.
const SILENCE_MS_MAX: &str = "10000";
/// The largest batch that a producer makes of small records; a larger record travels alone.
const PRODUCER_BATCH_BYTES: &str = "1000000";

/// The property that says for how long the cluster waits for the end of a transaction, in milliseconds.
const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";
/// Those who read committed records stand still for so long behind what a runner that was killed has left open. It must
/// be longer than the patience with a silent broker.
const TRANSACTION_MS_MAX: &str = "15000";
/// A transactional producer closes what it does not use for so long. When the coordinator of the group dies in the middle
/// of a commit, the library (2.12) waits for a connection to it that nobody will make any more, and looks for the new one
/// only when some connection comes or goes: now one does.
const IDLE_MS_MAX: &str = "5000";

/// The property that says how often the cluster's topics are looked at, in milliseconds.
pub(crate) const REFRESH: &str = "topic.metadata.refresh.interval.ms";

/// The properties of a consumer in `group`.
pub(crate) fn consumer_config(
    config: &SourceConfig,
    group: &str,
    client_id: &str,
) -> Result<ClientConfig, Error> {
    let mut client = common(&config.connection, client_id)?;
    // With the default of a second a reader a little slower than the fetcher falls to a tenth of its speed.
    client.set("fetch.queue.backoff.ms", "10");
    client.set("queued.max.messages.kbytes", PREFETCH_KIBIBYTES);
    client.set("queued.min.messages", PREFETCH_RECORDS);
    client.set("fetch.max.bytes", FETCH_BYTES_MAX);
    // Also how often new topics of a pattern are looked for.
    client.set(REFRESH, "30000");
    overlay(&mut client, &[&config.connection.client, &config.client]);
    // The group protocol of KIP-848 leaves assignment and session to the broker, and refuses these two.
    if client.get("group.protocol") != Some("consumer") {
        if client.get("partition.assignment.strategy").is_none() {
            client.set("partition.assignment.strategy", "cooperative-sticky");
        }
        let session_ms = config.session_timeout.0.as_millis();
        client.set("session.timeout.ms", session_ms.to_string());
        if client.get("heartbeat.interval.ms").is_none() {
            // A third of it, as the Java client's documentation asks, and never more than a second: a member hears of a
            // rebalance with its next heartbeat, so this is what a partition waits for when its owner has left.
            client.set("heartbeat.interval.ms", (session_ms / 3).clamp(100, 1_000).to_string());
        }
    }
    client.set("group.id", group);
    client.set("enable.auto.commit", "false");
    client.set("enable.auto.offset.store", "false");
    client.set("auto.offset.reset", "error");
    client.set("isolation.level", config.isolation.as_str());
    Ok(client)
}

/// The properties of an idempotent producer, or of a transactional one.
pub(crate) fn producer_config(
    config: &SinkConfig,
    client_id: &str,
    transactional_id: Option<&str>,
) -> Result<ClientConfig, Error> {
    let mut client = common(&config.connection, client_id)?;
    client.set("queue.buffering.max.messages", UNACKNOWLEDGED_RECORDS_MAX);
    client.set("queue.buffering.max.kbytes", UNACKNOWLEDGED_KIBIBYTES);
    // The broker judges what is too large, with the limit of the topic; the library's own would refuse what
    // it takes.
    client.set("message.max.bytes", "100000000");
    client.set("batch.size", PRODUCER_BATCH_BYTES);
    // How long a topic that was looked up may be unknown to another broker, before that is an error.
    client.set("topic.metadata.propagation.max.ms", "10000");
    // For the throttling that is in it.
    client.set("statistics.interval.ms", "5000");
    if let Some(id) = transactional_id {
        client.set("transactional.id", id);
        client.set(TRANSACTION_TIMEOUT, TRANSACTION_MS_MAX);
        client.set("connections.max.idle.ms", IDLE_MS_MAX);
    }
    overlay(&mut client, &[&config.connection.client, &config.client]);
    client.set("compression.type", config.compression.as_str());
    client.set("linger.ms", config.linger.0.as_millis().to_string());
    client.set("enable.idempotence", "true");
    client.set("acks", "all");
    // The library asks for that much between the two.
    let ms = |client: &ClientConfig, name| client.get(name).and_then(|ms| ms.parse::<u64>().ok());
    if let (Some(_), Some(transaction), Some(socket)) =
        (transactional_id, ms(&client, TRANSACTION_TIMEOUT), ms(&client, "socket.timeout.ms"))
        && socket + 100 > transaction
    {
        client.set("socket.timeout.ms", transaction.saturating_sub(100).to_string());
    }
    // In a transaction the library gives up what is not acknowledged when the transaction is over.
    if transactional_id.is_none() {
        client.set("message.timeout.ms", "0");
    }
    client.set("partitioner", "murmur2_random");
    // A topic is made as `on_missing_topic` says, never by chance of a broker's settings.
    client.set("allow.auto.create.topics", "false");
    Ok(client)
}

/// A client for one question to the cluster or one order.
pub(crate) fn admin(connection: &Connection, properties: &Properties) -> Result<AdminClient<Caller>, Error> {
    let mut client = common(connection, "aqueduct-admin")?;
    overlay(&mut client, &[&connection.client, properties]);
    client
        .create_with_context(Caller::new(connection))
        .map_err(|error| Error::config("the Kafka client refuses its settings").caused_by(error))
}

/// The context of a client that asks and orders.
pub(crate) struct Caller {
    tokens: Option<Tokens>,
}

impl Caller {
    /// For a client of this cluster.
    pub(crate) fn new(connection: &Connection) -> Self {
        Self { tokens: Tokens::new(connection) }
    }
}

impl ConsumerContext for Caller {}

impl ProducerContext for Caller {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl ClientContext for Caller {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client reports");
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let tokens = self.tokens.as_ref().ok_or("no token is configured")?;
        tokens.fetch().map_err(|told| told.to_string().into())
    }
}

fn common(connection: &Connection, client_id: &str) -> Result<ClientConfig, Error> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &connection.brokers.0);
    client.set("client.id", client_id);
    client.set("socket.keepalive.enable", "true");
    // A broker that went silent with its connections open is left for another after this; the library waits a minute.
    client.set("socket.timeout.ms", SILENCE_MS_MAX);
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
            // The library's own idea of the system's authorities is that of the machine it was built on.
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

fn overlay(client: &mut ClientConfig, layers: &[&Properties]) {
    for (name, value) in layers.iter().flat_map(|layer| &layer.0) {
        client.set(name, value);
    }
}

/// The sentence for a cluster that does not answer, where nobody looks why.
pub(crate) fn no_broker(brokers: &str) -> String {
    NO_BROKER.told(&[("brokers", &brokers)]).to_string()
}

/// Whether a connection, or the way to one, failed.
pub(crate) fn is_connection(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut
    )
}

/// Whether the trouble is on the way to the brokers, or theirs for the moment: the library itself tries
/// again.
pub(crate) fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    is_connection(code)
        || matches!(
            code,
            Code::MessageTimedOut
                | Code::WaitingForCoordinator
                | Code::WaitCache
                | Code::TimedOutQueue
                | Code::RequestTimedOut
                | Code::NetworkException
                | Code::BrokerNotAvailable
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::ReplicaNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::RebalanceInProgress
                | Code::UnstableOffsetCommit
                | Code::OffsetNotAvailable
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::StaleMemberEpoch
        )
}

/// The code inside an error of the wrapper, where it has one.
pub(crate) fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}

/// The sentence for a topic that does not exist, with those that have nearly its name.
pub(crate) fn no_topic(name: &str, brokers: &str, cluster: Option<&Metadata>) -> Error {
    let remedy = match cluster.and_then(|cluster| near_topics(name, cluster)) {
        None => TOPIC_MISSING.remedy.to_owned(),
        Some(near) => format!("create it, or did you mean {near}"),
    };
    TOPIC_MISSING.error(ErrorKind::Transient, &[("topic", &name), ("brokers", &brokers)]).remedy(remedy)
}

/// Up to three topics that have nearly this name: `` `orders` or `order` ``.
pub(crate) fn near_topics(name: &str, cluster: &Metadata) -> Option<String> {
    let known = cluster.topics().iter().map(|topic| topic.name()).filter(|known| *known != name);
    let mut near: Vec<(usize, &str)> =
        known.map(|known| (strsim::damerau_levenshtein(known, name), known)).collect();
    near.retain(|(distance, _)| *distance <= 1 + name.len() / 5);
    near.sort_unstable();
    let near: Vec<String> = near.iter().take(3).map(|(_, known)| format!("`{known}`")).collect();
    (!near.is_empty()).then(|| near.join(" or "))
}

/// A line of the library's own log, at most `info` there: what people have to know is said in our own words.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{line}");
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// How long the question may take whether a broker answers, and how often it is asked.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long one question to the cluster may take before it is asked again.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// For `aqueduct plan`: `read_uncommitted` is worth saying, the default is not.
pub(crate) fn isolation_note(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "",
        Isolation::ReadUncommitted => ", read_uncommitted",
    }
}
