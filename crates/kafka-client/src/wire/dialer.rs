//! Sets up connections to brokers: addresses, TLS, login.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_openssl::SslStream;

use super::address::host_and_port;
use super::connection::{BrokerConnection, Stream, other};
use super::sasl;
use crate::config::Connection;
use crate::credentials::Credentials;
use crate::tls::TlsClient;

/// How long a connection to one address of a broker may take; the next address is tried then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long TLS and login may take.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is closed when so much of the lifetime of its login has passed (KIP-368).
const LIFETIME_USED: f64 = 0.85;

/// Connects to the brokers of a cluster.
pub struct Dialer {
    connection: Connection,
    client_id: StrBytes,
}

impl Dialer {
    /// For the cluster of this connection.
    pub fn new(connection: &Connection, client_id: &str) -> Self {
        Self { connection: connection.clone(), client_id: StrBytes::from_string(client_id.to_owned()) }
    }

    /// The bootstrap brokers.
    pub(crate) fn bootstrap(&self) -> Vec<String> {
        self.connection.brokers.each().map(str::to_owned).collect()
    }

    /// Sets up a connection to a broker, `host:port`. Files with credentials are read for each anew.
    ///
    /// # Errors
    /// What failed, in words for the log; the preflight finds those for users.
    pub(crate) async fn dial(&self, broker: &str) -> io::Result<BrokerConnection> {
        let (host, port) = host_and_port(broker);
        let plain = connect(host, port).await?;
        let set_up = tokio::time::timeout(SET_UP_TIMEOUT, self.set_up(host, plain)).await;
        set_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn set_up(&self, host: &str, plain: TcpStream) -> io::Result<BrokerConnection> {
        plain.set_nodelay(true)?;
        let credentials = Credentials::load(&self.connection).map_err(|(_, diagnosed)| other(diagnosed))?;
        let stream: Box<dyn Stream> = match &self.connection.tls {
            None => Box::new(plain),
            Some(tls) => {
                let brokers = &self.connection.brokers.0;
                let tls = TlsClient::new(&credentials, tls.verify_hostname, brokers).map_err(other)?;
                let ssl = tls.prepare(host, Default::default()).map_err(other)?;
                let mut stream = SslStream::new(ssl, plain).map_err(other)?;
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

/// To the first address that accepts a connection.
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
