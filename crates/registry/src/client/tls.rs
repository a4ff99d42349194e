//! The encryption towards a registry: rustls over the provider that everything else here uses.

use std::borrow::Cow;
use std::sync::Arc;

use aqueduct_api::Error;
use aqueduct_api::config::file;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Document;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Pem, Tls};

/// Errors: `Config` where a file cannot be read, or does not hold what it should.
pub(super) fn client_config(tls: &Tls, encrypted: bool) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let refused = |error| Error::config("TLS cannot be set up").caused_by(error);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    // The system's authorities are a hundred and more certificates, read for nothing where no address wants them.
    let builder =
        builder.with_root_certificates(if encrypted { roots(tls)? } else { RootCertStore::empty() });
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "registry.tls.certificate")?;
            let key = private_key(key, tls)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                Error::config("the client certificate cannot be used")
                    .caused_by(error)
                    .remedy("see whether `registry.tls.key` is the key of `registry.tls.certificate`")
            })
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn roots(tls: &Tls) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &tls.ca {
        for certificate in certificates(ca, "registry.tls.ca")? {
            roots.add(certificate).map_err(|error| {
                Error::config("a certificate of `registry.tls.ca` cannot be used").caused_by(error)
            })?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "an authority of the system cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        // A container without them: the registries that the public can reach are certified by these.
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

fn text<'a>(pem: &'a Pem, key: &'static str) -> Result<Cow<'a, str>, Error> {
    match pem {
        Pem::Text(text) => Ok(Cow::Borrowed(text)),
        Pem::File(path) => file::read_text(path, file::FILE_BYTES_MAX).map(Cow::Owned).map_err(|error| {
            Error::config(format!("cannot read the file of `{key}`"))
                .caused_by(error)
                .with("path", path.display())
        }),
    }
}

fn certificates(pem: &Pem, key: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = text(pem, key)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = read.map_err(|error| Error::config(format!("`{key}` is no PEM")).caused_by(error))?;
    if found.is_empty() {
        return Err(Error::config(format!("there is no certificate in `{key}`")));
    }
    Ok(found)
}

fn private_key(pem: &Pem, tls: &Tls) -> Result<PrivateKeyDer<'static>, Error> {
    const KEY: &str = "registry.tls.key";
    let text = text(pem, KEY)?;
    let none = |error| Error::config(format!("there is no private key in `{KEY}`")).caused_by(error);
    if !text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(none);
    }
    let password = tls.key_password.as_ref().ok_or_else(|| {
        Error::config(format!("`{KEY}` is encrypted"))
            .remedy("give its password as `registry.tls.key_password`")
    })?;
    let begin = text.find("-----BEGIN ENCRYPTED").unwrap_or_default();
    let (_, document) = Document::from_pem(text[begin..].trim_end())
        .map_err(|error| Error::config(format!("`{KEY}` is no PEM")).caused_by(error))?;
    let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|error| {
        Error::config(format!("`{KEY}` is sealed in a way that is not known")).caused_by(error)
    })?;
    let opened = sealed.decrypt(password.reveal()).map_err(|error| {
        Error::config(format!("`{KEY}` cannot be opened"))
            .caused_by(error)
            .remedy("check `registry.tls.key_password`")
    })?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}
