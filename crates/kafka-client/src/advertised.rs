//! The brokers at the addresses that the cluster advertises for them. Who bootstraps is told these, and connects to them for
//! everything else; one that leads nowhere is met in silence.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::MetadataRequest;
use rdkafka::metadata::Metadata;
use tokio::time::timeout;

use crate::config::Connection;
use crate::credentials;
use crate::diagnosis::Told;
use crate::diagnosis::connecting::ADVERTISED_UNREACHABLE;
use crate::preflight::Way;
use crate::wire::dialer::Dialer;

/// How long a visit may wait at each step.
const PATIENCE: Duration = Duration::from_secs(3);
/// An empty list means no topic.
const METADATA_VERSIONS: std::ops::RangeInclusive<i16> = 4..=9;
/// No more brokers are visited at a time.
const VISITS_MAX: usize = 16;

/// See the file's header.
#[derive(Default)]
pub struct Advertised {
    known: Mutex<Vec<(i32, String)>>,
    under_way: AtomicBool,
    /// Until somebody asks for it: what the last visit found.
    found: Mutex<Option<Option<Told>>>,
}

impl Advertised {
    /// The cluster says where its brokers are.
    pub fn learn(&self, cluster: &Metadata) {
        let brokers = cluster.brokers().iter();
        *lock(&self.known) =
            brokers.map(|broker| (broker.id(), address(broker.host(), broker.port()))).collect();
    }

    /// Visits these brokers in the background, or all.
    pub fn visit(self: &Arc<Self>, connection: &Connection, wanted: Option<&[i32]>) {
        if self.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, connection) = (Arc::clone(self), connection.clone());
        let wanted = wanted.map(<[i32]>::to_vec);
        let spawned = std::thread::Builder::new().name("kafka-visit".into()).spawn(move || {
            let mut brokers = match this.all() {
                none if none.is_empty() => ask(&connection),
                known => known,
            };
            brokers.retain(|(id, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(id)));
            brokers.truncate(VISITS_MAX);
            let told = visit(&connection, &brokers).into_iter().flatten().next();
            *lock(&this.found) = Some(told);
            this.under_way.store(false, Ordering::Release);
        });
        if spawned.is_err() {
            self.under_way.store(false, Ordering::Release);
        }
    }

    /// What a visit that is over has found, once: the first broker that cannot be reached, if any.
    pub fn found(&self) -> Option<Option<Told>> {
        lock(&self.found).take()
    }

    /// All brokers that were learnt of.
    pub(super) fn all(&self) -> Vec<(i32, String)> {
        lock(&self.known).clone()
    }
}

/// The first broker that cannot be reached where the cluster says it is.
pub(super) fn unreachable(connection: &Connection) -> Option<Told> {
    visit(connection, &ask(connection)).into_iter().flatten().next()
}

fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Asks past the library, which may have given its first connection up for those that lead nowhere.
pub(super) fn ask(connection: &Connection) -> Vec<(i32, String)> {
    let dialer = Dialer::new(connection, "aqueduct-look");
    let asked = async {
        for broker in dialer.bootstrap() {
            let Ok(Ok(mut connection)) = timeout(PATIENCE, dialer.dial(&broker)).await else { continue };
            let request = MetadataRequest::default().with_topics(Some(Vec::new()));
            if let Ok(Ok(answer)) = timeout(PATIENCE, connection.ask(&request, METADATA_VERSIONS)).await {
                let brokers = answer.brokers.iter();
                return brokers.map(|it| (it.node_id.0, address(&it.host, it.port))).collect();
            }
        }
        Vec::new()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map(|runtime| runtime.block_on(asked)).unwrap_or_default()
}

/// What is wrong with each of these, at once.
pub(super) fn visit(connection: &Connection, brokers: &[(i32, String)]) -> Vec<Option<Told>> {
    // What is wrong with our own credentials is said elsewhere.
    let Ok(credentials) = credentials::load_told(connection) else { return Vec::new() };
    let Ok(way) = Way::new(connection, &credentials) else { return Vec::new() };
    std::thread::scope(|scope| {
        let way = &way;
        let visits: Vec<_> = brokers
            .iter()
            .map(|(id, address)| scope.spawn(move || (id, address, way.knock(address, PATIENCE).err())))
            .collect();
        let told = |(id, address, told): (&i32, &String, Option<Told>)| {
            let cause = told?.says;
            let values: [(&str, &dyn std::fmt::Display); 4] =
                [("id", id), ("address", address), ("cause", &cause), ("brokers", &connection.brokers.0)];
            Some(ADVERTISED_UNREACHABLE.told(&values))
        };
        visits.into_iter().filter_map(|visit| visit.join().ok()).map(told).collect()
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
