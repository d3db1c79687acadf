//! Joins several files into one model. Run in `gguf/`: `mkdir -p fuzz/new-shards && cargo +nightly fuzz run shards fuzz/new-shards fuzz/corpus/shards`.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
#[expect(dead_code, reason = "each target runs one of the bodies")]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_bodies::shards(bytes);
});
