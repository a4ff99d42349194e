//! This process and the kernel: what it uses of memory and CPU time, and how. Only Linux tells; elsewhere nothing is
//! said.

use std::fs;

/// Clock ticks a second in `/proc`: the kernel's user interface has it fixed at 100 on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Asks for small pages: one live record would hold a huge one, which takes tens of MiB and makes nothing faster
/// (`docs/decisions/2026-11-21-allocator.md`). Must run before there are threads, which inherit it (prctl(2),
/// `PR_SET_THP_DISABLE`).
pub(crate) fn use_small_pages() {
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true).ok();
}

/// Leaves core dumps and debuggers to the settings of the system where it is `allow`: for finding faults.
const CORE_DUMPS: &str = "AQUEDUCT_CORE_DUMPS";

/// Keeps the memory of this process, with the passwords and keys in it, out of core dumps, and out of the reach of other
/// processes of its user (prctl(2), `PR_SET_DUMPABLE`). A limit of size would not do: a system that hands cores to a program
/// does not ask for it (core(5)).
pub(crate) fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    if std::env::var_os(CORE_DUMPS).is_none_or(|value| value != "allow") {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
    }
}

/// Asks for as many open files as the system allows this process: the soft limit is often 1,024, which open objects, brokers
/// and clients of the listener may need (getrlimit(2), `RLIMIT_NOFILE`).
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).ok();
    }
}

/// Ends without a word when nobody reads what is printed any more, as in `aqueduct connectors | head`.
pub(crate) fn end_quietly_without_reader() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|says| says.starts_with("failed printing to stdout")) {
            std::process::exit(0);
        }
        report(panic);
    }));
}

/// Whether SIGHUP was ignored when the process was started, as `nohup` does it (proc(5), `SigIgn`).
pub(crate) fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & 1 << (rustix::process::Signal::HUP.as_raw() - 1) != 0
}

/// Memory in use now, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    status_kib("VmRSS:")
}

/// The most memory that was in use at once, in bytes.
pub(crate) fn resident_peak_bytes() -> Option<u64> {
    status_kib("VmHWM:")
}

/// From now on the peak is counted anew (proc(5), `/proc/self/clear_refs`); where that is not allowed, it goes on.
pub(crate) fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").ok();
}

/// CPU time of all threads so far, user and system, in seconds (proc(5), `/proc/self/stat`, fields 14 and 15).
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn status_kib(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}
