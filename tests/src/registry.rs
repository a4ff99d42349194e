//! A real schema registry: Apicurio in memory, which knows Avro, JSON Schema and Protobuf and checks backward compatibility.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::folder::Folder;
use crate::server;

/// Apicurio Registry on loopback.
#[derive(Debug)]
pub struct SchemaRegistry {
    folder: Folder,
    login: Option<&'static str>,
    /// Where it listens without TLS.
    pub port: u16,
}

impl SchemaRegistry {
    /// A running registry without schemas, open to anybody.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        Self::of(None)
    }

    /// A running registry without schemas that wants a login, as `user:password`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with(login: &'static str) -> Self {
        Self::of(Some(login))
    }

    fn of(login: Option<&'static str>) -> Self {
        let registry = Self { folder: Folder::new("registry"), login, port: server::free_ports(3) };
        registry.start_again();
        registry
    }

    /// Starts it again; it is empty then.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_again(&self) {
        let (folder, port) = (self.folder.path().display().to_string(), self.port.to_string());
        let mut arguments = vec![folder.as_str(), &port];
        arguments.extend(self.login);
        server::run("registry.sh", &arguments, &[]);
    }

    /// Kills it.
    pub fn kill(&self) {
        server::end(self.folder.path(), Signal::KILL);
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// Its address over TLS.
    pub fn tls_url(&self) -> String {
        format!("https://localhost:{}/apis/ccompat/v7", self.port + 2)
    }

    /// The certificate of the authority that issued its own.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("tls/ca.crt")
    }
}

impl Drop for SchemaRegistry {
    fn drop(&mut self) {
        self.kill();
    }
}
