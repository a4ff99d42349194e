//! Whether brokers can be reached, and the client that then sends the requests of a probe.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aqueduct_api::Finding;
use aqueduct_kafka_client::config::Connection;
use aqueduct_kafka_client::credentials::{Credentials, out_of_time, shown, subject_of, time_of};
use aqueduct_kafka_client::diagnosis::Diagnosed;
use aqueduct_kafka_client::preflight::{Preflight, Reachable};
use aqueduct_kafka_client::{Tokens, code_of, log, login};
use jiff::Timestamp;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// A certificate that expires sooner is worth a warning.
const EXPIRES_SOON_HOURS: i64 = 14 * 24;
/// So many preflights are made at a time.
const PREFLIGHTS_MAX: usize = 16;

/// Properties of producers, for which a consumer logs a warning.
pub(super) const PRODUCER_ONLY: [&str; 14] = [
    "acks",
    "batch.size",
    "compression.type",
    "enable.idempotence",
    "linger.ms",
    "message.timeout.ms",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "statistics.interval.ms",
    "sticky.partitioning.linger.ms",
    "transactional.id",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
];

/// The client certificate and its validity.
pub(super) fn certificate(credentials: &Credentials) -> Option<Finding> {
    let own = credentials.own_certificate()?;
    if let Some(diagnosed) = out_of_time(&own) {
        return Some(diagnosed.into());
    }
    let says = format!(
        "client certificate `{}` is valid until {}",
        subject_of(own.subject_name()),
        shown(own.not_after())
    );
    Some(timely(says, time_of(own.not_after()), "renew it in time"))
}

/// Makes a preflight of each; true when at least one can be reached.
pub(super) fn brokers(
    connection: &Connection,
    credentials: &Credentials,
    brokers: &[String],
    first: bool,
    patience: Duration,
) -> (Vec<Finding>, bool) {
    let preflight = match Preflight::new(connection, credentials) {
        Ok(preflight) => preflight,
        Err(diagnosed) => return (vec![diagnosed.into()], false),
    };
    let mut answers = Vec::new();
    for some in brokers.chunks(PREFLIGHTS_MAX) {
        std::thread::scope(|scope| {
            let checks: Vec<_> =
                some.iter().map(|broker| scope.spawn(|| preflight.check(broker, patience))).collect();
            answers.extend(checks.into_iter().filter_map(|check| check.join().ok()));
        });
    }
    let reached = answers.iter().any(Result::is_ok);
    let finding = |(broker, answer): (&String, Result<Reachable, Diagnosed>)| match answer {
        Ok(found) => good(broker, &found),
        // One bootstrap broker of several is enough; each that the cluster advertises is needed.
        Err(diagnosed) if first && reached => Finding::warning(diagnosed.says, diagnosed.remedy),
        Err(diagnosed) => diagnosed.into(),
    };
    (brokers.iter().zip(answers).map(finding).collect(), reached)
}

fn good(broker: &str, found: &Reachable) -> Finding {
    let mut addresses: Vec<String> = found.addresses.iter().map(|address| address.ip().to_string()).collect();
    addresses.dedup();
    let says = format!("broker {broker} answers at {}", addresses.join(", "));
    match &found.certificate {
        None => Finding::good(says),
        Some(shown) => {
            let until = shown.expires.map_or_else(|| "?".to_owned(), |time| time.to_string());
            let says =
                format!("{says}, certificate `{}` of `{}` valid until {until}", shown.subject, shown.issuer);
            timely(says, shown.expires, "have the broker's certificate renewed in time")
        }
    }
}

fn timely(says: String, expires: Option<Timestamp>, remedy: &str) -> Finding {
    let soon = Timestamp::now() + jiff::SignedDuration::from_hours(EXPIRES_SOON_HOURS);
    match expires {
        Some(time) if time < soon => Finding::warning(says, remedy),
        _ => Finding::good(says),
    }
}

/// The context of the client of a probe.
pub(super) struct ProbeClient {
    connection: Connection,
    tokens: Option<Tokens>,
    login_error: Mutex<Option<Diagnosed>>,
}

impl ProbeClient {
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            tokens: Tokens::new(connection),
            connection: connection.clone(),
            login_error: Mutex::default(),
        }
    }

    /// Why the login failed.
    pub(super) fn login_error(&self) -> Option<Diagnosed> {
        self.login_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn login_failed(&self, diagnosed: Diagnosed) {
        self.login_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(diagnosed);
    }
}

impl ClientContext for ProbeClient {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client reports");
        if let Some(diagnosed) = login(&self.connection, code_of(&error), reason) {
            self.login_failed(diagnosed);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let tokens = self.tokens.as_ref().ok_or("no token is configured")?;
        tokens.fetch().map_err(|diagnosed| {
            let says = diagnosed.to_string();
            self.login_failed(diagnosed);
            says.into()
        })
    }
}

impl ConsumerContext for ProbeClient {}
