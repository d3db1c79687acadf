//! How the threads of a team meet: a step is published, everybody works on it, and nobody goes on before all are through.
//!
//! This file alone has what can go wrong between threads, and takes its atomics and locks from `sync`: `tests/loom` compiles it
//! once more with those of the crate `loom` and tries every order of events.

use super::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, SPINS, UnsafeCell, YIELDS, spin_loop,
    yield_now,
};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A step: the closure of the caller of [`Gate::run`], valid until that call returns.
type Job = dyn Fn(usize) + Sync;

/// What an item threw.
type Panic = Box<dyn Any + Send>;

/// Where the caller's thread and its helpers meet.
pub struct Gate {
    /// Number of steps published so far; a change is the signal to work.
    step: AtomicU64,
    /// The published step: written before `step` is raised, read after the raise was seen.
    job: UnsafeCell<*const Job>,
    /// Helpers that have not finished the current step.
    busy: AtomicUsize,
    /// Helpers asleep on `wake`, or about to be. The lock is touched only by those who sleep and who wake them.
    asleep: AtomicUsize,
    bed: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
    panicked: AtomicBool,
    panic: Mutex<Option<Panic>>,
}

#[expect(unsafe_code, reason = "the thread team is one of the addresses of unsafe (law 5)")]
// SAFETY: everything but `job` is Sync by itself. `job` is written by `Gate::run` only while no helper is busy, and read by
// helpers only after they saw `step` rise (release and acquire); what it points to is Sync.
unsafe impl Sync for Gate {}
#[expect(unsafe_code, reason = "the thread team is one of the addresses of unsafe (law 5)")]
// SAFETY: as above; the pointer is followed only between publication and the end of the step.
unsafe impl Send for Gate {}

impl Gate {
    /// A gate at which nobody waits yet.
    pub fn new() -> Gate {
        Gate {
            step: AtomicU64::new(0),
            job: UnsafeCell::new(std::ptr::from_ref::<Job>(&|_| {})),
            busy: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            bed: Mutex::new(()),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
        }
    }

    /// Calls `f(thread)` once here, as thread 0, and on each of the helpers, of which there are `n_helpers`, and returns when all
    /// are done. What they throw is thrown here, the caller's own before a helper's.
    ///
    /// # Safety
    /// One call at a time, and `n_helpers` threads are in [`Gate::help`] or on their way there.
    #[expect(unsafe_code, reason = "the thread team is one of the addresses of unsafe (law 5)")]
    pub unsafe fn run<'f>(&self, n_helpers: usize, f: &'f (dyn Fn(usize) + Sync + 'f)) {
        // SAFETY: only the lifetime is changed. This function does not return before `busy` is zero, that is before every helper
        // has left the closure, on the panicking path too.
        let job: &'static Job =
            unsafe { std::mem::transmute::<&'f (dyn Fn(usize) + Sync + 'f), &'static Job>(f) };
        // SAFETY: no helper is busy: the step before ended with `busy == 0`, and there is no other caller.
        self.job.with_mut(|place| unsafe { *place = job });
        self.busy.store(n_helpers, Ordering::Relaxed);
        self.publish();
        let own = catch_unwind(AssertUnwindSafe(|| f(0)));
        let mut spins = 0u32;
        while self.busy.load(Ordering::Acquire) > 0 {
            pause(spins);
            spins = spins.saturating_add(1);
        }
        // Taken whatever became of the caller's own part: left there, it would end the next step.
        let theirs = self.take_panic();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// Works on every step as `thread` until the gate is closed.
    pub fn help(&self, thread: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait_for_step(seen);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            #[expect(unsafe_code, reason = "the thread team is one of the addresses of unsafe (law 5)")]
            // SAFETY: `run` published this pointer with step `seen` and waits for this thread (`busy`) before its closure ends or
            // another pointer is written.
            let job = self.job.with(|place| unsafe { &**place });
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(thread))) {
                let mut first = self.panic.lock().unwrap_or_else(|p| p.into_inner());
                match *first {
                    None => *first = Some(panic),
                    // Dropping it runs code of whoever threw it, which may throw again; here nobody would catch that.
                    Some(_) => std::mem::forget(panic),
                }
                drop(first);
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    /// Sends the helpers home.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.publish();
    }

    /// Raises `step` and wakes whoever sleeps.
    fn publish(&self) {
        // Either the sleeper sees the new step, or we see the sleeper: its last look at `step` is a write, too (`wait_for_step`).
        // If that came first, ours read it, and what came before it, the sleeper's count, is there for us.
        self.step.fetch_add(1, Ordering::AcqRel);
        if self.asleep.load(Ordering::Relaxed) > 0 {
            let _bed = self.bed.lock().unwrap_or_else(|p| p.into_inner());
            self.wake.notify_all();
        }
    }

    /// What a helper's part of the step threw, which is then forgotten.
    fn take_panic(&self) -> Option<Panic> {
        if !self.panicked.load(Ordering::Relaxed) {
            return None;
        }
        self.panicked.store(false, Ordering::Relaxed);
        self.panic.lock().unwrap_or_else(|p| p.into_inner()).take()
    }

    fn wait_for_step(&self, seen: u64) -> u64 {
        for round in 0..SPINS + YIELDS {
            let step = self.step.load(Ordering::Acquire);
            if step != seen {
                return step;
            }
            pause(round);
        }
        let mut bed = self.bed.lock().unwrap_or_else(|p| p.into_inner());
        self.asleep.fetch_add(1, Ordering::Relaxed);
        let look = || self.step.fetch_add(0, Ordering::AcqRel);
        let mut step = look();
        while step == seen {
            bed = self.wake.wait(bed).unwrap_or_else(|p| p.into_inner());
            step = look();
        }
        self.asleep.fetch_sub(1, Ordering::Relaxed);
        step
    }
}

/// Waits a little, in round `round` of waiting.
fn pause(round: u32) {
    if round < SPINS { spin_loop() } else { yield_now() }
}
