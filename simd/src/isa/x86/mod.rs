//! x86-64: AVX2 (Haswell) and AVX-512 (Ice Lake, Zen 4).

mod avx2;
mod avx2_q8;
mod avx512;
mod avx512_q8;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;

/// Wraps intrinsics in a function that has no `#[target_feature]` itself (it is inlined into one that has).
macro_rules! intrinsics {
    ($body:expr) => {
        // SAFETY: every caller holds a level's token. A token is only made by `here`, which can only be called
        // where the level's features are enabled, so the machine has the instructions. Pointers in $body come from
        // references to arrays exactly as long as what is read or written, and the intrinsics used are those that
        // ask for no alignment.
        unsafe { $body }
    };
}
pub(crate) use intrinsics;

/// Element `$at` of a slice, unchecked: the hot loops of the 8-bit products read 16 rows at a time, and a check for
/// each costs more than the products.
macro_rules! element {
    ($slice:expr, $at:expr) => {
        // SAFETY: the functions that use this first check that every slice they read has at least n elements, and
        // their indices come from ranges that end at n.
        unsafe { $slice.get_unchecked($at) }
    };
}
pub(crate) use element;
