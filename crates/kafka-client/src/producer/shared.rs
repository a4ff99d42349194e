//! What the tasks of a producer share: the accumulator, the brokers, and the callback for delivery reports.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aqueduct_api::Error;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::accumulator::Accumulator;
use super::report::{DeliveryCallback, DeliveryReport};
use crate::config::Compression;
use crate::health::ClientHealth;
use crate::wire::dialer::Dialer;

/// See the file's header.
pub(super) struct Shared {
    pub(super) accumulator: Mutex<Accumulator>,
    pub(super) brokers: Mutex<HashMap<i32, Arc<BrokerHandle>>>,
    /// Metadata or a producer id is needed.
    pub(super) metadata_needed: Notify,
    /// The leaders that are known may be out of date.
    pub(super) metadata_stale: AtomicBool,
    pub(super) dialer: Dialer,
    pub(super) compression: Compression,
    pub(super) callback: Arc<dyn DeliveryCallback>,
    pub(super) health: Arc<ClientHealth>,
}

/// How the other tasks reach the task of one broker.
pub(super) struct BrokerHandle {
    /// `host:port`.
    pub(super) address: Mutex<String>,
    /// The broker throttles us until then (KIP-219), over whichever connection.
    pub(super) throttled_until: Mutex<Instant>,
    /// There may be something to send.
    pub(super) wake: Notify,
    /// The connection has to be closed.
    pub(super) close: Notify,
}

/// Held by each task: one that panics would leave what is given to it without a delivery report.
pub(super) struct PanicGuard(pub(super) Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::bug("a task of the Kafka sink panicked");
            self.0
                .callback
                .failed(error.remedy("the pipeline starts again from its stored offsets; please report it"));
        }
    }
}

impl Shared {
    /// Has the task of this broker look for something to send.
    pub(super) fn wake(&self, node: i32) {
        if let Some(broker) = lock(&self.brokers).get(&node) {
            broker.wake.notify_one();
        }
    }

    /// The same for all brokers.
    pub(super) fn wake_all(&self) {
        lock(&self.brokers).values().for_each(|broker| broker.wake.notify_one());
    }

    /// Has the leaders asked for.
    pub(super) fn refresh_metadata(&self) {
        self.metadata_stale.store(true, Ordering::Release);
        self.metadata_needed.notify_one();
    }

    /// Hands delivery reports on.
    pub(super) fn report(&self, reports: Vec<DeliveryReport>) {
        reports.into_iter().for_each(|report| self.callback.delivered(report));
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
