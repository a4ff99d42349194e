//! The way to a broker: its addresses, TLS, and who we are.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_openssl::SslStream;

use super::connection::{BrokerConnection, Stream, other};
use super::sasl;
use crate::config::Connection;
use crate::credentials::Credentials;
use crate::preflight::{Preflight, host_and_port};

/// How long each address of a broker may take to take a connection: the first may lead nowhere, and the next be right.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long TLS and login may take.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// A login is taken for over when so much of its time has passed.
const LIFETIME_USED: f64 = 0.85;

/// Knows how to get to the brokers of a cluster.
pub struct Dialer {
    connection: Connection,
    client_id: StrBytes,
}

impl Dialer {
    /// For the brokers that this connection leads to.
    pub fn new(connection: &Connection, client_id: &str) -> Self {
        Self { connection: connection.clone(), client_id: StrBytes::from_string(client_id.to_owned()) }
    }

    /// The brokers to ask first.
    pub fn bootstrap(&self) -> Vec<String> {
        self.connection.brokers.each().map(str::to_owned).collect()
    }

    /// Sets up a connection to a broker, `host:port`. Files with credentials are read for each anew.
    ///
    /// # Errors
    /// What failed, in words for the log; the look at the brokers finds those for people.
    pub async fn dial(&self, broker: &str) -> io::Result<BrokerConnection> {
        let (host, port) = host_and_port(broker);
        let plain = connect(host, port).await?;
        let set_up = tokio::time::timeout(SET_UP_TIMEOUT, self.set_up(host, plain)).await;
        set_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn set_up(&self, host: &str, plain: TcpStream) -> io::Result<BrokerConnection> {
        plain.set_nodelay(true)?;
        let credentials = Credentials::load(&self.connection).map_err(|(_, diagnosed)| other(diagnosed))?;
        let stream: Box<dyn Stream> =
            match Preflight::new(&self.connection, &credentials).map_err(other)?.ssl(host) {
                None => Box::new(plain),
                Some(ssl) => {
                    let mut stream = SslStream::new(ssl.map_err(other)?, plain).map_err(other)?;
                    Pin::new(&mut stream).connect().await.map_err(other)?;
                    Box::new(stream)
                }
            };
        let mut connection = BrokerConnection::open(stream, self.client_id.clone()).await?;
        if self.connection.sasl.is_some() {
            let begun = Instant::now();
            let lifetime = sasl::log_in(&mut connection, &self.connection, &credentials).await?;
            connection.expires = lifetime.map(|lifetime| begun + lifetime.mul_f64(LIFETIME_USED));
        }
        Ok(connection)
    }
}

/// To the first address that takes a connection.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in tokio::net::lookup_host((host, port)).await? {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
