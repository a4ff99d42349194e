//! A real schema registry: Apicurio in memory, through Confluent's API.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::server;

/// A registry on loopback; it forgets everything when it ends.
#[derive(Debug)]
pub struct SchemaRegistry {
    folder: Folder,
    /// Where it listens in plain text; health is one above it, TLS two.
    pub port: u16,
}

impl SchemaRegistry {
    /// An empty one.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        let registry = Self { folder: Folder::new("registry"), port: server::free_ports(3) };
        server::start("registry.sh", registry.folder.path(), registry.port);
        registry
    }

    /// What a pipeline names.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Registers an Avro schema: its id.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn put(&self, subject: &str, schema: &str) -> u32 {
        let answer =
            self.ask("POST", &format!("/subjects/{subject}/versions"), Some(&json!({ "schema": schema })));
        let id = answer["id"].as_u64().unwrap_or_else(|| panic!("no id: {answer}"));
        u32::try_from(id).expect("ids are small")
    }

    /// The subjects it has.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn subjects(&self) -> Vec<String> {
        let answer = self.ask("GET", "/subjects", None);
        let subjects = answer.as_array().into_iter().flatten().filter_map(Value::as_str);
        subjects.map(str::to_owned).collect()
    }

    /// The schema of an id.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn schema(&self, id: u32) -> String {
        let answer = self.ask("GET", &format!("/schemas/ids/{id}"), None);
        answer["schema"].as_str().unwrap_or_else(|| panic!("no schema: {answer}")).to_owned()
    }

    /// Sets how new versions of a subject have to go with the old ones: `NONE`, `BACKWARD`, ...
    ///
    /// # Panics
    /// When it does not answer.
    pub fn compatibility(&self, subject: &str, level: &str) {
        self.ask("PUT", &format!("/config/{subject}"), Some(&json!({ "compatibility": level })));
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "-m",
            "20",
            "-X",
            method,
            "-H",
            "Content-Type: application/vnd.schemaregistry.v1+json",
        ]);
        if let Some(body) = body {
            command.arg("-d").arg(body.to_string());
        }
        let done = command.arg(format!("{}{path}", self.url())).output().expect("curl runs");
        let text = String::from_utf8_lossy(&done.stdout);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}"))
    }

    /// Kills it.
    pub fn kill(&self) {
        server::end(self.folder.path(), Signal::KILL);
    }
}

impl Drop for SchemaRegistry {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The API of a registry behind a port of this machine: its own, or that of a proxy.
pub fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/apis/ccompat/v7")
}
