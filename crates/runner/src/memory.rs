//! How much memory there is for all pipelines together: what the file says, or what the container leaves.

use std::fs;
use std::path::{Component, Path, PathBuf};

use tracing::{info, warn};

/// What is taken where nobody says how much.
const USUAL: u64 = 64 << 20;
/// A limit above this is none: the kernel writes the largest number it has for "unlimited" (cgroups v1, memory.txt).
const UNLIMITED: u64 = 1 << 60;

/// What the pipelines may keep, in bytes. Half of what the container may use is left for the program itself and for
/// the client libraries.
pub(crate) fn budget(configured: Option<u64>, limit: Option<u64>) -> u64 {
    configured.unwrap_or_else(|| limit.map_or(USUAL, |limit| USUAL.min(limit / 2)))
}

/// Says in the log what it comes to, and when it cannot go well.
pub(crate) fn report(configured: Option<u64>, limit: Option<u64>) {
    let memory_max_bytes = budget(configured, limit);
    match limit {
        Some(limit_bytes) if configured.is_some_and(|bytes| bytes > limit_bytes / 4 * 3) => {
            warn!(
                memory_max_bytes,
                limit_bytes,
                "runtime.memory_max leaves too little of the container's memory limit; lower it, or leave it out"
            );
        }
        Some(limit_bytes) => info!(memory_max_bytes, limit_bytes, "memory limit of the container"),
        None => {}
    }
}

/// The memory limit of the control group that this process is in, below this root of the file system: the smallest on
/// the way up, since each holds (cgroup v2: `memory.max`; v1: `memory.limit_in_bytes`).
pub(crate) fn limit(root: &Path) -> Option<u64> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let groups = own.lines().filter_map(|line| {
        // `0::/path`, or in v1 `9:memory:/path` (cgroups(7)).
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => Some((root.join("sys/fs/cgroup"), "memory.max", path)),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some((root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes", path))
            }
            _ => None,
        }
    });
    groups.filter_map(|(mount, file, path)| smallest(&mount, file, path)).min()
}

/// Inside a container the mount may show the container's own group as its root, while the path is that of the host:
/// folders that are not there are passed over.
fn smallest(mount: &Path, file: &str, path: &str) -> Option<u64> {
    let below: PathBuf =
        Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let limit = |folder: &Path| {
        let text = fs::read_to_string(mount.join(folder).join(file)).ok()?;
        text.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED)
    };
    below.ancestors().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn limit_of(files: &[(&str, &str)]) -> Option<u64> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("aqueduct-cgroup-{}-{number}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let limit = limit(&root);
        fs::remove_dir_all(&root).ok();
        limit
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_holds() {
        let v2 = ("proc/self/cgroup", "0::/kubepods/pod7\n");
        let own = ("sys/fs/cgroup/kubepods/pod7/memory.max", "max\n");
        let above = ("sys/fs/cgroup/kubepods/memory.max", "104857600\n");
        assert_eq!(limit_of(&[v2, own, above]), Some(100 * MIB));
        assert_eq!(limit_of(&[v2, own]), None);
        let inside = ("sys/fs/cgroup/memory.max", "67108864\n");
        assert_eq!(limit_of(&[("proc/self/cgroup", "0::/\n"), inside]), Some(64 * MIB));
        assert_eq!(limit_of(&[v2, inside]), Some(64 * MIB), "the path is that of the host");
        assert_eq!(limit_of(&[]), None);
    }

    #[test]
    fn the_older_groups_have_their_own_file() {
        let own = ("proc/self/cgroup", "12:cpu,cpuacct:/\n9:memory:/docker/ab\n0::/system\n");
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let some = ("sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes", "134217728\n");
        assert_eq!(limit_of(&[own, none]), None);
        assert_eq!(limit_of(&[own, none, some]), Some(128 * MIB));
    }

    #[test]
    fn half_of_a_small_container_is_left_alone() {
        assert_eq!(budget(None, None), 64 * MIB);
        assert_eq!(budget(None, Some(1_024 * MIB)), 64 * MIB);
        assert_eq!(budget(None, Some(64 * MIB)), 32 * MIB);
        assert_eq!(budget(Some(256 * MIB), Some(64 * MIB)), 256 * MIB, "what the file says holds");
    }
}
