//! A server that a script of `tests/services` started: its process ids are the files `*.pid` of its folder.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use std::{env, fs, process, thread};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::Instant;

/// The folder of the workspace. Cargo names it when the tests run; what it named when they were compiled may be another clone's,
/// where clones share a target directory.
///
/// # Panics
/// When the tests stand in no workspace.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let package =
            env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        let mut folders = Path::new(&package).ancestors();
        folders.find(|folder| folder.join("tests/services").is_dir()).expect("a workspace").to_owned()
    });
    &ROOT
}

/// Runs a start script, which returns when the server is ready.
///
/// # Panics
/// When it fails; what it printed says why.
pub(crate) fn start(script: &str, folder: &Path, port: u16) {
    run(script, &[&folder.display().to_string(), &port.to_string()], &[]);
}

/// Runs a script of `tests/services` to its end: what it printed.
///
/// # Panics
/// When it fails; what it printed says why.
pub(crate) fn run(script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let path = root().join("tests/services").join(script);
    let done = Command::new(&path)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", path.display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{script} {arguments:?} failed:\n{said}{complained}");
    said
}

/// Ends every process named in the folder and waits until they are gone.
pub(crate) fn end(folder: &Path, signal: Signal) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pid");
    end_all(&files.filter(named).filter_map(|path| pid_in(&path)).collect::<Vec<_>>(), signal);
}

/// The process that a file names.
pub(crate) fn pid_in(file: &Path) -> Option<Pid> {
    Pid::from_raw(fs::read_to_string(file).ok()?.trim().parse().ok()?)
}

/// Ends processes and waits until they are gone.
pub(crate) fn end_all(pids: &[Pid], signal: Signal) {
    for pid in pids {
        let _ = kill_process(*pid, signal);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    for &pid in pids {
        while alive(pid) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// A process that ended but is still listed counts as gone.
fn alive(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let zombie = status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']));
    test_kill_process(pid).is_ok() && !zombie
}

/// The first of `count` neighbouring ports that are free now. They lie below the range from which the system hands out
/// ports to clients, and different processes begin at different places.
///
/// # Panics
/// When none are free.
pub fn free_ports(count: u16) -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let bound = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok();
    for _ in 0..500 {
        let turn = NEXT.fetch_add(u32::from(count).div_ceil(10), Ordering::Relaxed);
        let first = 12_000 + ((process::id().wrapping_mul(370) + turn * 10) % 18_000) as u16;
        // Held all at once, so that the ports of one server do not overlap.
        if (first..first + count).map(bound).collect::<Option<Vec<_>>>().is_some() {
            return first;
        }
    }
    panic!("no {count} free ports found");
}

/// Asks again and again until it gets an answer.
///
/// # Panics
/// When none came in time; `what` says what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(50));
    }
}
