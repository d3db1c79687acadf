//! The model inside the program, used where no other is named.
//!
//! `models/README.md` says how its file is made. A build without the feature `builtin-model` has none.

/// What messages call it.
pub const NAME: &str = "the built-in model";

/// Its GGUF file.
#[cfg(feature = "builtin-model")]
pub fn file() -> Option<&'static [u8]> {
    /// A cache line: no kernel asks for it, but rows that straddle lines are slower to read.
    #[repr(C, align(64))]
    struct Aligned<B: ?Sized>(B);
    static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!("../models/builtin/builtin.gguf"));
    Some(&FILE.0)
}

/// Its GGUF file: this build has none.
#[cfg(not(feature = "builtin-model"))]
pub fn file() -> Option<&'static [u8]> {
    None
}
