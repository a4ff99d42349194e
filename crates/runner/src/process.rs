//! What this process uses: memory and CPU time, as the kernel tells it. Only Linux does; elsewhere nothing is said.

use std::fs;

/// Clock ticks a second in `/proc`: the kernel's user interface has it fixed at 100 on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory in use now, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    status_kib("VmRSS:")
}

/// The most memory that was ever in use, in bytes.
pub(crate) fn resident_peak_bytes() -> Option<u64> {
    status_kib("VmHWM:")
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
