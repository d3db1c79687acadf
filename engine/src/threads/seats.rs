//! Which part of the work is each thread's, and on which memory node the thread keeps.
//!
//! A step's items are shared out in order: every thread has a run of them, the same rows of a matrix each time. So it reads
//! memory in one stream, and takes its next item from a counter that no other thread touches until it has nothing left itself.
//!
//! A machine with several memory nodes (sockets, or parts of one) reads a node's memory fastest from the node's own
//! processors. There threads keep to their nodes, and loading has each run of rows read by threads of the node that
//! multiplies with it, which is where the system then puts it. On a machine with one node, threads go where the system likes.

use super::ThreadError;
use super::topology::{core_of, parse_cpu_list};
use crate::machine::{NumaNode, numa_nodes};
use fathom_files::process::room_for_a_thread;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// How many threads a team has, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seats {
    /// At least one; every one has threads.
    nodes: Vec<Home>,
}

/// A node that has threads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Home {
    /// The system's number of it.
    number: usize,
    /// Its processors that this process may use.
    cpus: Vec<usize>,
    /// Threads on it: these numbers of the team.
    threads: Range<usize>,
}

/// The part of a step's work that belongs to some threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    before: usize,
    after: usize,
    all: usize,
}

impl Share {
    /// Its part of `0..len`. The parts of all threads do not overlap and leave nothing out.
    pub fn of(self, len: usize) -> Range<usize> {
        // len * at / all, rounded down, without an overflow on the way.
        let cut = |at: usize| len / self.all * at + len % self.all * at / self.all;
        cut(self.before)..cut(self.after)
    }

    /// Item `nth` of its part of `0..len`; `None` past the last one.
    pub fn item(self, len: usize, nth: usize) -> Option<usize> {
        let part = self.of(len);
        (nth < part.len()).then(|| part.start + nth)
    }
}

impl Seats {
    /// `n_threads` threads (at least one) on this machine, on each node in proportion to its cores.
    pub fn of(n_threads: usize) -> Seats {
        Seats::read(Path::new("/"), n_threads)
    }

    /// The same; `root` is `/`, but in tests.
    pub fn read(root: &Path, n_threads: usize) -> Seats {
        let allowed = super::topology::allowed_cpus(root);
        let sys = root.join("sys/devices/system/cpu");
        let mut homes = Vec::new();
        for NumaNode { node, cpus, .. } in numa_nodes(root) {
            let mut cpus = parse_cpu_list(&cpus).unwrap_or_default();
            cpus.retain(|cpu| allowed.as_ref().is_none_or(|allowed| allowed.contains(cpu)));
            let cores: BTreeSet<String> = cpus.iter().map(|&cpu| core_of(cpu, &sys)).collect();
            if !cores.is_empty() {
                homes.push((node, cpus, cores.len()));
            }
        }
        if homes.is_empty() {
            homes.push((0, Vec::new(), 1));
        }
        let all: usize = homes.iter().map(|home| home.2).sum();
        let (n_threads, mut cores, mut first, mut nodes) = (n_threads.max(1), 0, 0, Vec::new());
        for (number, cpus, own) in homes {
            cores += own;
            // Rounding is carried on, so that all together are as many as were asked for.
            let end = n_threads * cores / all;
            if end > first {
                nodes.push(Home { number, cpus, threads: first..end });
            }
            first = end;
        }
        Seats { nodes }
    }

    /// Threads in all.
    pub fn n_threads(&self) -> usize {
        self.nodes.last().map_or(1, |home| home.threads.end)
    }

    /// Nodes that have threads.
    pub fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// What belongs to all threads of node `index` of these together.
    pub fn share_of_node(&self, index: usize) -> Share {
        let Range { start, end } = self.nodes[index].threads;
        Share { before: start, after: end, all: self.n_threads() }
    }

    /// What belongs to a thread.
    pub fn share_of_thread(&self, thread: usize) -> Share {
        Share { before: thread, after: thread + 1, all: self.n_threads() }
    }

    /// The threads whose items a thread takes, in order: its own, then those of others on its node, then all others.
    pub fn order(&self, thread: usize) -> impl Iterator<Item = usize> + use<> {
        let Range { start, end } = self.nodes[self.node_of(thread)].threads;
        (thread..end).chain(start..thread).chain(end..self.n_threads()).chain(0..start)
    }

    /// The node of a thread, counted as in [`Seats::share_of_node`].
    pub fn node_of(&self, thread: usize) -> usize {
        self.nodes.partition_point(|home| home.threads.end <= thread).min(self.nodes.len() - 1)
    }

    /// The system's number of each node, and how many threads it has.
    pub fn threads_of_nodes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.nodes.iter().map(|home| (home.number, home.threads.len()))
    }

    /// Keeps the calling thread on the processors of `thread`'s node until the value is dropped. A system that refuses leaves
    /// it where it is: what it computes stays the same.
    pub(crate) fn keep(&self, thread: usize) -> Kept {
        if self.n_nodes() == 1 {
            return Kept::default();
        }
        Kept::on(&self.nodes[self.node_of(thread)].cpus)
    }

    /// Calls `f(node)` on as many threads as there are seats, each on its node, and gives what they say.
    ///
    /// # Errors
    /// If the system refuses a thread; those that were started have then ended.
    pub(crate) fn on_all<T: Send>(&self, f: impl Fn(usize) -> T + Sync) -> Result<Vec<T>, ThreadError> {
        let f = &f;
        if self.n_threads() == 1 {
            // The caller's own will do, also where the system gives no other.
            let _home = self.keep(0);
            return Ok(vec![f(self.node_of(0))]);
        }
        std::thread::scope(|scope| {
            let start = |thread| {
                let work = move || {
                    let _home = self.keep(thread);
                    f(self.node_of(thread))
                };
                let builder = std::thread::Builder::new();
                let started = room_for_a_thread().and_then(|()| {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "here it has been asked whether there is room"
                    )]
                    builder.spawn_scoped(scope, work)
                });
                started.map_err(|source| ThreadError { wanted: self.n_threads(), started: thread, source })
            };
            let running: Vec<_> = (0..self.n_threads()).map(start).collect::<Result<_, _>>()?;
            let ended = running.into_iter().map(|thread| thread.join());
            Ok(ended.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect())
        })
    }
}

/// A thread that is kept on some processors; when dropped, it goes where it could go before.
#[derive(Default)]
pub struct Kept {
    #[cfg(target_os = "linux")]
    before: Option<rustix::thread::CpuSet>,
}

#[cfg(target_os = "linux")]
impl Kept {
    fn on(cpus: &[usize]) -> Kept {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        let mut wanted = CpuSet::new();
        for &cpu in cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU) {
            wanted.set(cpu);
        }
        let before = sched_getaffinity(None).ok();
        let done = sched_setaffinity(None, &wanted).is_ok();
        Kept { before: before.filter(|_| done) }
    }
}

#[cfg(not(target_os = "linux"))]
impl Kept {
    /// Other systems have no such call, or one machine in thousands with several nodes.
    fn on(_cpus: &[usize]) -> Kept {
        Kept::default()
    }
}

#[cfg(target_os = "linux")]
impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::thread::sched_setaffinity(None, before);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A machine whose nodes have these processors, of which `allowed` may be used.
    pub(crate) fn machine(nodes: &[&str], allowed: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("proc/self/status", &format!("Cpus_allowed_list:\t{allowed}\n"));
        put("sys/devices/system/node/online", &format!("0-{}\n", nodes.len() - 1));
        for (node, cpus) in nodes.iter().enumerate() {
            put(&format!("sys/devices/system/node/node{node}/cpulist"), &format!("{cpus}\n"));
        }
        root
    }

    fn threads(nodes: &[&str], allowed: &str, n_threads: usize) -> Vec<(usize, usize)> {
        Seats::read(machine(nodes, allowed).path(), n_threads).threads_of_nodes().collect()
    }

    #[test]
    fn threads_go_to_nodes_in_proportion_to_their_cores() {
        assert_eq!(threads(&["0-7", "8-15"], "0-15", 16), [(0, 8), (1, 8)]);
        assert_eq!(threads(&["0-7", "8-15"], "0-15", 5), [(0, 2), (1, 3)]);
        assert_eq!(threads(&["0-7", "8-15"], "0-11", 12), [(0, 8), (1, 4)], "the mask counts");
        assert_eq!(threads(&["0-3", "4-7", "8-11", "12-15"], "0-15", 2), [(1, 1), (3, 1)]);
        assert_eq!(threads(&["0-3", "", "4-7"], "0-7", 8), [(0, 4), (2, 4)], "memory without processors");
        assert_eq!(threads(&["0-3", "4-7"], "4-7", 3), [(1, 3)]);
        assert_eq!(threads(&["0-3"], "0-3", 64), [(0, 64)], "more threads than cores");
        let nothing = tempfile::tempdir().unwrap();
        let unknown = Seats::read(nothing.path(), 3);
        assert_eq!((unknown.n_threads(), unknown.n_nodes(), unknown.share_of_node(0).of(10)), (3, 1, 0..10));
        assert_eq!(Seats::read(nothing.path(), 0).n_threads(), 1);
    }

    #[test]
    fn hyperthreads_do_not_make_a_node_larger() {
        let root = machine(&["0-3", "4-5"], "0-5");
        for cpu in 0..4 {
            let folder = root.path().join(format!("sys/devices/system/cpu/cpu{cpu}/topology"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("thread_siblings_list"), format!("{},{}", cpu % 2, cpu % 2 + 2))
                .unwrap();
        }
        let seats = Seats::read(root.path(), 4);
        assert_eq!(seats.threads_of_nodes().collect::<Vec<_>>(), [(0, 2), (1, 2)]);
    }

    #[test]
    fn shares_cover_everything_once_and_threads_know_their_node() {
        let seats = Seats::read(machine(&["0-3", "4-9", "10"], "0-10").path(), 11);
        for len in [0, 1, 2, 10, 11, 12, 7168] {
            let parts = (0..seats.n_nodes()).flat_map(|node| seats.share_of_node(node).of(len));
            assert!(parts.eq(0..len), "{len}");
            let parts = (0..seats.n_threads()).flat_map(|thread| seats.share_of_thread(thread).of(len));
            assert!(parts.eq(0..len), "{len}");
        }
        assert_eq!(seats.share_of_node(1).of(usize::MAX).start, (usize::MAX as u128 * 4 / 11) as usize);
        let mut order: Vec<usize> = seats.order(6).collect();
        assert_eq!(order, [6, 7, 8, 9, 4, 5, 10, 0, 1, 2, 3]);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..11));
        let nodes: Vec<usize> = (0..11).map(|thread| seats.node_of(thread)).collect();
        assert_eq!(nodes, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2]);
    }

    #[test]
    fn every_thread_of_a_layout_is_called_on_its_node() {
        let seats = Seats::read(machine(&["0-1", "2-4"], "0-4").path(), 5);
        let mut nodes = seats.on_all(|node| node).unwrap();
        nodes.sort_unstable();
        assert_eq!(nodes, [0, 0, 1, 1, 1]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_is_kept_on_processors_and_let_go() {
        use rustix::thread::{CpuSet, sched_getaffinity};
        let allowed = |set: &CpuSet| (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect::<Vec<_>>();
        let before = allowed(&sched_getaffinity(None).unwrap());
        let kept = Kept::on(&before[..1]);
        assert_eq!(allowed(&sched_getaffinity(None).unwrap()), before[..1]);
        drop(kept);
        assert_eq!(allowed(&sched_getaffinity(None).unwrap()), before);
        // No such processor: nothing changes, then or later.
        drop(Kept::on(&[CpuSet::MAX_CPU - 1]));
        assert_eq!(allowed(&sched_getaffinity(None).unwrap()), before);
    }
}
