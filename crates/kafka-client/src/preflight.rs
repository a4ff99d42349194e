//! A check of one broker: DNS, TCP, TLS, the protocol, the SASL mechanism. librdkafka says little of why a connection fails,
//! and sometimes nothing; this finds the first step that does.

mod requests;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use self::requests::{Failure, Request};
use crate::config::Connection;
use crate::credentials::Credentials;
use crate::diagnosis::Diagnosed;
use crate::diagnosis::connecting::{
    ADDRESS_UNKNOWN, CONNECTION_REFUSED, CONTROLLER_PORT, MECHANISM_UNSUPPORTED, NO_ANSWER, NOT_KAFKA,
    SASL_REQUIRED, SASL_UNEXPECTED, TLS_EXPECTED,
};
use crate::tls::{self, CertificateInfo, TlsClient};
use crate::wire::address::host_and_port;

/// Kafka's error code for a mechanism that is not enabled here.
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;

/// TLS and mechanism of a connection.
#[derive(Clone)]
pub struct Preflight {
    tls: Option<Arc<TlsClient>>,
    mechanism: Option<&'static str>,
}

/// What was found at a broker that answers.
#[derive(Debug)]
pub struct Reachable {
    /// The addresses of its name.
    pub addresses: Vec<SocketAddr>,
    /// Its certificate.
    pub certificate: Option<CertificateInfo>,
}

/// Either kind of stream.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Preflight {
    /// With these credentials.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn new(connection: &Connection, credentials: &Credentials) -> Result<Self, Diagnosed> {
        let tls = match &connection.tls {
            Some(tls) => {
                Some(Arc::new(TlsClient::new(credentials, tls.verify_hostname, &connection.brokers.0)?))
            }
            None => None,
        };
        Ok(Self { tls, mechanism: connection.sasl.as_ref().map(crate::config::Sasl::mechanism) })
    }

    /// Checks one broker, `host:port`. May take a few times `timeout`.
    ///
    /// # Errors
    /// The first step that fails.
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
        self.exchange(broker, stream)
            .map_err(|failure| self.explain(broker, &addresses, timeout, failure))?;
        Ok(Reachable { addresses, certificate })
    }

    fn exchange(&self, broker: &str, mut stream: Box<dyn Stream>) -> Result<(), Failure> {
        let versions = requests::send(&mut stream, &Request::ApiVersions)?;
        let metadata = versions.api_versions().ok_or(Failure::NotKafka("it answers with something else"))?;
        let Some(metadata) = metadata else {
            return Err(CONTROLLER_PORT.fill(&[("broker", &broker)]).into());
        };
        let Some(mechanism) = self.mechanism else {
            // A listener that requires a login closes the connection at any other request.
            return match metadata
                .contains(&requests::METADATA_VERSION)
                .then(|| requests::send(&mut stream, &Request::Metadata))
            {
                Some(Err(Failure::Closed)) => Err(SASL_REQUIRED.fill(&[("broker", &broker)]).into()),
                Some(Err(failure)) => Err(failure),
                Some(Ok(_)) | None => Ok(()),
            };
        };
        let response = requests::send(&mut stream, &Request::SaslHandshake(mechanism))?;
        match response.sasl_handshake().ok_or(Failure::NotKafka("it answers with something else"))? {
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

    /// What a request that failed means.
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
        if self.tls.is_none() && open(addresses, timeout).is_ok_and(tls::is_spoken) {
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
