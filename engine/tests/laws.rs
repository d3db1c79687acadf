//! Law 4: on one instruction-set level, the same file and tokens give the same bits for any number of threads, any
//! batch, however memory is laid out, and after going back and forth.

use fathom_arch::config::Overrides;
use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::mmap::{Mapping, Watch};
use fathom_engine::threads::Seats;
use fathom_engine::{Model, Session, SessionOptions, Wanted};
use fathom_fixtures::{Reference, assert_same_bits, convert, extend, logits, with_model};
use fathom_gguf::Gguf;
use fathom_simd::{Format, Kernels};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn options(mtp: bool) -> SessionOptions {
    SessionOptions { mtp, ..SessionOptions::default() }
}

fn same_bits(shape: &str, ty: &str, options: SessionOptions) {
    same_bits_of(shape, ty, options, Reference::read(shape).tokens());
}

fn same_bits_of(shape: &str, ty: &str, options: SessionOptions, tokens: &[u32]) {
    let model = convert(shape, ty);
    for kernels in Kernels::available() {
        let level = kernels.level().name();
        let mut expected: Option<Vec<f32>> = None;
        for n_threads in [1, 2, 3] {
            with_model(&model.path, kernels, n_threads, |engine| {
                for batch in [1, 2, 7, tokens.len()] {
                    let found = logits(engine, SessionOptions { batch, ..options }, tokens);
                    let what = format!("{shape} {ty} {level}, {n_threads} threads, batch {batch}");
                    assert_same_bits(&found, expected.get_or_insert_with(|| found.clone()), &what);
                }
            });
        }
    }
}

/// A machine with two memory nodes of two processors each.
fn two_nodes() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("proc/self/status", "Cpus_allowed_list:\t0-3\n"),
        ("sys/devices/system/node/online", "0-1\n"),
        ("sys/devices/system/node/node0/cpulist", "0-1\n"),
        ("sys/devices/system/node/node1/cpulist", "2-3\n"),
    ];
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn memory_nodes() {
    let reference = Reference::read("base");
    let tokens = reference.tokens();
    let model = convert("base", "q8_0");
    let expected =
        with_model(&model.path, Kernels::best(), 1, |engine| logits(engine, options(true), tokens));
    for n_threads in [2, 3] {
        let seats = Seats::read(two_nodes().path(), n_threads);
        assert_eq!(seats.n_nodes(), 2);
        let mapped = Mapping::open(&model.path).unwrap();
        let placement = mapped.placement(&Gguf::from_shards(mapped.shards()).unwrap(), &seats);
        assert!(placement.runs(0).len() > 2, "{placement:?}");
        let watch = Watch { stop: &AtomicBool::new(false), progress: &|_| {} };
        mapped.warm(&placement, watch).unwrap();
        let read = Mapping::open(&model.path).unwrap().into_memory(&placement, watch).unwrap();
        for mapping in [mapped, read] {
            let engine = Model::of(mapping, &Overrides::default(), Kernels::best(), &seats).unwrap();
            let engine = Arc::new(engine);
            for batch in [1, 7] {
                let found = logits(&engine, SessionOptions { batch, ..options(true) }, tokens);
                assert_same_bits(&found, &expected, &format!("{n_threads} threads, batch {batch}"));
            }
        }
    }
}

#[test]
fn threads_and_batches_f32() {
    same_bits("base", "f32", options(false));
    same_bits("base", "f32", options(true));
}

#[test]
fn threads_and_batches_half_precision() {
    same_bits("base", "bf16", options(false));
    same_bits("odd", "f16", options(false));
}

#[test]
fn threads_and_batches_q8_0() {
    same_bits("nogroups", "q8_0", options(false));
    same_bits("nogroups", "q8_0", options(true));
}

#[test]
fn threads_and_batches_of_presets() {
    // Rows of tiny models fall back to blocks of 32: q5_0, q5_1, q4_0 and q8_0.
    same_bits("nogroups", "q4_k_m", options(false));
    same_bits("nogroups", "q5_k_m", options(false));
    same_bits("nogroups", "q2_k", options(true));
}

#[test]
fn threads_and_batches_with_small_caches() {
    for (latent, index) in [(Format::F16, IndexType::F16), (Format::BF16, IndexType::Q8)] {
        let cache = CacheTypes { latent, index };
        same_bits("nogroups", "q8_0", SessionOptions { cache, ..options(false) });
    }
}

#[test]
fn threads_and_batches_long_and_dense() {
    same_bits("long", "f32", options(false));
    same_bits("dense", "f32", options(false));
}

/// Contexts of more than one segment, which few heads share with many threads.
#[test]
fn threads_and_batches_of_several_segments() {
    let reference = Reference::read("long");
    let tokens: Vec<u32> = reference.tokens().iter().copied().cycle().take(600).collect();
    same_bits_of("long", "q8_0", SessionOptions { dense: true, ..options(true) }, &tokens);
}

/// Going back and on again, with another text in between, leaves no trace: caches, index keys and the MTP layer's
/// starting state included.
#[test]
fn truncating_and_extending_again() {
    let index_types = [IndexType::F32, IndexType::Q8];
    for ((shape, ty), index) in [("base", "f32"), ("nogroups", "q8_0")].into_iter().zip(index_types) {
        let reference = Reference::read(shape);
        let tokens = reference.tokens();
        let model = convert(shape, ty);
        let cache = CacheTypes { latent: Format::F32, index };
        for kernels in Kernels::available() {
            with_model(&model.path, kernels, 2, |engine| {
                for (mtp, wanted) in [(false, Wanted::All), (true, Wanted::AllMtp)] {
                    let options = SessionOptions { cache, ..options(mtp) };
                    let expected = logits(engine, options, tokens);
                    let mut session = Session::new(engine, SessionOptions { batch: 7, ..options }).unwrap();
                    extend(&mut session, &tokens[..30], Wanted::Nothing);
                    session.truncate(19);
                    let other: Vec<u32> = tokens[..15].iter().rev().copied().collect();
                    extend(&mut session, &other, Wanted::Nothing);
                    session.truncate(13);
                    let found = extend(&mut session, &tokens[13..], wanted);
                    let tail = &expected[expected.len() - found.len()..];
                    let level = kernels.level().name();
                    assert_same_bits(&found, tail, &format!("{shape} {ty} {level}, mtp {mtp}"));
                    assert_eq!(session.tokens(), tokens);
                }
            });
        }
    }
}

/// `sync` reuses the common prefix and gives what a new session gives.
#[test]
fn sync_reuses_the_common_prefix() {
    let reference = Reference::read("base");
    let tokens = reference.tokens();
    let model = convert("base", "f32");
    with_model(&model.path, Kernels::best(), 2, |engine| {
        let fresh = |tokens: &[u32]| {
            let mut session = Session::new(engine, SessionOptions::default()).unwrap();
            session.sync(tokens).unwrap().to_vec()
        };
        let mut session = Session::new(engine, SessionOptions::default()).unwrap();
        let mut edited = tokens.to_vec();
        edited[25] ^= 1;
        for list in [&tokens[..20], tokens, tokens, &edited, &tokens[..33], &tokens[..1]] {
            let alone = session.sync(list).unwrap().to_vec();
            assert_same_bits(&alone, &fresh(list), "sync");
            assert_eq!(session.tokens(), list);
            // Where only the last token's logits are wanted, the others leave the last layer early.
            let all = logits(engine, SessionOptions::default(), list);
            assert_same_bits(&alone, &all[all.len() - alone.len()..], "the last of all");
        }
    });
}

#[test]
fn a_refused_call_leaves_the_session_as_it_was() {
    let reference = Reference::read("base");
    let tokens = reference.tokens();
    let model = convert("base", "f32");
    with_model(&model.path, Kernels::best(), 1, |engine| {
        let mut session =
            Session::new(engine, SessionOptions { n_ctx: 32, ..SessionOptions::default() }).unwrap();
        let expected = session.sync(&tokens[..20]).unwrap().to_vec();
        let full = session.sync(&tokens[..33]).unwrap_err().to_string();
        assert!(full.contains("it has room for 32 tokens, and 33 are needed"), "{full}");
        // The place is one in what was given, however much of that the session holds already.
        for n_held in [0, 1, 15] {
            let mut list = tokens[..n_held].to_vec();
            list.extend([tokens[n_held] ^ 1, 2, 100_000]);
            let foreign = session.sync(&list).unwrap_err().to_string();
            let told = format!("token {} of the input: expected an id below 320, found 100000", n_held + 2);
            assert!(foreign.contains(&told), "{foreign}");
        }
        let pushed = session.push(100_000).unwrap_err().to_string();
        assert!(pushed.contains("token 0 of the input"), "{pushed}");
        assert_same_bits(session.sync(&tokens[..20]).unwrap(), &expected, "after refusals");
    });
}
