//! How many threads a token deserves: physical cores that this process may use.

use crate::machine::cgroup::{self, Group, Version};
use fathom_files::process::status;
use std::collections::BTreeSet;
use std::path::Path;

/// The machine's cores, and those that this process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Cores switched on.
    pub physical: usize,
    /// Hyperthreads of them.
    pub logical: usize,
    /// Cores in the affinity mask.
    pub allowed_physical: usize,
    /// Hyperthreads in the affinity mask.
    pub allowed_logical: usize,
    /// The control group's quota in whole processors, rounded down but at least one; `None` without a limit.
    pub quota: Option<usize>,
}

impl Cores {
    /// Reads them; `root` is `/`, but in tests.
    pub fn read(root: &Path) -> Cores {
        let sys = root.join("sys/devices/system/cpu");
        let list = |path: &str| std::fs::read_to_string(root.join(path)).ok();
        let online = list("sys/devices/system/cpu/online").and_then(|text| parse_cpu_list(text.trim()));
        let allowed = allowed_cpus(root);
        // A system that does not tell: what the standard library knows.
        let known = || (0..std::thread::available_parallelism().map_or(1, |n| n.get())).collect::<Vec<_>>();
        let online = online.or_else(|| allowed.clone()).unwrap_or_else(known);
        let allowed = allowed.unwrap_or_else(known);
        Cores {
            physical: physical_cores(&online, &sys),
            logical: online.len(),
            allowed_physical: physical_cores(&allowed, &sys),
            allowed_logical: allowed.len(),
            quota: cgroup::groups(root, "cpu").iter().filter_map(quota).min(),
        }
    }

    /// Physical cores inside the affinity mask and the control group's quota; never hyperthreads, at least one.
    ///
    /// Two hyperthreads share one multiplier and one path to memory: a second one on the same core only gets in the
    /// way (llama.cpp issue 19110 measured a threefold loss).
    pub fn default_threads(&self) -> usize {
        self.allowed_physical.min(self.quota.unwrap_or(usize::MAX)).max(1)
    }
}

/// [`Cores::default_threads`] of this machine.
pub fn default_threads() -> usize {
    Cores::read(Path::new("/")).default_threads()
}

/// The affinity mask of this process; `None` where the system does not tell.
pub(super) fn allowed_cpus(root: &Path) -> Option<Vec<usize>> {
    parse_cpu_list(&status(root, "Cpus_allowed_list")?)
}

/// Reads the kernel's list form, such as `0-3,8,10-11`.
pub(crate) fn parse_cpu_list(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if last < first || last - first > 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    (!cpus.is_empty()).then_some(cpus)
}

/// Counts cores.
fn physical_cores(cpus: &[usize], sys: &Path) -> usize {
    cpus.iter().map(|&cpu| core_of(cpu, sys)).collect::<BTreeSet<String>>().len()
}

/// The core of a CPU: those with the same sibling list are one. On a machine that does not tell, every CPU is a core.
pub(super) fn core_of(cpu: usize, sys: &Path) -> String {
    let siblings = sys.join(format!("cpu{cpu}/topology/thread_siblings_list"));
    std::fs::read_to_string(siblings).map_or_else(|_| cpu.to_string(), |s| s.trim().to_owned())
}

/// Whole CPUs of a group's quota; `None` without a limit. Rounded down: a thread more than the quota pays for is stopped for a
/// part of every period, and all others wait for it at the end of every step.
fn quota(group: &Group) -> Option<usize> {
    match group.version {
        Version::V1 => cpus_of(
            group.text("cpu.cfs_quota_us")?.parse().ok()?,
            group.text("cpu.cfs_period_us")?.parse().ok()?,
        ),
        Version::V2 => {
            let max = group.text("cpu.max")?;
            let (quota, period) = max.split_once(' ')?;
            cpus_of(quota.parse().ok()?, period.parse().ok()?)
        }
    }
}

fn cpus_of(quota: i64, period: i64) -> Option<usize> {
    (quota > 0 && period > 0).then(|| (quota / period).max(1) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read_and_nonsense_is_refused() {
        assert_eq!(parse_cpu_list("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_cpu_list("5"), Some(vec![5]));
        for bad in ["", "a", "3-1", "0-99999999"] {
            assert_eq!(parse_cpu_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn hyperthreads_count_once() {
        let sys = tempfile::tempdir().unwrap();
        for cpu in 0..4 {
            let dir = sys.path().join(format!("cpu{cpu}/topology"));
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("thread_siblings_list"), format!("{},{}\n", cpu % 2, cpu % 2 + 2))
                .unwrap();
        }
        assert_eq!(physical_cores(&[0, 1, 2, 3], sys.path()), 2);
        assert_eq!(physical_cores(&[0, 2], sys.path()), 1);
        assert_eq!(physical_cores(&[7, 8], sys.path()), 2, "unknown CPUs count each");
    }

    #[test]
    fn quotas_round_down_to_at_least_one_and_the_tightest_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("proc/self/cgroup", "0::/a\n2:cpu,cpuacct:/b\n");
        put("proc/self/status", "Cpus_allowed_list:\t0-7\n");
        put("sys/devices/system/cpu/online", "0-15\n");
        put("sys/fs/cgroup/a/cpu.max", "max 100000\n");
        put("sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "-1\n");
        put("sys/fs/cgroup/cpu/b/cpu.cfs_period_us", "100000\n");
        let cores = Cores::read(root.path());
        assert_eq!((cores.logical, cores.allowed_logical, cores.quota), (16, 8, None));
        assert_eq!(cores.default_threads(), 8);
        put("sys/fs/cgroup/cpu.max", "450000 100000\n");
        assert_eq!(Cores::read(root.path()).default_threads(), 4, "a quota of the group above");
        for (quota, whole) in [("250000", 2), ("150000", 1), ("100000", 1), ("50000", 1)] {
            put("sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", &format!("{quota}\n"));
            let cores = Cores::read(root.path());
            assert_eq!((cores.quota, cores.default_threads()), (Some(whole), whole), "{quota}");
        }
    }
}
