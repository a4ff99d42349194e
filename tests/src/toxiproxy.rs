//! Shopify's toxiproxy between a client and a server: delays, cuts, refuses.

use rustix::process::Signal;

use crate::folder::Folder;
use crate::{http, server};

/// The proxy process and one route through it.
#[derive(Debug)]
pub struct Toxiproxy {
    folder: Folder,
    api: u16,
    /// Where clients connect.
    pub port: u16,
}

impl Toxiproxy {
    /// A route to a port of this machine.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(upstream: u16) -> Self {
        let (folder, api) = (Folder::new("toxiproxy"), server::free_ports(2));
        server::start("toxiproxy.sh", folder.path(), api);
        let proxy = Self { folder, api, port: api + 1 };
        let listen = format!("127.0.0.1:{}", proxy.port);
        let upstream = format!("127.0.0.1:{upstream}");
        let body = serde_json::json!({ "name": "route", "listen": listen, "upstream": upstream });
        proxy.ask("POST", "/proxies", &body.to_string());
        proxy
    }

    /// Adds a fault: its type and attributes as in toxiproxy's own manual, in the direction of `stream` (`upstream`:
    /// what the client sends).
    ///
    /// # Panics
    /// When it is refused.
    pub fn toxic(&self, stream: &str, kind: &str, attributes: &serde_json::Value) {
        let body = serde_json::json!({ "type": kind, "stream": stream, "attributes": attributes });
        self.ask("POST", "/proxies/route/toxics", &body.to_string());
    }

    /// Refuses connections from now on, and cuts those that are open.
    ///
    /// # Panics
    /// When it is refused.
    pub fn cut(&self) {
        self.ask("POST", "/proxies/route", r#"{"enabled":false}"#);
    }

    /// Takes all faults away.
    ///
    /// # Panics
    /// When it is refused.
    pub fn heal(&self) {
        self.ask("POST", "/reset", "");
    }

    fn ask(&self, method: &str, path: &str, body: &str) {
        let (status, answer) = http::request(self.api, method, path, body).expect("toxiproxy answers");
        assert!(status < 300, "toxiproxy refused {method} {path}: {answer}");
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        server::end(self.folder.path(), Signal::KILL);
    }
}
