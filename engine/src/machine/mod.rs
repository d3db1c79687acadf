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

/// x86 tells a name; Arm's kernels mostly tell numbers.
fn cpu_name(root: &Path) -> Option<String> {
    let cpuinfo = read_to_string(root.join("proc/cpuinfo")).ok()?;
    let value_of = |fields: &[&str]| {
        let told = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let mut values =
            told.filter(|(field, _)| fields.contains(&field.trim())).map(|(_, value)| value.trim());
        values.find(|value| !value.is_empty())
    };
    let name = value_of(&["model name", "Model", "cpu model"]).map(str::to_owned);
    name.or_else(|| Some(arm_name(value_of(&["CPU implementer"])?, value_of(&["CPU part"])?)))
}

/// What the numbers of Arm's own cores mean, as Linux lists them (arch/arm64/include/asm/cputype.h); others' stay numbers.
fn arm_name(implementer: &str, part: &str) -> String {
    let name = match (implementer, part) {
        ("0x41", "0xd03") => "Cortex-A53",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd0b") => "Cortex-A76",
        ("0x41", "0xd0c") => "Neoverse N1",
        ("0x41", "0xd40") => "Neoverse V1",
        ("0x41", "0xd49") => "Neoverse N2",
        ("0x41", "0xd4f") => "Neoverse V2",
        _ => return format!("Arm, implementer {implementer}, part {part}"),
    };
    format!("Arm {name}")
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
    fn an_arm_core_has_the_name_of_its_numbers() {
        let root = tempfile::tempdir().unwrap();
        create_dir_all(root.path().join("proc")).unwrap();
        for (part, name) in [("0xd0c", "Arm Neoverse N1"), ("0xfff", "Arm, implementer 0x41, part 0xfff")] {
            let text = format!("CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n");
            write(root.path().join("proc/cpuinfo"), text).unwrap();
            assert_eq!(Machine::read_from(root.path()).cpu.as_deref(), Some(name));
        }
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
