//! Law 6: inside a token there is no allocation, nor inside a prefill call.

mod common;

use common::{Reference, convert, with_engine};
use fathom::probe::NoProbe;
use fathom::{Session, SessionOptions, Wanted};
use fathom_simd::Kernels;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what it hands on to the system.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

// One test only in this program: another one running beside it would be counted, too.
#[test]
fn no_allocation_in_decode_nor_in_prefill() {
    for (shape, ty) in [("base", "f32"), ("nogroups", "q8_0"), ("dense", "bf16")] {
        let reference = Reference::read(shape);
        let tokens = reference.tokens();
        let model = convert(shape, ty);
        for kernels in Kernels::available() {
            with_engine(&model.path, kernels, 2, |engine| {
                for (batch, mtp) in [(1, false), (7, false), (7, true)] {
                    let mtp = mtp && engine.weights.mtp.is_some();
                    let options =
                        SessionOptions { batch, n_ctx: tokens.len(), mtp, ..SessionOptions::default() };
                    let mut session = Session::new(engine, options).unwrap();
                    let mut rows = 0;
                    let before = ALLOCATIONS.load(Ordering::Relaxed);
                    let wanted = if mtp { Wanted::AllMtp } else { Wanted::All };
                    session
                        .extend(tokens, wanted, &mut NoProbe, &mut |_, logits| rows += logits.len())
                        .unwrap();
                    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
                    let level = kernels.level().name();
                    assert_eq!(allocations, 0, "{shape} {ty} {level}, batch {batch}, mtp {mtp}");
                    assert!(rows > 0);
                }
            });
        }
    }
}
