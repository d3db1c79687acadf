//! Law 6: inside a token there is no allocation, nor inside a prefill call.

use fathom_engine::probe::NoProbe;
use fathom_engine::{Session, SessionOptions, Wanted};
use fathom_fixtures::{Reference, convert, with_model};
use fathom_simd::Kernels;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts what it hands on to the system.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// From now on every thread that begins counts.
static BEGUN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread counts; nothing before its first allocation. Those of the test's harness, which says something when a
    /// test takes long, were there before.
    static COUNTS: Cell<Option<bool>> = const { Cell::new(None) };
}

fn count() {
    COUNTS.with(|counts| {
        let is_new = counts.get().is_none();
        if is_new {
            counts.set(Some(BEGUN.load(Ordering::Relaxed)));
        }
        if counts.get() == Some(true) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    });
}

// SAFETY: every call is handed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations `work` takes in threads that count.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

// One test only in this program: another one running beside it would be counted, too.
#[test]
fn no_allocation_in_decode_nor_in_prefill() {
    let allocate = || drop(std::hint::black_box(vec![0u8; 100]));
    allocate();
    BEGUN.store(true, Ordering::Relaxed);
    assert_eq!(allocations(allocate), 0, "this thread was there before");
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| {
            assert_eq!(allocations(allocate), 1);
            assert_eq!(std::thread::spawn(move || allocations(allocate)).join().unwrap(), 1);
            measure();
        });
        measured.join().unwrap();
    });
}

fn measure() {
    for (shape, ty) in [("base", "f32"), ("nogroups", "q8_0"), ("dense", "bf16")] {
        let reference = Reference::read(shape);
        let tokens = reference.tokens();
        let model = convert(shape, ty);
        for kernels in Kernels::available() {
            with_model(&model.path, kernels, 2, |engine| {
                for (batch, mtp) in [(1, false), (7, false), (7, true)] {
                    let mtp = mtp && engine.weights().mtp.is_some();
                    let options =
                        SessionOptions { batch, n_ctx: tokens.len(), mtp, ..SessionOptions::default() };
                    let mut session = Session::new(engine, options).unwrap();
                    let mut rows = 0;
                    let wanted = if mtp { Wanted::AllMtp } else { Wanted::All };
                    let allocations = allocations(|| {
                        session
                            .extend(tokens, wanted, &mut NoProbe, &mut |_, logits| rows += logits.len())
                            .unwrap();
                    });
                    let level = kernels.level().name();
                    assert_eq!(allocations, 0, "{shape} {ty} {level}, batch {batch}, mtp {mtp}");
                    assert!(rows > 0);
                }
            });
        }
    }
}
