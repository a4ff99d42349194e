//! The health of a client: what its end of the pipeline waits for and why, from librdkafka's reports, and from a preflight
//! where librdkafka reports nothing of use.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::{Condition, Error, ErrorKind};
use rdkafka::client::{Client, ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::Instant;

use crate::advertised::{self, Advertised};
use crate::client::{CHECK_INTERVAL, log};
use crate::config::{Connection, Sasl};
use crate::credentials::{self, Credentials, Fingerprint};
use crate::diagnose::{Access, cluster_change, denial, login, transactional_id_denial};
use crate::diagnosis::Diagnosed;
use crate::diagnosis::connecting::{CLUSTER_REPLACED, CREDENTIALS_REPLACED, NO_BROKER, TOKEN_MISSING};
use crate::errors::{code_of, is_connection};
use crate::native::update;
use crate::preflight::Preflight;
use crate::tokens::Tokens;

/// How long a preflight may wait at each step.
const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often there is one while no broker answers.
const PREFLIGHT_INTERVAL: Duration = Duration::from_secs(5);
/// How often files with credentials are read again.
const FILES_INTERVAL: Duration = Duration::from_secs(2);
/// The first preflight is waited for so long, so that the first reason that is shown is the right one.
const FIRST_PREFLIGHT_WAIT: Duration = Duration::from_millis(700);

/// Something that is waited for. The first in order is the one shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitReason {
    /// No broker answers.
    Brokers,
    /// A topic does not exist.
    Topics,
    /// Records are not acknowledged.
    Acknowledgements,
    /// Some partitions have no leader.
    Leaders,
    /// A broker that is needed cannot be reached where it is advertised.
    Advertised,
    /// The group cannot be asked, or an offset cannot be committed.
    Group,
    /// The group gave no partitions yet.
    Assignment,
    /// It is not known yet what is to be read.
    Beginning,
    /// Some partitions cannot be read.
    Partitions,
}

/// All that is waited for at the moment, behind the one condition of this end of the pipeline, which shows the first.
pub struct ClientHealth {
    condition: Condition,
    now: Mutex<BTreeMap<WaitReason, String>>,
    /// A connection failed since it was last asked whether any broker answers.
    suspected: AtomicBool,
    /// Some broker has answered once.
    has_answered: AtomicBool,
    connection: Connection,
    files: Option<Mutex<Files>>,
    tokens: Option<Tokens>,
    /// Why the last login failed: librdkafka alone reports that.
    login: Mutex<Option<Diagnosed>>,
    preflight: Arc<LastPreflight>,
    /// The brokers where the cluster says they are.
    pub advertised: Arc<Advertised>,
}

/// The files with credentials.
struct Files {
    /// Of the contents that the client has.
    known: Fingerprint,
    read_at: Instant,
}

/// The last preflight of all brokers.
#[derive(Default)]
struct LastPreflight {
    running: AtomicBool,
    result: Mutex<PreflightResult>,
    changed: std::sync::Condvar,
}

#[derive(Default)]
struct PreflightResult {
    failure: Option<Diagnosed>,
    at: Option<Instant>,
    /// Whether the client was already given its brokers again because of it.
    used: bool,
}

impl ClientHealth {
    /// For a client of this cluster that is about to be made.
    pub fn new(condition: Condition, connection: &Connection) -> Result<Self, Error> {
        let loaded = credentials::load(connection)?;
        let files = Mutex::new(Files { known: loaded.fingerprint(), read_at: Instant::now() });
        Ok(Self {
            condition,
            now: Mutex::default(),
            // librdkafka does not report a port that answers and is not a broker's.
            suspected: AtomicBool::new(true),
            has_answered: AtomicBool::new(false),
            files: connection.names_files().then_some(files),
            tokens: Tokens::new(connection),
            connection: connection.clone(),
            login: Mutex::default(),
            preflight: Arc::default(),
            advertised: Arc::default(),
        })
    }

    /// librdkafka's error callback. An error is what the client has to fail with; what passes by itself is waited for.
    pub fn client_error(&self, error: &KafkaError, reason: &str, access: Access<'_>) -> Option<Error> {
        let code = code_of(error);
        tracing::debug!(%code, reason, "the Kafka client reports");
        if let Some(diagnosed) = login(&self.connection, code, reason) {
            // A token that could not be fetched was reported already, with more detail.
            lock(&self.login).get_or_insert(diagnosed.clone());
            if diagnosed.id != TOKEN_MISSING.id {
                *lock(&self.login) = Some(diagnosed);
            }
            self.connection_failed();
            return None;
        }
        if is_connection(code) || code == RDKafkaErrorCode::SSL {
            self.connection_failed();
            return None;
        }
        self.denied(code, reason, access)
    }

    /// The error for a right that is missing, with what has to be granted; `None` for every other code.
    pub fn denied(&self, code: RDKafkaErrorCode, reason: &str, access: Access<'_>) -> Option<Error> {
        denial(&self.connection, code, reason, access).map(|diagnosed| diagnosed.error(ErrorKind::Fatal))
    }

    /// The error for a transactional id that may not be used.
    pub fn transactional_id_denial(&self, transactional_id: &str, prefix: &str) -> Error {
        transactional_id_denial(&self.connection, transactional_id, prefix).error(ErrorKind::Fatal)
    }

    /// A line of librdkafka's log; an error where it reports something that ends the client.
    pub fn client_log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) -> Option<Error> {
        log(level, facility, line);
        let (before, now) = cluster_change(facility, line)?;
        let brokers = &self.connection.brokers.0;
        let diagnosed = CLUSTER_REPLACED.fill(&[("brokers", brokers), ("before", &before), ("now", &now)]);
        Some(diagnosed.error(ErrorKind::Config))
    }

    /// A token for OAUTHBEARER.
    pub fn oauth_token(&self) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let tokens = self.tokens.as_ref().ok_or("no token is configured")?;
        match tokens.fetch() {
            Ok(token) => {
                *lock(&self.login) = None;
                Ok(token)
            }
            Err(diagnosed) => {
                let says = diagnosed.to_string();
                *lock(&self.login) = Some(diagnosed);
                self.connection_failed();
                Err(says.into())
            }
        }
    }

    /// Looks whether the files with credentials have other contents. The client takes another password as it runs; an error
    /// means that it has to be made anew.
    pub fn credentials_replaced<C: ClientContext>(&self, client: &Client<C>) -> Option<Error> {
        let mut files = lock(self.files.as_ref()?);
        if files.read_at.elapsed() < FILES_INTERVAL {
            return None;
        }
        files.read_at = Instant::now();
        // While files are being replaced they may be missing or not belong together: the client that works is kept.
        let read = Credentials::load(&self.connection).ok()?;
        let now = read.fingerprint();
        if now == files.known || !credentials::check(&self.connection).is_empty() {
            return None;
        }
        if now.tls == files.known.tls && self.update_password(&read, client) {
            files.known = now;
            return None;
        }
        let diagnosed = CREDENTIALS_REPLACED.fill(&[("brokers", &self.connection.brokers.0)]);
        Some(diagnosed.error(ErrorKind::Fatal))
    }

    /// Whether the client takes another password, or needs none.
    fn update_password<C: ClientContext>(&self, read: &Credentials, client: &Client<C>) -> bool {
        let brokers = &self.connection.brokers.0;
        let updated = match (&self.connection.sasl, &read.password) {
            (
                Some(Sasl::Plain(login) | Sasl::ScramSha256(login) | Sasl::ScramSha512(login)),
                Some(secret),
            ) => update::password(client, &login.user, secret.reveal()),
            // Each token is asked for with what the files hold then.
            (Some(Sasl::Oauthbearer(_)), _) => Ok(()),
            _ => return false,
        };
        match updated {
            Ok(()) => {
                tracing::info!(brokers, "a password was replaced on disk: the next login is made with it")
            }
            Err(ref error) => tracing::warn!(brokers, error, "the Kafka client takes no other password"),
        }
        updated.is_ok()
    }

    /// A connection failed. librdkafka does not always say whether it was one broker of many or all, so the next `probe` asks.
    pub fn connection_failed(&self) {
        self.suspected.store(true, Ordering::Release);
    }

    /// Whether it has to be asked if any broker answers: none did, or a connection has failed since.
    pub fn must_probe(&self) -> bool {
        self.suspected.swap(false, Ordering::AcqRel) || self.has(WaitReason::Brokers)
    }

    /// Asks whether any broker answers, where there is a reason to.
    pub fn probe<C: ClientContext>(&self, client: &Client<C>) {
        if !self.must_probe() {
            return;
        }
        // The id of the cluster is the smaller request, and is answered from a cache once it is known.
        let answers = match self.has_answered.load(Ordering::Acquire) {
            false => client.fetch_cluster_id(CHECK_INTERVAL).is_some(),
            true => client.fetch_metadata(None, CHECK_INTERVAL).is_ok(),
        };
        if answers { self.broker_answered() } else { self.no_broker_answered(client) }
    }

    /// A broker answered.
    pub fn broker_answered(&self) {
        self.has_answered.store(true, Ordering::Release);
        *lock(&self.login) = None;
        *lock(&self.preflight.result) = PreflightResult::default();
        self.clear(WaitReason::Brokers);
    }

    /// None answered: shows why, as far as it can be found. Where the preflight reaches them and the client does not, the client
    /// is given its brokers again.
    pub fn no_broker_answered<C: ClientContext>(&self, client: &Client<C>) {
        let failure = self.preflight();
        if failure.is_none() && lock(&self.login).is_none() && self.reached() {
            tracing::info!(
                brokers = self.connection.brokers.0,
                "the Kafka client is told of its brokers again"
            );
            update::brokers(client, &self.connection.brokers.0);
        }
        let diagnosed = lock(&self.login)
            .clone()
            .or(failure)
            .unwrap_or_else(|| NO_BROKER.fill(&[("brokers", &self.connection.brokers.0)]));
        self.set(WaitReason::Brokers, diagnosed.to_string());
    }

    /// Whether the last preflight reached all brokers; true once for each.
    fn reached(&self) -> bool {
        let mut result = lock(&self.preflight.result);
        result.at.is_some() && result.failure.is_none() && !std::mem::replace(&mut result.used, true)
    }

    /// Why the first broker cannot be reached. Starts another preflight in the background when the last one is old.
    fn preflight(&self) -> Option<Diagnosed> {
        let result = lock(&self.preflight.result);
        if result.at.is_some_and(|at| at.elapsed() < PREFLIGHT_INTERVAL) {
            return result.failure.clone();
        }
        let first = result.at.is_none();
        if !self.preflight.running.swap(true, Ordering::AcqRel) {
            let (last, connection) = (self.preflight.clone(), self.connection.clone());
            let advertised = self.advertised.all();
            let spawned = std::thread::Builder::new().name("kafka-preflight".into()).spawn(move || {
                let failure = run_preflight(&connection, &advertised);
                *lock(&last.result) = PreflightResult { failure, at: Some(Instant::now()), used: false };
                last.running.store(false, Ordering::Release);
                last.changed.notify_all();
            });
            if spawned.is_err() {
                self.preflight.running.store(false, Ordering::Release);
            }
        }
        let wait = if first { FIRST_PREFLIGHT_WAIT } else { Duration::ZERO };
        let waited =
            self.preflight.changed.wait_timeout_while(result, wait, |result| first && result.at.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.failure.clone()
    }

    /// This is waited for; logged when it was not before.
    pub fn set(&self, reason: WaitReason, says: String) {
        let mut now = lock(&self.now);
        if now.get(&reason) != Some(&says) {
            tracing::warn!(reason = says, "waiting");
            now.insert(reason, says);
            self.show(&now);
        }
    }

    /// The same without a line in the log: as a rule it is over in a moment.
    pub fn set_quietly(&self, reason: WaitReason, says: String) {
        let mut now = lock(&self.now);
        now.insert(reason, says);
        self.show(&now);
    }

    /// It is over, without a line in the log.
    pub fn clear_quietly(&self, reason: WaitReason) {
        let mut now = lock(&self.now);
        if now.remove(&reason).is_some() {
            self.show(&now);
        }
    }

    /// This end has nothing to do, for this reason; `None` when it has.
    pub fn standing_by(&self, reason: Option<String>) {
        self.condition.standing_by(reason);
    }

    /// Checks in the background whether these brokers, or all, can be reached at their advertised addresses.
    pub fn check_advertised(&self, wanted: Option<&[i32]>) {
        self.advertised.check(&self.connection, wanted);
    }

    /// Checks the advertised addresses of all brokers, and says which cannot be reached, if any. Takes seconds then.
    pub fn unreachable(&self) -> Option<String> {
        advertised::unreachable(&self.connection).map(|diagnosed| diagnosed.to_string())
    }

    /// It is over.
    pub fn clear(&self, reason: WaitReason) {
        let mut now = lock(&self.now);
        if let Some(says) = now.remove(&reason) {
            tracing::info!(reason = says, "no longer waiting");
            self.show(&now);
        }
    }

    /// Whether this is being waited for.
    pub fn has(&self, reason: WaitReason) -> bool {
        lock(&self.now).contains_key(&reason)
    }

    fn show(&self, now: &BTreeMap<WaitReason, String>) {
        match now.values().next() {
            Some(says) => self.condition.waiting(says.clone()),
            None => self.condition.clear(),
        };
    }
}

/// Why the first broker cannot be reached, where none can, or none at its advertised address.
fn run_preflight(connection: &Connection, advertised: &[(i32, String)]) -> Option<Diagnosed> {
    let credentials = match credentials::load_diagnosed(connection) {
        Ok(credentials) => credentials,
        Err(diagnosed) => return Some(diagnosed),
    };
    // A broker does not say why it refuses a certificate; that it has expired can be seen here.
    if let Some(diagnosed) = credentials.own_certificate().as_ref().and_then(credentials::out_of_time) {
        return Some(diagnosed);
    }
    let preflight = match Preflight::new(connection, &credentials) {
        Ok(preflight) => preflight,
        Err(diagnosed) => return Some(diagnosed),
    };
    let mut first = None;
    for broker in connection.brokers.each() {
        match preflight.check(broker, PREFLIGHT_TIMEOUT) {
            // This address is right: the client then connects to the advertised ones.
            Ok(_) => {
                let asked = if advertised.is_empty() { advertised::fetch(connection) } else { Vec::new() };
                let all = if advertised.is_empty() { &asked } else { advertised };
                let mut all = advertised::check(connection, all).into_iter();
                let first = all.next().flatten();
                return first.filter(|_| all.all(|diagnosed| diagnosed.is_some()));
            }
            Err(diagnosed) => first = first.or(Some(diagnosed)),
        }
    }
    first
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_shown_until_all_are_over() {
        let condition = Condition::default();
        let connection = serde_json::from_value(serde_json::json!({ "brokers": "a:1" })).unwrap();
        let health = ClientHealth::new(condition.clone(), &connection).unwrap();
        health.set(WaitReason::Group, "group".into());
        health.set(WaitReason::Brokers, "brokers".into());
        assert_eq!(condition.reason().as_deref(), Some("brokers"));
        health.clear(WaitReason::Brokers);
        assert_eq!(condition.reason().as_deref(), Some("group"));
        health.clear(WaitReason::Group);
        assert_eq!(condition.reason(), None);
    }
}
