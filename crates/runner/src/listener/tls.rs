//! TLS of the listener. The files are read again when they change: certificates are renewed in place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aqueduct_api::config::file;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What connections are accepted with.
pub(crate) struct Tls {
    files: Files,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    changed: [Option<SystemTime>; 2],
    looked: Instant,
}

impl Tls {
    /// Reads the files; the error names the one that is wrong, and the remedy.
    pub(crate) fn new(files: Files) -> Result<Self, String> {
        let current = Current { acceptor: read(&files)?, changed: files.changed(), looked: Instant::now() };
        Ok(Self { files, current: Mutex::new(current) })
    }

    /// For one more connection. Files that changed and cannot be used are warned of, and those before them stay in use.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_AGAIN {
            current.looked = Instant::now();
            let changed = self.files.changed();
            if changed != current.changed {
                current.changed = changed;
                match read(&self.files) {
                    Ok(acceptor) => {
                        tracing::info!(file = %self.files.certificate.display(), "the listener has a new certificate");
                        current.acceptor = acceptor;
                    }
                    Err(error) => tracing::warn!(error, "the listener goes on with the certificate it had"),
                }
            }
        }
        current.acceptor.clone()
    }
}

impl Files {
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| std::fs::metadata(path).and_then(|it| it.modified()).ok())
    }
}

/// The certificates of a file, the server's own first.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = file::read_bytes(path, file::FILE_BYTES_MAX).map_err(|error| error.to_string());
    let parsed = |bytes: Vec<u8>| {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        certificates.map_err(|error| error.to_string())
    };
    match read.and_then(parsed) {
        Ok(none) if none.is_empty() => Err(format!(
            "runtime.tls.certificate: there is no certificate in {}; it takes PEM, the server's own first",
            path.display()
        )),
        Ok(some) => Ok(some),
        Err(error) => Err(format!("runtime.tls.certificate: cannot read {}: {error}", path.display())),
    }
}

fn read(files: &Files) -> Result<TlsAcceptor, String> {
    let chain = certificates(&files.certificate)?;
    let read = file::read_bytes(&files.key, file::FILE_BYTES_MAX).map_err(|error| error.to_string());
    let key = read.and_then(|bytes| PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| error.to_string()));
    let key = key.map_err(|error| {
        let path = files.key.display();
        format!("runtime.tls.key: cannot read {path}: {error}; it takes a PEM key without a password")
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| format!("runtime.tls: the certificate and the key do not serve: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// TLS to the listener of a process on this machine, which shows the certificate of this file or nobody. Its name is not asked
/// for: the address is a local one.
pub(crate) fn connect(
    stream: std::net::TcpStream,
    certificate: &Path,
) -> Result<rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>, String> {
    let leaf = certificates(certificate)?.swap_remove(0);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Same { leaf, algorithms: provider.signature_verification_algorithms });
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    let client = rustls::ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    Ok(rustls::StreamOwned::new(client, stream))
}

/// Takes one certificate and no other, whoever signed it; that the server has its key is proved as always.
#[derive(Debug)]
struct Same {
    leaf: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Same {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.leaf {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("it shows another certificate than runtime.tls.certificate".into()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
