//! A look at one broker from the outside, down the whole way: name, port, TLS, protocol, mechanism. The client library
//! tells little of why a connection fails, and sometimes nothing; this finds the first step that does.

mod requests;
mod tls;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::ssl::Ssl;

use self::requests::Request;
use self::tls::TlsClient;
use crate::config::Connection;
use crate::credentials::Credentials;
use crate::diagnosis::Diagnosed;
use crate::diagnosis::connecting::{
    ADDRESS_UNKNOWN, CONNECTION_REFUSED, CONTROLLER_PORT, MECHANISM_UNSUPPORTED, NO_ANSWER, NOT_KAFKA,
    SASL_REQUIRED, SASL_UNEXPECTED, TLS_EXPECTED,
};

/// Kafka's own.
const PORT_DEFAULT: u16 = 9092;
/// Answered with an error: the mechanism is not enabled here.
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;

/// How this connection goes to a broker.
#[derive(Clone)]
pub struct Preflight {
    tls: Option<Arc<TlsClient>>,
    mechanism: Option<&'static str>,
}

/// What was found at a broker that answers.
#[derive(Debug)]
pub struct Reachable {
    /// Where its name leads.
    pub addresses: Vec<SocketAddr>,
    /// Who it says it is, and until when.
    pub certificate: Option<CertificateInfo>,
}

/// A certificate as a broker shows it.
#[derive(Clone, Debug)]
pub struct CertificateInfo {
    pub subject: String,
    pub issuer: String,
    pub expires: Option<Timestamp>,
}

/// Either kind of stream.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Preflight {
    /// With the credentials as they are now.
    pub fn new(connection: &Connection, credentials: &Credentials) -> Result<Self, Diagnosed> {
        let tls = match &connection.tls {
            Some(tls) => {
                Some(Arc::new(TlsClient::new(credentials, tls.verify_hostname, &connection.brokers.0)?))
            }
            None => None,
        };
        Ok(Self { tls, mechanism: connection.sasl.as_ref().map(crate::config::Sasl::mechanism) })
    }

    /// The TLS to speak with this host, where it is spoken.
    pub fn ssl(&self, host: &str) -> Option<Result<Ssl, ErrorStack>> {
        self.tls.as_ref().map(|tls| tls.prepare(host, Default::default()))
    }

    /// Goes down the way and says where it ends. May take a few times `patience`.
    pub fn check(&self, broker: &str, timeout: Duration) -> Result<Reachable, Diagnosed> {
        let (host, port) = host_and_port(broker);
        let addresses = resolve(broker, host, port)?;
        let stream = connect(broker, &addresses, timeout)?;
        let (stream, certificate): (Box<dyn Stream>, _) = match &self.tls {
            Some(tls) => {
                let (stream, certificate) = tls.handshake(broker, host, stream)?;
                (Box::new(stream), certificate)
            }
            None => (Box::new(stream), None),
        };
        self.talk(broker, stream).map_err(|failure| self.explain(broker, &addresses, timeout, failure))?;
        Ok(Reachable { addresses, certificate })
    }

    fn talk(&self, broker: &str, mut stream: Box<dyn Stream>) -> Result<(), Failure> {
        let versions = requests::send(&mut stream, &Request::ApiVersions)?;
        let metadata = versions.api_versions().ok_or(Failure::NotKafka("it answers with something else"))?;
        let Some(metadata) = metadata else {
            return Err(CONTROLLER_PORT.fill(&[("broker", &broker)]).into());
        };
        let Some(mechanism) = self.mechanism else {
            // A listener that wants a login closes the connection at any other question.
            return match metadata
                .contains(&requests::METADATA_VERSION)
                .then(|| requests::send(&mut stream, &Request::Metadata))
            {
                Some(Err(Failure::Closed)) => Err(SASL_REQUIRED.fill(&[("broker", &broker)]).into()),
                Some(Err(failure)) => Err(failure),
                Some(Ok(_)) | None => Ok(()),
            };
        };
        let answer = requests::send(&mut stream, &Request::SaslHandshake(mechanism))?;
        match answer.sasl_handshake().ok_or(Failure::NotKafka("it answers with something else"))? {
            (0, _) => Ok(()),
            (UNSUPPORTED_SASL_MECHANISM, mechanisms) => {
                let mechanisms =
                    if mechanisms.is_empty() { "none".to_owned() } else { mechanisms.join(", ") };
                let values: [(&str, &dyn std::fmt::Display); 3] =
                    [("broker", &broker), ("mechanism", &mechanism), ("mechanisms", &mechanisms)];
                Err(MECHANISM_UNSUPPORTED.fill(&values).into())
            }
            _ => Err(SASL_UNEXPECTED.fill(&[("broker", &broker)]).into()),
        }
    }

    /// What it means that a conversation broke off.
    fn explain(
        &self,
        broker: &str,
        addresses: &[SocketAddr],
        timeout: Duration,
        failure: Failure,
    ) -> Diagnosed {
        let not_kafka = |cause: &str| NOT_KAFKA.fill(&[("broker", &broker), ("cause", &cause)]);
        let cause = match failure {
            Failure::Diagnosed(diagnosed) => return diagnosed,
            Failure::Tls(error) => {
                return self
                    .tls
                    .as_ref()
                    .map_or_else(|| not_kafka(&error), |own| own.refused(broker, &error));
            }
            Failure::NotKafka(cause) => cause.to_owned(),
            Failure::Closed => "it closes the connection at the first question".to_owned(),
            Failure::Silent => "it takes the connection and says nothing".to_owned(),
        };
        if self.tls.is_none() && tls::is_spoken(addresses, timeout) {
            return TLS_EXPECTED.fill(&[("broker", &broker)]);
        }
        if self.tls.is_none() && speaks_http(addresses, timeout) {
            return not_kafka("it answers in HTTP");
        }
        match failure {
            Failure::Silent => NO_ANSWER.fill(&[("broker", &broker), ("cause", &cause)]),
            _ => not_kafka(&cause),
        }
    }
}

/// Where a conversation ended.
#[derive(Debug)]
enum Failure {
    Diagnosed(Diagnosed),
    /// The other side closed the connection.
    Closed,
    /// It says nothing.
    Silent,
    /// It says what no broker would say.
    NotKafka(&'static str),
    /// Inside TLS.
    Tls(String),
}

impl From<Diagnosed> for Failure {
    fn from(diagnosed: Diagnosed) -> Self {
        Self::Diagnosed(diagnosed)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Tls(error.to_string()),
        }
    }
}

/// `host:9092`, `[::1]:9092`, `SSL://host:9092`.
pub fn host_and_port(broker: &str) -> (&str, u16) {
    let broker = broker.trim();
    let broker = broker.split_once("://").map_or(broker, |(_, rest)| rest);
    let (host, port) = match broker.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (broker, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port.unwrap_or(PORT_DEFAULT))
}

fn resolve(broker: &str, host: &str, port: u16) -> Result<Vec<SocketAddr>, Diagnosed> {
    let cause = match (host, port).to_socket_addrs() {
        Ok(addresses) => {
            let addresses: Vec<SocketAddr> = addresses.collect();
            if !addresses.is_empty() {
                return Ok(addresses);
            }
            "it has no address".to_owned()
        }
        Err(error) => {
            let says = error.to_string();
            says.strip_prefix("failed to lookup address information: ").unwrap_or(&says).to_lowercase()
        }
    };
    Err(ADDRESS_UNKNOWN.fill(&[("host", &host), ("broker", &broker), ("cause", &cause)]))
}

fn connect(broker: &str, addresses: &[SocketAddr], timeout: Duration) -> Result<TcpStream, Diagnosed> {
    match open(addresses, timeout) {
        Ok(stream) => Ok(stream),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(CONNECTION_REFUSED.fill(&[("broker", &broker)]))
        }
        Err(error) => {
            let cause = match error.kind() {
                io::ErrorKind::TimedOut => "the connection is not taken".to_owned(),
                _ => error.to_string().to_lowercase(),
            };
            Err(NO_ANSWER.fill(&[("broker", &broker), ("cause", &cause)]))
        }
    }
}

/// The first of the addresses that takes a connection; the last error when none does.
fn open(addresses: &[SocketAddr], timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(address, timeout) {
            Ok(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn speaks_http(addresses: &[SocketAddr], timeout: Duration) -> bool {
    let mut answer = [0; 5];
    let asked = open(addresses, timeout).and_then(|mut stream| {
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        stream.read_exact(&mut answer)
    });
    asked.is_ok() && &answer == b"HTTP/"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_as_people_write_them() {
        assert_eq!(host_and_port("kafka:9093"), ("kafka", 9093));
        assert_eq!(host_and_port(" SSL://kafka.example "), ("kafka.example", 9092));
        assert_eq!(host_and_port("[::1]:19092"), ("::1", 19092));
        assert_eq!(host_and_port("::1"), ("::1", 9092));
    }
}
