//! How much memory there is and how much of it this process may have.

use super::cgroup::{self, Group, Version};
use fathom_files::process::{kib, status_bytes};
use std::fs::read_to_string;
use std::path::Path;

/// The machine's memory and the tightest limit on it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Installed.
    pub total: Option<u64>,
    /// What new work can get without swapping: free memory and cached files that can be dropped.
    pub available: Option<u64>,
    /// The control group that leaves the least.
    pub limit: Option<Limit>,
}

/// A control group's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Layout of the group.
    pub version: Version,
    /// Bytes that the group may hold.
    pub bytes: u64,
    /// What of it is left: unused, or cached files that can be dropped.
    pub free: u64,
}

/// Version 1 has no word for "no limit": it is a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;

impl Memory {
    /// Reads it; `root` is `/`, but in tests.
    pub fn read(root: &Path) -> Memory {
        let meminfo = read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let field = |name: &str| kib_field(&meminfo, name);
        let groups = cgroup::groups(root, "memory");
        let limit = groups.iter().filter_map(limit_of).min_by_key(|limit| limit.free);
        Memory { total: field("MemTotal:"), available: field("MemAvailable:"), limit }
    }

    /// What this process can get: the less of the two.
    pub fn usable(&self) -> Option<u64> {
        let free = self.limit.map(|limit| limit.free);
        match (self.available, free) {
            (Some(available), Some(free)) => Some(available.min(free)),
            (available, free) => available.or(free),
        }
    }
}

/// Bytes that this process may lock into memory; `None`: as many as it likes, or not told. `root` is `/`, but in tests.
pub fn lock_limit(root: &Path) -> Option<u64> {
    let limits = read_to_string(root.join("proc/self/limits")).ok()?;
    let (_, soft_and_hard) = limits.lines().find_map(|line| line.split_once("Max locked memory"))?;
    soft_and_hard.split_whitespace().next()?.parse().ok()
}

/// Bytes of this process that are in memory now, mapped files among them.
pub fn resident(root: &Path) -> Option<u64> {
    status_bytes(root, "VmRSS")
}

/// The value of a `Name:  123 kB` line, in bytes.
pub(super) fn kib_field(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.lines().find_map(|line| line.split_once(name))?;
    kib(rest)
}

fn limit_of(group: &Group) -> Option<Limit> {
    let (bytes, used, cached) = match group.version {
        Version::V1 => (
            group.number("memory.limit_in_bytes")?,
            group.number("memory.usage_in_bytes")?,
            group.sum("memory.stat", &["total_active_file", "total_inactive_file"]),
        ),
        Version::V2 => {
            // Above `high` a group is slowed down until it is of no use.
            let limits = [group.number("memory.max"), group.number("memory.high")];
            (
                limits.into_iter().flatten().min()?,
                group.number("memory.current")?,
                group.sum("memory.stat", &["active_file", "inactive_file"]),
            )
        }
    };
    let held = used.saturating_sub(cached.unwrap_or(0));
    (bytes < NO_LIMIT).then(|| Limit { version: group.version, bytes, free: bytes.saturating_sub(held) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    #[test]
    fn the_limit_on_locked_memory_is_the_soft_one() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(lock_limit(root.path()), None);
        create_dir_all(root.path().join("proc/self")).unwrap();
        let put = |soft: &str| {
            let text = format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax locked memory   {soft}   9000000   bytes\n"
            );
            write(root.path().join("proc/self/limits"), text).unwrap();
            lock_limit(root.path())
        };
        assert_eq!((put("8192"), put("unlimited")), (Some(8192), None));
    }

    #[test]
    fn what_is_resident_is_read_where_it_is_told() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(resident(root.path()), None);
        create_dir_all(root.path().join("proc/self")).unwrap();
        write(root.path().join("proc/self/status"), "VmHWM:\t 3 kB\nVmRSS:\t 2 kB\n").unwrap();
        assert_eq!(resident(root.path()), Some(2048));
    }

    #[test]
    fn the_tightest_limit_counts_and_cached_files_are_free() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            create_dir_all(path.parent().unwrap()).unwrap();
            write(path, text).unwrap();
        };
        put("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  500 kB\n");
        let memory = Memory::read(root.path());
        assert_eq!((memory.total, memory.available, memory.limit), (Some(1_024_000), Some(512_000), None));
        assert_eq!(memory.usable(), Some(512_000));

        put("proc/self/cgroup", "0::/a/b\n");
        put("sys/fs/cgroup/a/b/memory.max", "max\n");
        put("sys/fs/cgroup/a/b/memory.high", "max\n");
        put("sys/fs/cgroup/a/b/memory.current", "50000\n");
        put("sys/fs/cgroup/a/memory.max", "100000\n");
        put("sys/fs/cgroup/a/memory.current", "60000\n");
        put("sys/fs/cgroup/a/memory.stat", "active_file 10000\ninactive_file 20000\n");
        let memory = Memory::read(root.path());
        assert_eq!(memory.limit, Some(Limit { version: Version::V2, bytes: 100_000, free: 70_000 }));
        assert_eq!(memory.usable(), Some(70_000));

        put("proc/self/cgroup", "0::/\n7:memory:/x\n");
        put("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "80000\n");
        put("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "90000\n");
        put("sys/fs/cgroup/memory/x/memory.stat", "inactive_file 1\ntotal_inactive_file 20000\n");
        put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        put("sys/fs/cgroup/memory/memory.usage_in_bytes", "90000\n");
        let limit = Memory::read(root.path()).limit;
        assert_eq!(limit, Some(Limit { version: Version::V1, bytes: 80_000, free: 10_000 }));
    }
}
