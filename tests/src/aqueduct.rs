//! The binary under test as a child process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, thread};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::server::until;

/// A running `aqueduct`. What it prints goes to a file, because a pipe that nobody reads would stop it.
#[derive(Debug)]
pub struct Aqueduct {
    child: Child,
    output: PathBuf,
}

impl Aqueduct {
    /// Starts it with these arguments in a folder, and with these variables in its environment. The binary is the one
    /// that `AQUEDUCT_BIN` names, else the one beside the running test.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let output = (0..).map(|run| folder.join(format!("aqueduct-{run}.log"))).find(|path| !path.exists());
        let output = output.expect("a free name");
        let file = File::create(&output).expect("the output file");
        let binary = binary();
        let child = Command::new(&binary)
            .args(arguments)
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the output file"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()));
        Self { child, output }
    }

    /// Everything printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until it has printed this text.
    ///
    /// # Panics
    /// When it has not within the time, or ended without it.
    pub fn says(&mut self, text: &str, limit: Duration) {
        self.says_one_of(&[text], limit);
    }

    /// Waits until it has printed one of these texts.
    ///
    /// # Panics
    /// As `says`.
    pub fn says_one_of(&mut self, texts: &[&str], limit: Duration) {
        let wanted = texts.join("` or `");
        until(&format!("aqueduct prints `{wanted}`"), limit, || {
            let ended = self.exited();
            let output = self.output();
            if texts.iter().any(|text| output.contains(text)) {
                return Some(());
            }
            assert!(ended.is_none(), "aqueduct ended with {ended:?} and never printed `{wanted}`");
            None
        });
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it has a handler for a signal.
    fn hears(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
        caught & 1 << (signal.as_raw() - 1) != 0
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within the time.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        until("aqueduct ends", limit, || self.exited())
    }

    /// Kills it, as a machine that loses power would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop, once it listens, and waits until it has, with exit code 0.
    ///
    /// # Panics
    /// When it takes over 30 s or the code is another.
    pub fn stop(&mut self) {
        // One that has just been started would die of the signal.
        until("aqueduct listens to signals", Duration::from_secs(30), || {
            (self.hears(Signal::TERM) || self.exited().is_some()).then_some(())
        });
        self.signal(Signal::TERM);
        let status = self.wait(Duration::from_secs(30));
        assert!(status.success(), "a clean stop ended with {status}");
    }
}

impl Drop for Aqueduct {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("the last lines of {}:\n{tail}", self.output.display());
        }
    }
}

/// The binary under test.
///
/// # Panics
/// When it is not there.
pub fn binary() -> PathBuf {
    if let Some(named) = env::var_os("AQUEDUCT_BIN") {
        return named.into();
    }
    let test = env::current_exe().expect("the path of this test");
    let beside = test.ancestors().nth(2).map(|folder| folder.join("aqueduct"));
    beside.filter(|path| path.exists()).expect("the binary is built first: cargo build -p aqueduct")
}
