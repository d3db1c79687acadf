//! Takes shard names apart. Run in `gguf/`: `mkdir -p fuzz/new-names && cargo +nightly fuzz run names fuzz/new-names fuzz/corpus/names`.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
#[expect(dead_code, reason = "each target runs one of the bodies")]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_bodies::names(bytes);
});
