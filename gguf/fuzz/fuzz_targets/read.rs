//! Opens one file and uses everything in it. Run in `gguf/`: `mkdir -p fuzz/new-read && cargo +nightly fuzz run read fuzz/new-read fuzz/corpus/read`.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
#[expect(dead_code, reason = "each target runs one of the bodies")]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_bodies::read(bytes);
});
