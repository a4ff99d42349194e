//! Starts the built binary in a folder of its own, and looks at what it says.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A folder that is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("aqueduct-cli-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// With this file in it.
    pub(crate) fn with(self, name: &str, text: &str) -> Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs it to its end.
    pub(crate) fn aqueduct(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).ended()
    }

    /// Starts it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let child = command(&self.0, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Running(Some(child.unwrap()))
    }
}

impl Folder {
    /// As `nohup` starts it.
    pub(crate) fn start_ignoring_hangup(&self, arguments: &[&str]) -> Running {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_aqueduct")]).args(arguments);
        shell.current_dir(&self.0).stdin(Stdio::null()).env_remove("AQUEDUCT_LOG");
        Running(Some(shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aqueduct"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env_remove("AQUEDUCT_LOG");
    command
}

/// What it said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A process that is killed when the test is over.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid() as i32).unwrap(), signal).unwrap();
    }

    /// Its standard output, which nobody reads until then.
    pub(crate) fn stdout(&mut self) -> std::process::ChildStdout {
        self.0.as_mut().unwrap().stdout.take().unwrap()
    }

    /// All that it will have said on standard error, read while it runs.
    pub(crate) fn log(&mut self) -> std::thread::JoinHandle<String> {
        collect(self.0.as_mut().unwrap().stderr.take().unwrap())
    }

    /// Waits for the end; kills it when that takes longer than half a minute.
    pub(crate) fn ended(mut self) -> Ended {
        let mut child = self.0.take().unwrap();
        // Its pipes are read meanwhile, so that it never waits for us.
        let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        let ended = eventually(|| child.try_wait().unwrap());
        if ended.is_none() {
            child.kill().unwrap();
        }
        let code = child.wait().unwrap().code().unwrap_or(-1);
        Ended { code, out: out.join().unwrap(), err: err.join().unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

/// Asks until there is an answer, for half a minute.
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..1_500 {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}
