//! What the machine has, as far as Linux tells. Nothing here fails: what is not told is `None`.

pub mod cgroup;
mod memory;

pub use crate::threads::Cores;
pub use memory::{Limit, Memory, lock_limit, resident};

use crate::threads::parse_cpu_list;
use std::fs::read_to_string;
use std::path::Path;

/// One machine, as this process may use it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor's name.
    pub cpu: Option<String>,
    /// Its cores.
    pub cores: Cores,
    /// Its memory.
    pub memory: Memory,
    /// Its memory nodes, in order.
    pub numa_nodes: Vec<NumaNode>,
    /// Whether large pages are made behind a process's back: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Option<String>,
}

/// Processors and the memory next to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// Its number.
    pub node: usize,
    /// Its processors, as the kernel lists them: `0-15,32-47`.
    pub cpus: String,
    /// Its memory in bytes.
    pub memory: Option<u64>,
}

impl Machine {
    /// This machine.
    pub fn read() -> Machine {
        Machine::read_from(Path::new("/"))
    }

    fn read_from(root: &Path) -> Machine {
        Machine {
            cpu: cpu_name(root),
            cores: Cores::read(root),
            memory: Memory::read(root),
            numa_nodes: numa_nodes(root),
            transparent_huge_pages: huge_pages(root),
        }
    }
}

/// x86 tells a name; Arm's kernels mostly do not.
fn cpu_name(root: &Path) -> Option<String> {
    let cpuinfo = read_to_string(root.join("proc/cpuinfo")).ok()?;
    cpuinfo.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        let named = matches!(field.trim(), "model name" | "Model" | "cpu model");
        (named && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

/// The memory nodes, in order; none where the system does not tell.
pub(crate) fn numa_nodes(root: &Path) -> Vec<NumaNode> {
    let folder = root.join("sys/devices/system/node");
    let online = read_to_string(folder.join("online")).ok();
    let nodes = online.and_then(|list| parse_cpu_list(list.trim())).unwrap_or_default();
    let read = |node: usize| {
        let folder = folder.join(format!("node{node}"));
        let cpus = read_to_string(folder.join("cpulist")).ok()?.trim().to_owned();
        let meminfo = read_to_string(folder.join("meminfo")).unwrap_or_default();
        Some(NumaNode { node, cpus, memory: memory::kib_field(&meminfo, "MemTotal:") })
    };
    nodes.into_iter().filter_map(read).collect()
}

/// The word in brackets: `always [madvise] never`.
fn huge_pages(root: &Path) -> Option<String> {
    let text = read_to_string(root.join("sys/kernel/mm/transparent_hugepage/enabled")).ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    #[test]
    fn an_empty_machine_has_no_answers_and_no_errors() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::read_from(root.path());
        assert_eq!((machine.cpu, machine.transparent_huge_pages), (None, None));
        assert_eq!(machine.numa_nodes, []);
        assert_eq!(machine.memory.usable(), None);
    }

    #[test]
    fn what_the_kernel_tells_is_read() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            create_dir_all(path.parent().unwrap()).unwrap();
            write(path, text).unwrap();
        };
        put("proc/cpuinfo", "processor\t: 0\nmodel\t\t: 1\nmodel name\t: Deep Sea 9000\n");
        put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        put("sys/devices/system/node/online", "0,2\n");
        put("sys/devices/system/node/node0/cpulist", "0-3\n");
        put("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:  2 kB\nNode 0 MemFree: 1 kB\n");
        put("sys/devices/system/node/node2/cpulist", "\n");
        let machine = Machine::read_from(root.path());
        assert_eq!(machine.cpu.as_deref(), Some("Deep Sea 9000"));
        assert_eq!(machine.transparent_huge_pages.as_deref(), Some("madvise"));
        let node = |node, cpus: &str, memory| NumaNode { node, cpus: cpus.to_owned(), memory };
        assert_eq!(machine.numa_nodes, [node(0, "0-3", Some(2048)), node(2, "", None)]);
    }
}
