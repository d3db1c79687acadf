//! The protocol of Fathom's thread team (`engine/src/threads/gate.rs`, compiled here once more) in every order of events that its atomics
//! and locks allow, weak memory included. `cargo test -p fathom-loom`; the crate `loom` plays the orders.
#![deny(unsafe_code)]

#[path = "../../../engine/src/threads/gate.rs"]
pub mod gate;
pub mod sync;

#[cfg(test)]
mod tests {
    use crate::gate::Gate;
    use crate::sync::UnsafeCell;
    use loom::model::Builder;
    use loom::sync::Arc;
    use loom::thread;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    /// Every order with at most so many switches away from a thread that could go on.
    fn in_every_order(n_switches: usize, test: impl Fn() + Sync + Send + 'static) {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(n_switches);
        builder.check(test);
    }

    /// So many that a minute is enough.
    fn most_switches(n_helpers: usize) -> usize {
        match n_helpers {
            1 => 3,
            2 => 1,
            _ => 0,
        }
    }

    /// Values that the threads write in turns of the gate; `loom` fails if two accesses meet.
    struct Slots(Vec<UnsafeCell<u32>>);

    #[expect(unsafe_code, reason = "cells that the gate keeps apart: that is what is tested")]
    // SAFETY: `loom` runs one thread at a time, and ends the test where the cells are not kept apart.
    unsafe impl Sync for Slots {}

    #[expect(unsafe_code, reason = "cells that the gate keeps apart: that is what is tested")]
    impl Slots {
        fn new(n: usize) -> Slots {
            Slots((0..n).map(|_| UnsafeCell::new(0)).collect())
        }

        fn add(&self, slot: usize) {
            // SAFETY: see above.
            self.0[slot].with_mut(|value| unsafe { *value += 1 });
        }

        fn all(&self) -> Vec<u32> {
            // SAFETY: see above.
            self.0.iter().map(|slot| slot.with(|value| unsafe { *value })).collect()
        }
    }

    /// A gate with `n` helpers, for `f(run)`; `run` is one step.
    fn with_helpers(n: usize, f: impl FnOnce(&dyn Fn(&(dyn Fn(usize) + Sync)))) {
        let gate = Arc::new(Gate::new());
        let helpers: Vec<_> = (1..=n)
            .map(|index| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || gate.help(index))
            })
            .collect();
        f(&|step| {
            #[expect(unsafe_code, reason = "the gate's promise is kept here")]
            // SAFETY: there is one caller, and `n` helpers were started.
            unsafe {
                gate.run(n, step);
            }
        });
        gate.close();
        for helper in helpers {
            helper.join().unwrap();
        }
    }

    /// Every thread works once on every step, and what it wrote is there for the caller and for the next step.
    fn steps(n_helpers: usize, n_steps: u32) {
        in_every_order(most_switches(n_helpers), move || {
            with_helpers(n_helpers, |run| {
                let slots = Slots::new(n_helpers + 1);
                for step in 1..=n_steps {
                    run(&|thread| slots.add(thread));
                    assert_eq!(slots.all(), vec![step; n_helpers + 1]);
                }
            });
        });
    }

    #[test]
    fn one_helper_and_three_steps() {
        steps(1, 3);
    }

    #[test]
    fn two_helpers_and_a_step() {
        steps(2, 1);
    }

    #[test]
    fn two_helpers_and_two_steps() {
        steps(2, 2);
    }

    #[test]
    fn three_helpers_and_a_step() {
        steps(3, 1);
    }

    #[test]
    fn a_gate_that_is_closed_at_once() {
        in_every_order(1, || with_helpers(2, |_| {}));
    }

    /// Whoever throws, it is thrown in that step, the caller's own first, and the next step is none the worse.
    fn panics_end_their_own_step(n_helpers: usize, n_switches: usize, throwing_sets: &[&'static [usize]]) {
        for &throwing in throwing_sets {
            in_every_order(n_switches, move || {
                with_helpers(n_helpers, |run| {
                    let slots = Slots::new(n_helpers + 1);
                    // Without the message that `panic!` would print in every order.
                    let thrown = catch_unwind(AssertUnwindSafe(|| {
                        run(&|thread| {
                            if throwing.contains(&thread) {
                                resume_unwind(Box::new(thread));
                            }
                            slots.add(thread);
                        });
                    }));
                    // Of several helpers any may have been the first.
                    let thrown = *thrown.unwrap_err().downcast_ref::<usize>().unwrap();
                    assert!(throwing.contains(&thrown) && (thrown == 0 || throwing[0] > 0));
                    run(&|thread| slots.add(thread));
                    let expected: Vec<u32> =
                        (0..=n_helpers).map(|thread| 2 - u32::from(throwing.contains(&thread))).collect();
                    assert_eq!(slots.all(), expected);
                });
            });
        }
    }

    #[test]
    fn panics_with_one_helper_end_their_own_step() {
        panics_end_their_own_step(1, 3, &[&[0], &[1], &[0, 1]]);
    }

    #[test]
    fn panics_with_more_helpers_end_their_own_step() {
        panics_end_their_own_step(2, 0, &[&[1], &[2], &[0, 2], &[1, 2]]);
        panics_end_their_own_step(3, 0, &[&[3], &[1, 2, 3]]);
    }

    #[test]
    fn two_helpers_that_panic_at_once_are_one_panic() {
        in_every_order(1, || {
            with_helpers(2, |run| {
                let thrown = catch_unwind(AssertUnwindSafe(|| {
                    run(&|thread| {
                        if thread > 0 {
                            resume_unwind(Box::new(thread));
                        }
                    });
                }));
                assert!([1, 2].contains(thrown.unwrap_err().downcast_ref::<usize>().unwrap()));
            });
        });
    }
}
