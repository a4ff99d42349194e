//! The programs that check what is in `deploy/`, as its readers would, and Prometheus itself.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::folder::Folder;
use crate::server;

/// A script of `tests/services` with these words as arguments, run in a folder.
#[derive(Debug)]
pub struct Script<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it runs.
    pub folder: &'a Path,
    /// The rest of its command line.
    pub arguments: &'a [&'a str],
    /// What it reads.
    pub input: &'a str,
}

impl Script<'_> {
    /// Runs it to its end: what it printed, as an error when it failed.
    ///
    /// # Errors
    /// When it ended with another code than 0.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self) -> Result<String, String> {
        let path = server::root().join("tests/services").join(self.name);
        let mut child = Command::new(&path)
            .args(self.arguments)
            .current_dir(self.folder)
            .env("COMPOSE_PROFILES", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", path.display()));
        // One that does not read ends without it.
        let _ = child.stdin.take().expect("its input").write_all(self.input.as_bytes());
        let done = child.wait_with_output().expect("its output");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        if done.status.success() {
            return Ok(said);
        }
        Err(format!(
            "{} {:?} failed:\n{said}{}",
            self.name,
            self.arguments,
            String::from_utf8_lossy(&done.stderr)
        ))
    }
}

/// Runs one of the tools of `checkers.sh` in a folder: what it printed.
///
/// # Panics
/// When it finds something wrong.
pub fn checker(folder: &Path, arguments: &[&str]) -> String {
    let script = Script { name: "checkers.sh", folder, arguments, input: "" };
    script.run().unwrap_or_else(|says| panic!("{says}"))
}

/// The documents of a YAML file.
///
/// # Panics
/// When it is none.
pub fn documents(file: &Path) -> Vec<Value> {
    let lines = checker(Path::new("/"), &["yaml", &file.display().to_string()]);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    folder: Folder,
    port: u16,
}

impl Prometheus {
    /// Starts it with the configuration `prometheus.yml` of a folder, and keeps the folder. With a `web.yml` there it answers
    /// over TLS, and `query` cannot ask it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(folder: Folder) -> Self {
        let port = server::free_ports(1);
        server::start("prometheus.sh", folder.path(), port);
        Self { folder, port }
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        let scheme = if self.folder.path().join("web.yml").exists() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What an expression is now.
    ///
    /// # Panics
    /// When it is none.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let url = self.url();
        let json =
            checker(self.folder.path(), &["promtool", "query", "instant", "-o", "json", &url, expression]);
        match serde_json::from_str(&json).expect("JSON") {
            Value::Array(found) => found,
            other => vec![other],
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        server::end(self.folder.path(), Signal::TERM);
    }
}
