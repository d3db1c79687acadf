//! The judge: logits and MTP logits against transformers, far beyond `index_topk`, for every shape, source format,
//! batch size and instruction set.

use fathom_engine::SessionOptions;
use fathom_fixtures::{Reference, convert, difference, logits, with_model, with_model_and};
use fathom_simd::Kernels;

/// The contract; what is reached is about 6e-7.
const TOLERANCE: f64 = 1e-5;

/// The likeliest token; of several the first.
fn best(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}

fn rows(all: &[f32], wanted: &[u32], vocab_size: usize) -> Vec<f32> {
    wanted.iter().flat_map(|&row| &all[row as usize * vocab_size..][..vocab_size]).copied().collect()
}

/// Compares one kind of logits for all batch sizes and levels.
fn judge(shape: &str, name: &str, row_name: &str, options: SessionOptions) {
    let reference = Reference::read(shape);
    let (tokens, expected) = (reference.tokens(), reference.values(name));
    let vocab_size = reference.shape(name)[1];
    let model = convert(shape, "f32");
    for kernels in Kernels::available() {
        with_model(&model.path, kernels, 2, |engine| {
            if let Some(index) = engine.config.indexer {
                assert!(tokens.len() >= 5 * index.topk, "{shape}: {} tokens hide the indexer", tokens.len());
                assert!(index.n_heads >= 16, "{shape}: few heads make ties");
            }
            for batch in [1, 7, tokens.len()] {
                let all = logits(engine, SessionOptions { batch, ..options }, tokens);
                let found = rows(&all, reference.ids(row_name), vocab_size);
                let far = difference(&found, expected);
                let level = kernels.level().name();
                assert!(far <= TOLERANCE, "{shape} {name}, batch {batch}, {level}: {far:e}");
                for (found, expected) in found.chunks(vocab_size).zip(expected.chunks(vocab_size)) {
                    assert_eq!(best(found), best(expected), "{shape} {name}, batch {batch}, {level}");
                }
            }
        });
    }
}

fn judge_logits(shape: &str) {
    judge(shape, "logits", "logit_rows", SessionOptions::default());
}

fn judge_mtp(shape: &str) {
    let sparse = SessionOptions { mtp: true, ..SessionOptions::default() };
    judge(shape, "mtp_logits_sparse", "mtp_logit_rows", sparse);
    judge(shape, "mtp_logits_dense", "mtp_logit_rows", SessionOptions { mtp_dense: true, ..sparse });
}

#[test]
fn base() {
    judge_logits("base");
    judge_mtp("base");
}

#[test]
fn base_from_bf16() {
    judge_logits("base/bf16");
}

#[test]
fn base_from_fp8() {
    judge_logits("base/fp8");
    judge_mtp("base/fp8");
}

#[test]
fn dimensions_that_divide_by_nothing() {
    judge_logits("odd");
    judge_mtp("odd");
}

#[test]
fn one_group_and_two_shared_experts() {
    judge_logits("nogroups");
    judge_mtp("nogroups");
}

#[test]
fn dense_sibling() {
    judge_logits("dense");
}

#[test]
fn yarn_in_all_its_zones() {
    judge_logits("long");
    judge_mtp("long");
}

/// `--dense` is the model with an `index_topk` that nothing exceeds, bit for bit; and it is not the sparse model.
#[test]
fn dense_mode_selects_everything() {
    let reference = Reference::read("base");
    let model = convert("base", "f32");
    let kernels = Kernels::best();
    let run = |overrides: &[&str], dense: bool| {
        with_model_and(&model.path, overrides, kernels, 2, |engine| {
            logits(engine, SessionOptions { dense, ..SessionOptions::default() }, reference.tokens())
        })
    };
    let dense = run(&[], true);
    fathom_fixtures::assert_same_bits(
        &dense,
        &run(&["deepseek32.attention.indexer.top_k=int:100"], false),
        "dense mode",
    );
    assert!(difference(&dense, &run(&[], false)) > 1e-2);
}

/// Both forms of config.json describe the same model.
#[test]
fn the_form_transformers_writes() {
    let folder = tempfile::tempdir().unwrap();
    let source = fathom_fixtures::reference_folder("base");
    std::fs::copy(source.join("config.transformers.json"), folder.path().join("config.json")).unwrap();
    std::fs::copy(source.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let model = fathom_fixtures::convert_folder(folder.path(), "f32");
    let reference = Reference::read("base");
    let found = with_model(&model.path, Kernels::best(), 2, |engine| {
        logits(engine, SessionOptions::default(), reference.tokens())
    });
    assert!(difference(&found, reference.values("logits")) <= TOLERANCE);
}
