//! A real schema registry: Apicurio in memory, which knows Avro, JSON Schema and Protobuf and checks backward compatibility;
//! or another one that runs already.

use std::path::PathBuf;
use std::process::Command;
use std::{env, process};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::server;

/// Apicurio Registry on loopback, or the one that was named.
#[derive(Debug)]
pub struct SchemaRegistry {
    folder: Folder,
    login: Option<String>,
    named: Option<String>,
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
    pub fn start_with(login: &str) -> Self {
        Self::of(Some(login.to_owned()))
    }

    /// The one that runs at `AQUEDUCT_REGISTRY_URL`, with `AQUEDUCT_REGISTRY_LOGIN` as its `user:password`; without
    /// those one that is started with this login. For tests that any registry with Confluent's API has to pass.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn named_or_start_with(login: &str) -> Self {
        match env::var("AQUEDUCT_REGISTRY_URL") {
            Ok(url) if !url.is_empty() => Self {
                folder: Folder::new("registry"),
                login: env::var("AQUEDUCT_REGISTRY_LOGIN").ok().filter(|login| !login.is_empty()),
                named: Some(url),
                port: 0,
            },
            _ => Self::start_with(login),
        }
    }

    fn of(login: Option<String>) -> Self {
        let port = server::free_ports(3);
        let registry = Self { folder: Folder::new("registry"), login, named: None, port };
        registry.start_again();
        registry
    }

    /// Whether it is Apicurio, started for this test and nothing else, so that its words and its ids are known.
    pub fn is_own(&self) -> bool {
        self.named.is_none()
    }

    /// A topic or subject of this run alone: one that was named has those of the runs before.
    pub fn fresh(&self, name: &str) -> String {
        if self.is_own() { name.to_owned() } else { format!("r{}.{name}", process::id()) }
    }

    /// What a pipeline says of it under `registry`.
    pub fn config(&self) -> Value {
        let mut config = json!({ "url": self.url() });
        if let Some((user, password)) = self.login.as_deref().and_then(|login| login.split_once(':')) {
            config["user"] = json!(user);
            config["password"] = json!(password);
        }
        config
    }

    /// Starts it again; it is empty then.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_again(&self) {
        let (folder, port) = (self.folder.path().display().to_string(), self.port.to_string());
        let mut arguments = vec![folder.as_str(), &port];
        arguments.extend(self.login.as_deref());
        server::run("registry.sh", &arguments, &[]);
    }

    /// Registers an Avro schema: its id.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn put(&self, subject: &str, schema: &str) -> u32 {
        self.post(subject, &json!({ "schema": schema }))
    }

    /// Registers a schema of any language as its API wants it (`schema`, `schemaType`, `references`): its id.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn post(&self, subject: &str, body: &Value) -> u32 {
        self.offer(subject, body).unwrap_or_else(|answer| panic!("no id: {answer}"))
    }

    /// The same, where it may be refused with these words.
    ///
    /// # Errors
    /// Its refusal.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn offer(&self, subject: &str, body: &Value) -> Result<u32, Value> {
        let answer = self.ask("POST", &format!("/subjects/{}/versions", self.fresh(subject)), Some(body));
        let id = answer["id"].as_u64().ok_or(answer)?;
        Ok(u32::try_from(id).expect("ids are small"))
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

    /// A version of a subject, as its API answers.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn version(&self, subject: &str, version: u32) -> Value {
        self.ask("GET", &format!("/subjects/{}/versions/{version}", self.fresh(subject)), None)
    }

    /// Sets how new versions of a subject have to go with the old ones: `NONE`, `BACKWARD`, ...
    ///
    /// # Panics
    /// When it does not answer.
    pub fn compatibility(&self, subject: &str, level: &str) {
        self.ask(
            "PUT",
            &format!("/config/{}", self.fresh(subject)),
            Some(&json!({ "compatibility": level })),
        );
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
        if let Some(login) = &self.login {
            command.args(["-u", login]);
        }
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

    /// Its address for clients.
    pub fn url(&self) -> String {
        self.named.clone().unwrap_or_else(|| url(self.port))
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

/// The API of a registry behind a port of this machine: its own, or that of a proxy.
pub fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/apis/ccompat/v7")
}
