//! The addresses that brokers advertise (`advertised.listeners`). A client gets them from its bootstrap broker and connects to
//! them for everything else; librdkafka does not report one that cannot be reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::MetadataRequest;
use rdkafka::metadata::Metadata;
use tokio::time::timeout;

use crate::config::Connection;
use crate::credentials;
use crate::diagnosis::Diagnosed;
use crate::diagnosis::connecting::ADVERTISED_UNREACHABLE;
use crate::preflight::Preflight;
use crate::wire::address::address;
use crate::wire::dialer::Dialer;

/// How long a preflight may wait at each step.
const TIMEOUT: Duration = Duration::from_secs(3);
/// An empty list means no topic.
const METADATA_VERSIONS: std::ops::RangeInclusive<i16> = 4..=9;
/// No more brokers are checked at a time.
const CHECKS_MAX: usize = 16;

/// See the file's header.
#[derive(Default)]
pub struct Advertised {
    known: Mutex<Vec<(i32, String)>>,
    running: AtomicBool,
    /// What the last check found, until it is taken.
    found: Mutex<Option<Option<Diagnosed>>>,
}

impl Advertised {
    /// Takes the addresses from metadata.
    pub fn learn(&self, cluster: &Metadata) {
        let brokers = cluster.brokers().iter();
        *lock(&self.known) =
            brokers.map(|broker| (broker.id(), address(broker.host(), broker.port()))).collect();
    }

    /// Checks these brokers in the background, or all.
    pub(crate) fn check(self: &Arc<Self>, connection: &Connection, wanted: Option<&[i32]>) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, connection) = (Arc::clone(self), connection.clone());
        let wanted = wanted.map(<[i32]>::to_vec);
        let spawned = std::thread::Builder::new().name("kafka-advertised".into()).spawn(move || {
            let mut brokers = match this.all() {
                none if none.is_empty() => fetch(&connection),
                known => known,
            };
            brokers.retain(|(id, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(id)));
            brokers.truncate(CHECKS_MAX);
            let diagnosed = check(&connection, &brokers).into_iter().flatten().next();
            *lock(&this.found) = Some(diagnosed);
            this.running.store(false, Ordering::Release);
        });
        if spawned.is_err() {
            self.running.store(false, Ordering::Release);
        }
    }

    /// What a check that is over has found, once: the first broker that cannot be reached, if any.
    pub fn found(&self) -> Option<Option<Diagnosed>> {
        lock(&self.found).take()
    }

    /// All brokers that are known.
    pub(super) fn all(&self) -> Vec<(i32, String)> {
        lock(&self.known).clone()
    }
}

/// The first broker that cannot be reached at its advertised address.
pub(super) fn unreachable(connection: &Connection) -> Option<Diagnosed> {
    check(connection, &fetch(connection)).into_iter().flatten().next()
}

/// Asks a bootstrap broker for them, with a connection of its own: librdkafka may have closed its bootstrap connection for
/// those that cannot be reached.
pub(super) fn fetch(connection: &Connection) -> Vec<(i32, String)> {
    let dialer = Dialer::new(connection, "aqueduct-look");
    let asked = async {
        for bootstrap in dialer.bootstrap() {
            let Ok(Ok(mut broker)) = timeout(TIMEOUT, dialer.dial(&bootstrap)).await else { continue };
            let request = MetadataRequest::default().with_topics(Some(Vec::new()));
            if let Ok(Ok(answer)) = timeout(TIMEOUT, broker.request(&request, METADATA_VERSIONS)).await {
                let brokers = answer.brokers.iter();
                return brokers.map(|it| (it.node_id.0, address(&it.host, it.port))).collect();
            }
        }
        Vec::new()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map(|runtime| runtime.block_on(asked)).unwrap_or_default()
}

/// Checks these at the same time; what is wrong with each.
pub(super) fn check(connection: &Connection, brokers: &[(i32, String)]) -> Vec<Option<Diagnosed>> {
    // What is wrong with our own credentials is shown elsewhere.
    let Ok(credentials) = credentials::load_diagnosed(connection) else { return Vec::new() };
    let Ok(preflight) = Preflight::new(connection, &credentials) else { return Vec::new() };
    std::thread::scope(|scope| {
        let preflight = &preflight;
        let checks: Vec<_> = brokers
            .iter()
            .map(|(id, address)| scope.spawn(move || (id, address, preflight.check(address, TIMEOUT).err())))
            .collect();
        let diagnosed = |(id, address, diagnosed): (&i32, &String, Option<Diagnosed>)| {
            let cause = diagnosed?.says;
            let values: [(&str, &dyn std::fmt::Display); 4] =
                [("id", id), ("address", address), ("cause", &cause), ("brokers", &connection.brokers.0)];
            Some(ADVERTISED_UNREACHABLE.fill(&values))
        };
        checks.into_iter().filter_map(|check| check.join().ok()).map(diagnosed).collect()
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
