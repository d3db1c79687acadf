//! What the gate is made of here: `loom`'s kinds of the things that `engine/src/threads/sync.rs` takes from the standard library.

pub use loom::cell::UnsafeCell;
pub use loom::hint::spin_loop;
pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub use loom::sync::{Condvar, Mutex};
pub use loom::thread::yield_now;

/// A round of each kind: more of them are the same orders once more.
pub const SPINS: u32 = 0;
/// See [`SPINS`].
pub const YIELDS: u32 = 1;
