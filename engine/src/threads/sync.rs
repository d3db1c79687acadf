//! What the gate is made of. `tests/loom` has a module of this name with the same things from the crate `loom`.

pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Condvar, Mutex};
pub use std::thread::yield_now;

/// Rounds of pure spinning, some tens of microseconds: longer than the gap between two steps of a token.
pub const SPINS: u32 = 1_000;
/// Rounds of offering the core to others after that, of the order of a millisecond when nobody takes it; then a thread
/// goes to sleep. Offering early matters when there are more threads than free cores: who waits is then in the way of
/// whom it waits for.
pub const YIELDS: u32 = 2_000;

/// A cell whose every access is marked as reading or writing, so that `loom` can tell when two meet.
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// With a value in it.
    pub fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Hands the value to be read.
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Hands the value to be written.
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
