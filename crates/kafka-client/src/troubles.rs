//! What one end of a pipeline waits for, and why: what the library reports, and what a look of our own finds where it
//! reports nothing of use.

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
use crate::client::{LOOK_AGAIN, log};
use crate::config::{Connection, Sasl};
use crate::credentials::{self, Credentials, Fingerprint};
use crate::diagnose::{Deed, cluster_change, denial, denied_transactions, login};
use crate::diagnosis::Told;
use crate::diagnosis::connecting::{CLUSTER_REPLACED, CREDENTIALS_REPLACED, NO_BROKER, TOKEN_MISSING};
use crate::errors::{code_of, is_connection};
use crate::native::update;
use crate::preflight::Way;
use crate::tokens::Tokens;

/// How long a look at the brokers may wait at each step.
const LOOK_PATIENCE: Duration = Duration::from_secs(3);
/// How often they are looked at while none answers.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often files with credentials are read again.
const FILES_INTERVAL: Duration = Duration::from_secs(2);
/// The first answer is worth a moment's waiting: with it the first sentence is the right one.
const FIRST_LOOK: Duration = Duration::from_millis(700);

/// Something that is waited for. The first in order is the one shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
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
    /// Nothing was heard yet of what is to be read.
    Beginning,
    /// Some partitions cannot be read.
    Partitions,
}

/// All that is waited for at the moment, behind the one condition of this end of the pipeline.
pub struct Troubles {
    condition: Condition,
    now: Mutex<BTreeMap<Trouble, String>>,
    suspected: AtomicBool,
    /// Some broker has answered once.
    met: AtomicBool,
    connection: Connection,
    files: Option<Mutex<Files>>,
    tokens: Option<Tokens>,
    /// What the library said last of a login: nobody else knows about it.
    login: Mutex<Option<Told>>,
    look: Arc<Look>,
    /// The brokers where the cluster says they are.
    pub advertised: Arc<Advertised>,
}

/// The files with credentials.
struct Files {
    /// Of their contents as the client has them.
    known: Fingerprint,
    read_at: Instant,
}

/// What our own look found.
#[derive(Default)]
struct Look {
    under_way: AtomicBool,
    found: Mutex<Found>,
    changed: std::sync::Condvar,
}

#[derive(Default)]
struct Found {
    told: Option<Told>,
    at: Option<Instant>,
    /// Something was done about it.
    asked: bool,
}

impl Troubles {
    /// For a client of this cluster that is about to be made.
    pub fn new(condition: Condition, connection: &Connection) -> Result<Self, Error> {
        let loaded = credentials::load(connection)?;
        let files = Mutex::new(Files { known: loaded.fingerprint(), read_at: Instant::now() });
        Ok(Self {
            condition,
            now: Mutex::default(),
            // A port that answers, and is no broker's, is not reported by anybody.
            suspected: AtomicBool::new(true),
            met: AtomicBool::new(false),
            files: connection.names_files().then_some(files),
            tokens: Tokens::new(connection),
            connection: connection.clone(),
            login: Mutex::default(),
            look: Arc::default(),
            advertised: Arc::default(),
        })
    }

    /// The library reports something. An error is what the client has to fail with; what passes by itself is waited for.
    pub fn heard(&self, error: &KafkaError, reason: &str, deed: Deed<'_>) -> Option<Error> {
        let code = code_of(error);
        tracing::debug!(%code, reason, "the Kafka client reports");
        if let Some(told) = login(&self.connection, code, reason) {
            // A failed fetch of a token was said already, and better.
            lock(&self.login).get_or_insert(told.clone());
            if told.id != TOKEN_MISSING.id {
                *lock(&self.login) = Some(told);
            }
            self.suspect();
            return None;
        }
        if is_connection(code) || code == RDKafkaErrorCode::SSL {
            self.suspect();
            return None;
        }
        self.denied(code, reason, deed)
    }

    /// The error for a right that is missing, with what has to be granted; `None` for every other code.
    pub fn denied(&self, code: RDKafkaErrorCode, reason: &str, deed: Deed<'_>) -> Option<Error> {
        denial(&self.connection, code, reason, deed).map(|told| told.error(ErrorKind::Fatal))
    }

    /// The error for a transactional id that may not be used.
    pub fn denied_transactions(&self, transactional_id: &str, prefix: &str) -> Error {
        denied_transactions(&self.connection, transactional_id, prefix).error(ErrorKind::Fatal)
    }

    /// A line of the library's log; an error when it tells of something that ends the client.
    pub fn logged(&self, level: RDKafkaLogLevel, facility: &str, line: &str) -> Option<Error> {
        log(level, facility, line);
        let (before, now) = cluster_change(facility, line)?;
        let brokers = &self.connection.brokers.0;
        let told = CLUSTER_REPLACED.told(&[("brokers", brokers), ("before", &before), ("now", &now)]);
        Some(told.error(ErrorKind::Config))
    }

    /// A token for the SASL mechanism that asks for one.
    pub fn token(&self) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let tokens = self.tokens.as_ref().ok_or("no token is configured")?;
        match tokens.fetch() {
            Ok(token) => {
                *lock(&self.login) = None;
                Ok(token)
            }
            Err(told) => {
                let says = told.to_string();
                *lock(&self.login) = Some(told);
                self.suspect();
                Err(says.into())
            }
        }
    }

    /// Looks whether the files with credentials have another content. A password goes to the client in place; an error is
    /// that the client has to be made anew.
    pub fn replaced<C: ClientContext>(&self, client: &Client<C>) -> Option<Error> {
        let mut files = lock(self.files.as_ref()?);
        if files.read_at.elapsed() < FILES_INTERVAL {
            return None;
        }
        files.read_at = Instant::now();
        // Half of a pair, or a file that is just being exchanged, is no reason to give up a client that works.
        let read = Credentials::load(&self.connection).ok()?;
        let now = read.fingerprint();
        if now == files.known || !credentials::check(&self.connection).is_empty() {
            return None;
        }
        if now.tls == files.known.tls && self.exchange(&read, client) {
            files.known = now;
            return None;
        }
        let told = CREDENTIALS_REPLACED.told(&[("brokers", &self.connection.brokers.0)]);
        Some(told.error(ErrorKind::Fatal))
    }

    /// Whether the client takes another password, or needs none.
    fn exchange<C: ClientContext>(&self, read: &Credentials, client: &Client<C>) -> bool {
        let brokers = &self.connection.brokers.0;
        let exchanged = match (&self.connection.sasl, &read.password) {
            (
                Some(Sasl::Plain(login) | Sasl::ScramSha256(login) | Sasl::ScramSha512(login)),
                Some(secret),
            ) => update::password(client, &login.user, secret.reveal()),
            // Each token is asked for with what the files hold then.
            (Some(Sasl::Oauthbearer(_)), _) => Ok(()),
            _ => return false,
        };
        match exchanged {
            Ok(()) => {
                tracing::info!(brokers, "a password was replaced on disk: the next login is made with it")
            }
            Err(ref error) => tracing::warn!(brokers, error, "the Kafka client takes no other password"),
        }
        exchanged.is_ok()
    }

    /// A connection failed. One broker of many, or all? The library does not always say, so somebody has to
    /// ask.
    pub fn suspect(&self) {
        self.suspected.store(true, Ordering::Release);
    }

    /// Whether to ask if a broker answers: because none did, or because of a suspicion, which is taken back
    /// by this.
    pub fn to_ask(&self) -> bool {
        self.suspected.swap(false, Ordering::AcqRel) || self.has(Trouble::Brokers)
    }

    /// Asks whether a broker answers, when there is a reason to.
    pub fn ask<C: ClientContext>(&self, client: &Client<C>) {
        if !self.to_ask() {
            return;
        }
        // The first question is a small one; it would be answered from memory later.
        let answers = match self.met.load(Ordering::Acquire) {
            false => client.fetch_cluster_id(LOOK_AGAIN).is_some(),
            true => client.fetch_metadata(None, LOOK_AGAIN).is_ok(),
        };
        if answers { self.answered() } else { self.silent(client) }
    }

    /// A broker answered.
    pub fn answered(&self) {
        self.met.store(true, Ordering::Release);
        *lock(&self.login) = None;
        *lock(&self.look.found) = Found::default();
        self.clear(Trouble::Brokers);
    }

    /// None answered: says why, as far as it can be found. Where we reach them and the client does not, it is told of
    /// them again.
    pub fn silent<C: ClientContext>(&self, client: &Client<C>) {
        let found = self.look();
        if found.is_none() && lock(&self.login).is_none() && self.reached() {
            tracing::info!(
                brokers = self.connection.brokers.0,
                "the Kafka client is told of its brokers again"
            );
            update::brokers(client, &self.connection.brokers.0);
        }
        let told = lock(&self.login)
            .clone()
            .or(found)
            .unwrap_or_else(|| NO_BROKER.told(&[("brokers", &self.connection.brokers.0)]));
        self.set(Trouble::Brokers, told.to_string());
    }

    /// Whether a look that nobody has asked about yet reached all brokers.
    fn reached(&self) -> bool {
        let mut found = lock(&self.look.found);
        found.at.is_some() && found.told.is_none() && !std::mem::replace(&mut found.asked, true)
    }

    /// What is known of the first broker that cannot be reached. Asks again in the background when that is old.
    fn look(&self) -> Option<Told> {
        let found = lock(&self.look.found);
        if found.at.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return found.told.clone();
        }
        let first = found.at.is_none();
        if !self.look.under_way.swap(true, Ordering::AcqRel) {
            let (look, connection) = (self.look.clone(), self.connection.clone());
            let advertised = self.advertised.all();
            let spawned = std::thread::Builder::new().name("kafka-look".into()).spawn(move || {
                let told = look_at(&connection, &advertised);
                *lock(&look.found) = Found { told, at: Some(Instant::now()), asked: false };
                look.under_way.store(false, Ordering::Release);
                look.changed.notify_all();
            });
            if spawned.is_err() {
                self.look.under_way.store(false, Ordering::Release);
            }
        }
        let wait = if first { FIRST_LOOK } else { Duration::ZERO };
        let answer = self.look.changed.wait_timeout_while(found, wait, |found| first && found.at.is_none());
        answer.unwrap_or_else(PoisonError::into_inner).0.told.clone()
    }

    /// Says it in the log when it is news.
    pub fn set(&self, trouble: Trouble, says: String) {
        let mut now = lock(&self.now);
        if now.get(&trouble) != Some(&says) {
            tracing::warn!(reason = says, "waiting");
            now.insert(trouble, says);
            self.show(&now);
        }
    }

    /// The same, without a word in the log: as a rule it is over in a moment.
    pub fn set_quietly(&self, trouble: Trouble, says: String) {
        let mut now = lock(&self.now);
        now.insert(trouble, says);
        self.show(&now);
    }

    /// Its end, which is told by what comes.
    pub fn clear_quietly(&self, trouble: Trouble) {
        let mut now = lock(&self.now);
        if now.remove(&trouble).is_some() {
            self.show(&now);
        }
    }

    /// There is nothing to do, or there is again.
    pub fn standing_by(&self, reason: Option<String>) {
        self.condition.standing_by(reason);
    }

    /// Visits these brokers, or all, where the cluster says they are.
    pub fn visit(&self, wanted: Option<&[i32]>) {
        self.advertised.visit(&self.connection, wanted);
    }

    /// Visits all brokers where the cluster says they are, and says which one cannot be reached, if any. Takes seconds then.
    pub fn unreachable(&self) -> Option<String> {
        advertised::unreachable(&self.connection).map(|told| told.to_string())
    }

    /// It is over.
    pub fn clear(&self, trouble: Trouble) {
        let mut now = lock(&self.now);
        if let Some(says) = now.remove(&trouble) {
            tracing::info!(reason = says, "no longer waiting");
            self.show(&now);
        }
    }

    /// Whether this is being waited for.
    pub fn has(&self, trouble: Trouble) -> bool {
        lock(&self.now).contains_key(&trouble)
    }

    fn show(&self, now: &BTreeMap<Trouble, String>) {
        match now.values().next() {
            Some(says) => self.condition.waiting(says.clone()),
            None => self.condition.clear(),
        };
    }
}

/// The first trouble on the way to the brokers, when there is no way to any, or none to where they are advertised.
fn look_at(connection: &Connection, advertised: &[(i32, String)]) -> Option<Told> {
    let credentials = match credentials::load_told(connection) {
        Ok(credentials) => credentials,
        Err(told) => return Some(told),
    };
    // A broker says little of why it refuses a certificate; that its time is over can be seen here.
    if let Some(told) = credentials.own_certificate().as_ref().and_then(credentials::out_of_time) {
        return Some(told);
    }
    let way = match Way::new(connection, &credentials) {
        Ok(way) => way,
        Err(told) => return Some(told),
    };
    let mut first = None;
    for broker in connection.brokers.each() {
        match way.knock(broker, LOOK_PATIENCE) {
            // What is wrong lies elsewhere: the client has gone on to where they say they are.
            Ok(_) => {
                let asked = if advertised.is_empty() { advertised::ask(connection) } else { Vec::new() };
                let all = if advertised.is_empty() { &asked } else { advertised };
                let mut all = advertised::visit(connection, all).into_iter();
                let first = all.next().flatten();
                return first.filter(|_| all.all(|told| told.is_some()));
            }
            Err(told) => first = first.or(Some(told)),
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
    fn the_first_trouble_is_shown_until_all_are_over() {
        let condition = Condition::default();
        let connection = serde_json::from_value(serde_json::json!({ "brokers": "a:1" })).unwrap();
        let troubles = Troubles::new(condition.clone(), &connection).unwrap();
        troubles.set(Trouble::Group, "group".into());
        troubles.set(Trouble::Brokers, "brokers".into());
        assert_eq!(condition.reason().as_deref(), Some("brokers"));
        troubles.clear(Trouble::Brokers);
        assert_eq!(condition.reason().as_deref(), Some("group"));
        troubles.clear(Trouble::Group);
        assert_eq!(condition.reason(), None);
    }
}
