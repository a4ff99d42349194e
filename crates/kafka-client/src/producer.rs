//! The idempotent producer, acknowledged by all replicas, in order for each partition; without transactions and without
//! Kerberos. librdkafka keeps an entry for each record, which cost half of all CPU: here records are encoded into the
//! batch that is sent as they come.

mod accumulator;
mod broker;
mod metadata;
mod partition;
mod report;
mod shared;
#[cfg(test)]
mod simulation;
mod topic;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use aqueduct_api::Record;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use self::accumulator::Limits;
use self::accumulator::{Accumulator, Appended};
pub use self::report::{DeliveryCallback, DeliveryReport, DeliveryStatus};
use self::shared::{Shared, lock};
use crate::config::{Compression, Connection};
use crate::health::ClientHealth;
use crate::wire::dialer::Dialer;

/// See the file's header. Its tasks end with it, and what was not sent is thrown away.
pub struct Producer {
    shared: Arc<Shared>,
    /// The topic of the record before, and its number.
    topic: (String, usize),
    metadata: JoinHandle<()>,
}

/// What a producer is made with.
pub struct ProducerConfig<'a> {
    /// The cluster.
    pub connection: &'a Connection,
    /// What it calls itself to the brokers.
    pub client_id: &'a str,
    /// How batches are compressed.
    pub compression: Compression,
    /// How much waits for a request, and for how long.
    pub limits: Limits,
}

/// What came of a record that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It will be in a delivery report.
    Accepted,
    /// It comes after one that was returned or refused in its partition, and has to be given again behind it.
    Returned,
    /// It can be written nowhere: Kafka's error code. There is no report.
    Refused(i16),
    /// There is no room for it, or the leaders of its topic are not known yet.
    NotYet,
}

impl Producer {
    /// Starts its tasks; they connect when there is something to send.
    pub fn new(
        config: &ProducerConfig<'_>,
        callback: Arc<dyn DeliveryCallback>,
        health: Arc<ClientHealth>,
    ) -> Self {
        let shared = Arc::new(Shared {
            accumulator: Mutex::new(Accumulator::new(config.limits)),
            brokers: Mutex::new(HashMap::new()),
            metadata_needed: Notify::new(),
            metadata_stale: AtomicBool::new(false),
            dialer: Dialer::new(config.connection, config.client_id),
            compression: config.compression,
            callback,
            health,
        });
        let metadata = tokio::spawn(metadata::serve(Arc::clone(&shared)));
        Self { shared, topic: (String::new(), 0), metadata }
    }

    /// Takes a record for this topic, in the order in which they are given. Its report carries `delivery_id`.
    pub fn send(&mut self, topic: &str, record: &Record, delivery_id: usize) -> Sent {
        let mut accumulator = lock(&self.shared.accumulator);
        if self.topic.0 != topic {
            topic.clone_into(&mut self.topic.0);
            self.topic.1 = accumulator.topic(topic);
        }
        let appended = accumulator.append(self.topic.1, record, delivery_id);
        if appended == Appended::Accepted {
            return Sent::Accepted;
        }
        let lacks_producer_id = accumulator.lacks_producer_id();
        drop(accumulator);
        match appended {
            Appended::Accepted => Sent::Accepted,
            Appended::AcceptedWake(node) => {
                if lacks_producer_id {
                    self.shared.metadata_needed.notify_one();
                }
                self.shared.wake(node);
                Sent::Accepted
            }
            Appended::Full => {
                self.shared.wake_all();
                Sent::NotYet
            }
            Appended::NoLeaders { first } => {
                if first {
                    self.shared.refresh_metadata();
                }
                Sent::NotYet
            }
            Appended::Returned => Sent::Returned,
            Appended::Refused(code) => {
                self.shared.refresh_metadata();
                Sent::Refused(code)
            }
        }
    }

    /// The record that was refused last is to be given again: what follows in its topic is returned until then.
    pub fn block_topic(&self) {
        lock(&self.shared.accumulator).block(self.topic.1);
    }

    /// Sends what it holds without waiting for more.
    pub fn flush(&self) {
        lock(&self.shared.accumulator).flush();
        self.shared.wake_all();
    }

    /// All reports have come, and what was returned is about to be given again, in its order.
    pub fn unblock(&self) {
        lock(&self.shared.accumulator).unblock();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.metadata.abort();
    }
}
