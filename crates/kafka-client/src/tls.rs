//! TLS with the credentials of a connection, with the library that librdkafka uses, and what a failed handshake means.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::ssl::{
    HandshakeError, Ssl, SslConnector, SslContextBuilder, SslMethod, SslStream, SslVerifyMode,
};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509CheckFlags;
use openssl::x509::{X509, X509Ref, X509VerifyResult};

use crate::credentials::{self, Credentials, SYSTEM_AUTHORITIES, subject_of, time_of};
use crate::diagnosis::Diagnosed;
use crate::diagnosis::connecting::{
    BROKER_CERTIFICATE_EARLY, BROKER_CERTIFICATE_EXPIRED, BROKER_NAME_WRONG, CA_UNKNOWN, CERTIFICATE_REFUSED,
    CERTIFICATE_REQUIRED, NO_ANSWER, TLS_FAILED, TLS_UNEXPECTED,
};

/// The authorities to trust and the client certificate.
pub(crate) struct TlsClient {
    connector: SslConnector,
    verify_hostname: bool,
    subject: Option<String>,
}

/// A certificate as a broker shows it.
#[derive(Clone, Debug)]
pub struct CertificateInfo {
    /// Whom it was given to.
    pub subject: String,
    /// The authority that signed it.
    pub issuer: String,
    /// Until when it is valid.
    pub expires: Option<Timestamp>,
}

/// The certificate that was rejected, and why.
type Rejected = Arc<Mutex<Option<(X509, X509VerifyResult)>>>;

impl TlsClient {
    pub(crate) fn new(
        credentials: &Credentials,
        verify_hostname: bool,
        brokers: &str,
    ) -> Result<Self, Diagnosed> {
        let failed = |error: ErrorStack| {
            TLS_FAILED.fill(&[("broker", &brokers), ("cause", &sentence(&error.to_string()))])
        };
        let own = credentials.own_certificate();
        let subject = own.as_ref().map(|own| subject_of(own.subject_name()));
        let connector = || {
            let mut builder = SslConnector::builder(SslMethod::tls_client())?;
            trust(&mut builder, credentials.ca.as_deref())?;
            if let (Some(own), Some(key)) = (&own, credentials.own_key()) {
                builder.set_certificate(own)?;
                builder.set_private_key(&key)?;
                let all =
                    X509::stack_from_pem(credentials.certificate.as_deref().unwrap_or_default().as_bytes())?;
                all.into_iter().skip(1).try_for_each(|above| builder.add_extra_chain_cert(above))?;
            }
            Ok(builder.build())
        };
        Ok(Self { connector: connector().map_err(failed)?, verify_hostname, subject })
    }

    /// The handshake; returns the certificate of the broker as well.
    pub(crate) fn handshake(
        &self,
        broker: &str,
        host: &str,
        stream: TcpStream,
    ) -> Result<(SslStream<TcpStream>, Option<CertificateInfo>), Diagnosed> {
        let rejected = Rejected::default();
        let ssl = self.prepare(host, rejected.clone()).map_err(|error| failed(broker, &error.to_string()))?;
        match ssl.connect(stream) {
            Ok(stream) => {
                let certificate = stream.ssl().peer_certificate().map(|certificate| shown(&certificate));
                Ok((stream, certificate))
            }
            Err(HandshakeError::Failure(stream)) => {
                let rejected = rejected.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some((certificate, verdict)) = rejected {
                    return Err(distrust(broker, host, &certificate, verdict));
                }
                let says = stream.error().to_string();
                if says.contains("alert") {
                    return Err(self.refused(broker, &says));
                }
                // A listener without TLS closes the connection, or sends something that is not TLS.
                Err(TLS_UNEXPECTED.fill(&[("broker", &broker)]))
            }
            // The read has timed out.
            Err(HandshakeError::WouldBlock(_)) => {
                let cause = "it takes the connection and says nothing";
                Err(NO_ANSWER.fill(&[("broker", &broker), ("cause", &cause)]))
            }
            Err(error) => Err(failed(broker, &error.to_string())),
        }
    }

    pub(crate) fn prepare(&self, host: &str, rejected: Rejected) -> Result<Ssl, ErrorStack> {
        let mut ssl = self.connector.configure()?.verify_hostname(false).into_ssl(host)?;
        if self.verify_hostname {
            let rules = ssl.param_mut();
            rules.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match host.parse() {
                Ok(address) => rules.set_ip(address)?,
                Err(_) => rules.set_host(host)?,
            }
        }
        ssl.set_verify_callback(SslVerifyMode::PEER, move |good, context| {
            let leaf = context.chain().and_then(|chain| chain.get(0)).map(X509Ref::to_owned);
            if let (false, Some(leaf)) = (good, leaf) {
                *rejected.lock().unwrap_or_else(PoisonError::into_inner) = Some((leaf, context.error()));
            }
            good
        });
        Ok(ssl)
    }

    /// The broker refuses our certificate, or requires one; in TLS 1.3 this comes only after the handshake.
    pub(crate) fn refused(&self, broker: &str, says: &str) -> Diagnosed {
        let cause = match says {
            says if says.contains("unknown ca") => "it does not trust the authority that signed it",
            says if says.contains("certificate expired") => "it has expired",
            says if says.contains("certificate revoked") => "it is revoked",
            says if says.contains("certificate") => "it does not say why",
            says if says.contains("handshake failure") && self.subject.is_none() => "it does not say why",
            says => return failed(broker, says),
        };
        match &self.subject {
            None => CERTIFICATE_REQUIRED.fill(&[("broker", &broker)]),
            Some(subject) => {
                CERTIFICATE_REFUSED.fill(&[("broker", &broker), ("subject", &subject), ("cause", &cause)])
            }
        }
    }
}

/// Trusts these authorities alone, or those of the system.
fn trust(builder: &mut SslContextBuilder, ca: Option<&str>) -> Result<(), ErrorStack> {
    let Some(ca) = ca else {
        let system = SYSTEM_AUTHORITIES.iter().find(|path| std::path::Path::new(path).exists());
        return match system {
            Some(path) => builder.set_ca_file(path),
            None => builder.set_default_verify_paths(),
        };
    };
    let mut store = X509StoreBuilder::new()?;
    X509::stack_from_pem(ca.as_bytes())?.into_iter().try_for_each(|authority| store.add_cert(authority))?;
    builder.set_cert_store(store.build());
    Ok(())
}

/// Whether the other side speaks TLS at all.
pub(crate) fn is_spoken(stream: TcpStream) -> bool {
    let Ok(builder) = SslConnector::builder(SslMethod::tls_client()) else { return false };
    let configured =
        builder.build().configure().map(|ssl| ssl.verify_hostname(false).use_server_name_indication(false));
    let Ok(Ok(mut ssl)) = configured.map(|ssl| ssl.into_ssl("")) else { return false };
    ssl.set_verify(SslVerifyMode::NONE);
    match ssl.connect(stream) {
        Ok(_) => true,
        // An alert is TLS as well.
        Err(HandshakeError::Failure(stream)) => stream.error().to_string().contains("alert"),
        Err(_) => false,
    }
}

fn distrust(broker: &str, host: &str, certificate: &X509Ref, verdict: X509VerifyResult) -> Diagnosed {
    const NOT_YET_VALID: i32 = 9;
    const EXPIRED: i32 = 10;
    const HOSTNAME_MISMATCH: i32 = 62;
    const ADDRESS_MISMATCH: i32 = 64;
    match verdict.as_raw() {
        EXPIRED => {
            let time = credentials::shown(certificate.not_after());
            BROKER_CERTIFICATE_EXPIRED.fill(&[("broker", &broker), ("time", &time)])
        }
        NOT_YET_VALID => {
            let time = credentials::shown(certificate.not_before());
            BROKER_CERTIFICATE_EARLY.fill(&[("broker", &broker), ("time", &time)])
        }
        HOSTNAME_MISMATCH | ADDRESS_MISMATCH => {
            let names = names_of(certificate);
            BROKER_NAME_WRONG.fill(&[("broker", &broker), ("names", &names), ("host", &host)])
        }
        _ => {
            let issuer = subject_of(certificate.issuer_name());
            let cause = verdict.error_string();
            CA_UNKNOWN.fill(&[("broker", &broker), ("issuer", &issuer), ("cause", &cause)])
        }
    }
}

fn names_of(certificate: &X509Ref) -> String {
    let names = certificate.subject_alt_names();
    let names: Vec<String> = names
        .iter()
        .flatten()
        .filter_map(|name| {
            let address = || match name.ipaddress()? {
                bytes @ [_, _, _, _] => {
                    <[u8; 4]>::try_from(bytes).ok().map(|ip| std::net::Ipv4Addr::from(ip).to_string())
                }
                bytes => <[u8; 16]>::try_from(bytes).ok().map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
            };
            name.dnsname().map(str::to_owned).or_else(address).map(|name| format!("`{name}`"))
        })
        .collect();
    if names.is_empty() { format!("`{}`", subject_of(certificate.subject_name())) } else { names.join(", ") }
}

fn shown(certificate: &X509Ref) -> CertificateInfo {
    CertificateInfo {
        subject: subject_of(certificate.subject_name()),
        issuer: subject_of(certificate.issuer_name()),
        expires: time_of(certificate.not_after()),
    }
}

fn failed(broker: &str, says: &str) -> Diagnosed {
    TLS_FAILED.fill(&[("broker", &broker), ("cause", &sentence(says))])
}

/// `error:0A000410:SSL routines:ssl3_read_bytes:ssl/tls alert handshake failure:file.c:1:SSL alert number 40` in words.
fn sentence(says: &str) -> String {
    says.split(':').nth(4).map_or_else(|| says.to_owned(), str::to_owned)
}
