//! Takes shard names apart. Run: `cargo +nightly fuzz run names target/new-names corpus/names` in this folder's parent.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
#[expect(dead_code, reason = "each target runs one of the bodies")]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_bodies::names(bytes);
});
