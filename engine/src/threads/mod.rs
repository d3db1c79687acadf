//! The team: persistent threads that share one token's work.
//!
//! `rayon` serves what is outside a token; a token has hundreds of short steps, and between two of them there is no
//! time to wake a sleeping pool. So the team's threads spin for a while after each step and only then go to sleep.
//!
//! A step is a list of items. Every thread has a run of them ([`Seats`]), and when it is through it takes what others have
//! not begun. Who computes an item never changes its bits, because every output belongs to exactly one item (law 4). The
//! outputs are handed out as disjoint pieces by [`Split`], so callers stay free of `unsafe`.

mod gate;
mod pool;
mod seats;
mod split;
mod sync;
mod topology;

pub use pool::ready;
pub use seats::{Kept, Seats, Share};
pub use split::{Grid, Rows, Split, Tile};
pub(crate) use topology::parse_cpu_list;
pub use topology::{Cores, default_threads};

use fathom_files::process::spawn;
use gate::Gate;
#[cfg(test)]
pub(crate) use seats::tests::machine as machine_of_nodes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// A counter in a cache line of its own, and of no neighbour that the processor brings along.
#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

struct Shared {
    seats: Seats,
    /// For each thread, how many of its items of the current step have been taken.
    taken: Vec<Counter>,
    gate: Gate,
}

/// A fixed number of threads, the caller's among them.
pub struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

/// The system gives no more threads.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected {wanted} threads, but the system started {started} and refused the next: {source}; use fewer (-t), or raise \
     the limit on threads (ulimit -u) or memory (ulimit -v)"
)]
pub struct ThreadError {
    /// How many there should be.
    pub wanted: usize,
    /// How many there were, the caller's among them.
    pub started: usize,
    /// What the system said.
    pub source: io::Error,
}

impl Team {
    /// Starts a team; its first thread is the caller's own.
    ///
    /// # Errors
    /// If the system refuses a thread; those that were started have then ended.
    pub fn new(seats: &Seats) -> Result<Team, ThreadError> {
        let n_threads = seats.n_threads();
        let shared = Arc::new(Shared {
            seats: seats.clone(),
            taken: (0..n_threads).map(|_| Counter::default()).collect(),
            gate: Gate::new(),
        });
        let mut team = Team { shared, helpers: Vec::new() };
        for index in 1..n_threads {
            let shared = Arc::clone(&team.shared);
            let helper = spawn(&format!("fathom-{index}"), move || shared.help(index));
            // On an error the team is dropped, which ends the helpers that are there.
            team.helpers.push(helper.map_err(|source| ThreadError {
                wanted: n_threads,
                started: index,
                source,
            })?);
        }
        // Starting up allocates; after an empty step every helper has done that.
        team.run(&|_| {});
        Ok(team)
    }

    /// Threads in the team.
    pub fn n_threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `f(thread)` once on every thread and returns when all are done.
    fn run<'f>(&mut self, f: &'f (dyn Fn(usize) + Sync + 'f)) {
        if self.helpers.is_empty() {
            return f(0);
        }
        #[expect(unsafe_code, reason = "the thread team is one of the addresses of unsafe (law 5)")]
        // SAFETY: `&mut self` keeps other callers out, and the helpers end only when the team does.
        unsafe {
            self.shared.gate.run(self.helpers.len(), f);
        }
    }

    /// Keeps the calling thread, which is the team's first, on its node until the value is dropped.
    pub fn keep_caller(&self) -> Kept {
        self.shared.seats.keep(0)
    }

    /// Works through `0..n_items`; `locals[thread]` is the scratch of the thread that has the item.
    ///
    /// # Panics
    /// If there are fewer locals than threads.
    pub fn each<L: Send>(&mut self, locals: &mut [L], n_items: usize, f: impl Fn(&mut L, usize) + Sync) {
        self.deal(locals, n_items, |share, nth| share.item(n_items, nth), f);
    }

    /// Works through the pieces of `out`: `f(local, index, piece)`.
    pub fn split<'o, L: Send, S: Split<'o>>(
        &mut self,
        locals: &mut [L],
        out: S,
        f: impl Fn(&mut L, usize, S::Piece) + Sync,
    ) {
        let shared = split::Pieces::new(out);
        let item = |share, nth| shared.item(share, nth);
        self.deal(locals, shared.len(), item, |local, index| f(local, index, shared.take(index)));
    }

    /// Works through `n_items` items; `item(share, nth)` is item `nth` of a thread's share. Every item is given out once.
    fn deal<L: Send>(
        &mut self,
        locals: &mut [L],
        n_items: usize,
        item: impl Fn(Share, usize) -> Option<usize> + Sync,
        f: impl Fn(&mut L, usize) + Sync,
    ) {
        assert!(locals.len() >= self.n_threads(), "{} locals for {} threads", locals.len(), self.n_threads());
        if n_items == 0 {
            return;
        }
        if n_items == 1 || self.helpers.is_empty() {
            for item in 0..n_items {
                f(&mut locals[0], item);
            }
            return;
        }
        let shared = Arc::clone(&self.shared);
        let (seats, taken) = (&shared.seats, &shared.taken);
        for counter in taken {
            counter.0.store(0, Ordering::Relaxed);
        }
        let locals = split::Locals::new(locals);
        self.run(&|thread| {
            // `run` calls this closure once per thread, so each thread takes its own local once.
            let mut local = None;
            for owner in seats.order(thread) {
                let (share, taken) = (seats.share_of_thread(owner), &taken[owner].0);
                // Looked at first: taking moves the counter's line away from its owner.
                if item(share, taken.load(Ordering::Relaxed)).is_none() {
                    continue;
                }
                while let Some(item) = item(share, taken.fetch_add(1, Ordering::Relaxed)) {
                    f(local.get_or_insert_with(|| locals.take(thread)), item);
                }
            }
        });
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.gate.close();
        for helper in self.helpers.drain(..) {
            // A helper never panics: it catches what the step throws.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn help(&self, thread: usize) {
        let _home = self.seats.keep(thread);
        self.gate.help(thread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn every_item_is_done_once_whatever_the_number_of_threads() {
        for n_threads in 1..5 {
            let mut team = Team::new(&Seats::of(n_threads)).unwrap();
            for n_items in [0, 1, 2, 7, 1000] {
                let mut out = vec![0u32; n_items * 3];
                let mut locals = vec![0usize; n_threads];
                team.split(&mut locals, Rows::new(&mut out, 3), |done, index, row| {
                    *done += 1;
                    for (k, x) in row.iter_mut().enumerate() {
                        *x += (index * 3 + k) as u32 + 1;
                    }
                });
                assert_eq!(locals.iter().sum::<usize>(), n_items);
                assert!(out.iter().enumerate().all(|(i, &x)| x == i as u32 + 1));
            }
        }
    }

    #[test]
    fn a_panic_in_an_item_reaches_the_caller_and_the_team_lives_on() {
        let mut team = Team::new(&Seats::of(3)).unwrap();
        let mut locals = [(); 3];
        let result = catch_unwind(AssertUnwindSafe(|| {
            team.each(&mut locals, 100, |_, item| assert_ne!(item, 57, "planned"));
        }));
        assert!(result.is_err());
        let done = AtomicUsize::new(0);
        team.each(&mut locals, 100, |_, _| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 100);
    }

    #[test]
    fn a_panic_of_caller_and_helpers_at_once_ends_that_step_alone() {
        let mut team = Team::new(&Seats::of(3)).unwrap();
        for _ in 0..20 {
            let panic = catch_unwind(AssertUnwindSafe(|| team.run(&|thread| panic!("planned {thread}"))));
            assert_eq!(panic.unwrap_err().downcast_ref::<String>().unwrap(), "planned 0", "the caller's own");
            let done = AtomicUsize::new(0);
            team.run(&|_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 3);
        }
    }

    #[test]
    fn a_team_that_slept_wakes_up() {
        let mut team = Team::new(&Seats::of(2)).unwrap();
        let mut locals = [(); 2];
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(30));
            let done = AtomicUsize::new(0);
            team.each(&mut locals, 10, |_, _| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 10);
        }
    }

    #[test]
    fn on_several_nodes_every_item_is_done_once_and_own_ones_come_first() {
        let root = machine_of_nodes(&["0-1", "2-4"], "0-4");
        let mut team = Team::new(&Seats::read(root.path(), 5)).unwrap();
        // Three groups of one row, ten tiles of a column.
        let (mut out, bounds) = ([0u32; 30], [0, 1, 2, 3]);
        for _ in 0..20 {
            let mut done = [(); 5].map(|()| Vec::new());
            team.split(&mut done, Grid::new(&mut out, 10, &bounds, 1), |done, index, mut piece| {
                piece.row(0)[0] += 1;
                // Long enough for every thread to get some.
                std::thread::sleep(std::time::Duration::from_micros(200));
                done.push(index);
            });
            for (thread, items) in done.iter().enumerate() {
                // Thread t has tiles 2t and 2t + 1, node 0 the first two threads.
                let rank = |item: &usize| match item % 10 / 2 {
                    owner if owner == thread => 0,
                    owner => 1 + usize::from((owner < 2) != (thread < 2)),
                };
                assert!(items.is_sorted_by_key(rank), "{thread} {items:?}");
            }
        }
        assert_eq!(out, [20; 30]);
    }
}
