//! How many threads a token deserves: physical cores that this process may use.

use std::collections::BTreeSet;
use std::path::Path;

/// Physical cores inside the affinity mask and the cgroup's quota; never hyperthreads, at least one.
///
/// Two hyperthreads share one multiplier and one path to memory: a second one on the same core only gets in the way
/// (llama.cpp issue 19110 measured a threefold loss).
pub fn default_threads() -> usize {
    let allowed = allowed_cpus();
    let cores = match &allowed {
        Some(cpus) => physical_cores(cpus, Path::new("/sys/devices/system/cpu")),
        None => std::thread::available_parallelism().map_or(1, |n| n.get()),
    };
    let quota = cpu_quota(Path::new("/sys/fs/cgroup")).unwrap_or(usize::MAX);
    cores.min(quota).max(1)
}

/// CPUs in the affinity mask, where the system tells.
fn allowed_cpus() -> Option<Vec<usize>> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_cpu_list(list.trim())
}

/// Reads the kernel's list form, such as `0-3,8,10-11`.
fn parse_cpu_list(list: &str) -> Option<Vec<usize>> {
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

/// Counts cores: CPUs with the same sibling list are one.
fn physical_cores(cpus: &[usize], sys: &Path) -> usize {
    let cores: BTreeSet<String> = cpus
        .iter()
        .map(|cpu| {
            let siblings = sys.join(format!("cpu{cpu}/topology/thread_siblings_list"));
            // A machine that does not tell: every CPU counts.
            std::fs::read_to_string(siblings).map_or_else(|_| cpu.to_string(), |s| s.trim().to_owned())
        })
        .collect();
    cores.len()
}

/// Whole CPUs of the cgroup's quota (version 2, then version 1), rounded up; `None` without a limit.
fn cpu_quota(root: &Path) -> Option<usize> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut best: Option<usize> = None;
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        let quota = if controllers.is_empty() {
            quota_v2(&root.join(path)).or_else(|| quota_v2(root))
        } else if controllers.split(',').any(|c| c == "cpu") {
            let base = root.join(controllers);
            quota_v1(&base.join(path)).or_else(|| quota_v1(&base))
        } else {
            None
        };
        best = match (best, quota) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    best
}

fn quota_v2(group: &Path) -> Option<usize> {
    let max = std::fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = max.trim().split_once(' ')?;
    cpus_of(quota.parse().ok()?, period.parse().ok()?)
}

fn quota_v1(group: &Path) -> Option<usize> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok()?.trim().parse::<i64>().ok();
    cpus_of(read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
}

fn cpus_of(quota: i64, period: i64) -> Option<usize> {
    (quota > 0 && period > 0).then(|| (quota as u64).div_ceil(period as u64) as usize)
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
    fn quotas_round_up() {
        let group = tempfile::tempdir().unwrap();
        std::fs::write(group.path().join("cpu.max"), "250000 100000\n").unwrap();
        assert_eq!(quota_v2(group.path()), Some(3));
        std::fs::write(group.path().join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(quota_v2(group.path()), None);
        std::fs::write(group.path().join("cpu.cfs_quota_us"), "-1\n").unwrap();
        std::fs::write(group.path().join("cpu.cfs_period_us"), "100000\n").unwrap();
        assert_eq!(quota_v1(group.path()), None);
    }
}
