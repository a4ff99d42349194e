//! What `aqueduct dev` embeds: a Kafka-compatible broker that keeps its records in memory, and a schema registry
//! ([`Registry`]).
//!
//! The broker speaks the protocol of one node with the classic consumer groups, idempotent producers and transactions, to
//! librdkafka and the Java clients alike. What it leaves out: TLS, SASL, ACLs, the group protocol of KIP-848,
//! compaction and retention by time. It holds what its [`Limits`] allow, and drops the oldest records beyond.

mod apis;
mod batch;
mod broker;
mod clock;
mod groups;
mod log;
mod registry;
mod server;
mod settings;
mod topics;
mod transactions;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use crate::registry::{Registry, RegistryLimits};

use crate::broker::Broker;

/// How much the broker may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory for the records of all partitions together, in bytes. Beyond it the oldest records of the largest
    /// partitions are dropped, with a warning.
    pub memory_bytes_max: u64,
    /// Largest request, in bytes. A connection that announces a larger one is closed.
    pub request_bytes_max: usize,
    /// Open connections. One more is closed at once.
    pub connections_max: usize,
    /// Partitions of all topics together.
    pub partitions_max: usize,
    /// Partitions of a topic that comes into being because a client names it.
    pub auto_create_partitions: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 << 20,
            request_bytes_max: 32 << 20,
            connections_max: 512,
            partitions_max: 10_000,
            auto_create_partitions: 1,
        }
    }
}

/// A running broker. It stops when it is dropped; [`DevBroker::stop`] also waits until it has.
#[derive(Debug)]
pub struct DevBroker {
    address: SocketAddr,
    broker: Arc<Broker>,
    server: JoinHandle<()>,
    /// Closed to stop the server.
    running: oneshot::Sender<()>,
}

impl DevBroker {
    /// Starts a broker that listens on `address`; port 0 takes a free one. Clients are sent back to the address they
    /// came by. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(address: impl ToSocketAddrs, limits: Limits) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let broker = Arc::new(Broker::new(limits));
        let (running, stopped) = oneshot::channel();
        let server = tokio::spawn(server::serve(listener, Arc::clone(&broker), stopped));
        Ok(Self { address, broker, server, running })
    }

    /// Where the broker listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates a topic with default settings. A topic that is there already stays as it is.
    ///
    /// # Errors
    /// When the name is not one that Kafka allows, or there would be too many partitions.
    pub fn create_topic(&self, name: &str, partitions: i32) -> io::Result<()> {
        match self.broker.lock().topics.create(name, partitions, Default::default()) {
            Ok(()) | Err(kafka_protocol::ResponseError::TopicAlreadyExists) => Ok(()),
            Err(error) => Err(io::Error::other(format!("cannot create topic {name:?}: {error}"))),
        }
    }

    /// Stops listening, closes all connections and forgets all records.
    pub async fn stop(self) {
        let Self { server, running, .. } = self;
        drop(running);
        if let Err(error) = server.await {
            tracing::error!(%error, "embedded broker failed");
        }
    }
}
