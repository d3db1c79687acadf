//! Fathom and llama.cpp compute the same logits from the same files, whichever of the two made them.
//!
//! Needs `FATHOM_BIN`, the program, and `INTEROP_PYTHON`, an interpreter with numpy and gguf (`run.sh` sets both
//! up). Without them every test passes with a word on standard error: a plain `cargo test` has neither.

mod bench;

use std::path::Path;

use bench::{Bench, KL_BOUND, REL_BOUND};
use fathom_interop::compare::distance;
use fathom_interop::tokens;

/// Tokens in most runs: over five times the index top-k of the checkpoints.
const N_TOKENS: usize = 48;

/// Fathom converts, both compute; `told` goes to llama.cpp only.
fn forward(kind: &str, n_tokens: usize, told: &[&str]) {
    let Some(bench) = Bench::new(n_tokens) else { return };
    let checkpoint = bench.checkpoint(kind);
    let file = bench.quantize(&checkpoint, "f32");
    bench.exact(&format!("{kind} f32"), &bench.llama(&file, told), &bench.fathom(&file, &[]));
    if kind.starts_with("v32") {
        drafts(&bench, kind, &file, told);
    }
}

/// Draft rows, dense on both sides: llama.cpp's MTP block has no indexer, and a top-k past every context
/// makes its trunk dense too.
fn drafts(bench: &Bench, what: &str, file: &Path, told: &[&str]) {
    let dense = ["--mtp", "--override-kv", "deepseek32.attention.indexer.top_k=int:1000000"];
    let dense = [&dense[..], told].concat();
    bench.exact(
        &format!("{what} drafts"),
        &bench.llama(file, &dense),
        &bench.fathom(file, &["--mtp", "--dense"]),
    );
}

#[test]
fn fathoms_file_of_v32() {
    forward("v32", N_TOKENS, &[]);
}

#[test]
fn fathoms_file_of_odd_sizes() {
    // llama.cpp does not read the betas of this family's files; the other checkpoints have its own 32 and 1.
    forward("v32-odd", N_TOKENS, &["--yarn-betas", "16", "2"]);
}

#[test]
fn fathoms_file_without_groups() {
    forward("v32-nogroups", N_TOKENS, &[]);
}

#[test]
fn fathoms_file_past_the_trained_context() {
    forward("v32-long", 220, &[]);
}

#[test]
fn fathoms_file_of_v3() {
    forward("v3", N_TOKENS, &[]);
}

#[test]
fn fathoms_file_of_256_experts() {
    forward("v3-256", N_TOKENS, &[]);
}

/// The dense reference checkpoint, whose numbers come from transformers. The sparse ones have index heads that
/// llama.cpp cannot rotate.
#[test]
fn fathoms_file_of_the_dense_reference() {
    let Some(bench) = Bench::new(N_TOKENS) else { return };
    let folder = bench.reference("dense");
    let file = bench.quantize(&folder, "f32");
    bench.exact("dense reference f32", &bench.llama(&file, &[]), &bench.fathom(&file, &[]));
}

/// Narrow types round activations differently on the two sides, and a tiny random router turns that into other
/// experts: only the divergence means something.
#[test]
fn fathoms_narrow_files_load_and_stay_close() {
    let Some(bench) = Bench::new(N_TOKENS) else { return };
    let checkpoint = bench.checkpoint("v32");
    let exact = bench.fathom(&bench.quantize(&checkpoint, "f32"), &[]);
    for ty in ["f16", "bf16", "q8_0"] {
        let file = bench.quantize(&checkpoint, ty);
        let (llama, fathom) = (bench.llama(&file, &[]), bench.fathom(&file, &[]));
        bench.close(&format!("v32 {ty}, llama.cpp to Fathom"), &llama, &fathom);
        bench.close(&format!("v32 {ty}, f32 to Fathom"), &exact, &fathom);
        bench.close(&format!("v32 {ty}, f32 to llama.cpp"), &exact, &llama);
    }
}

#[test]
fn converters_deepseek32() {
    let Some(bench) = Bench::new(N_TOKENS) else { return };
    let checkpoint = bench.checkpoint("v32");
    let file = bench.layout(&checkpoint, "deepseek32", &[]);
    let fathom = bench.fathom(&file, &[]);
    bench.exact("deepseek32 f32", &bench.llama(&file, &[]), &fathom);
    bench.exact("deepseek32 f32 one by one", &bench.llama(&file, &["--batch", "1"]), &fathom);
    drafts(&bench, "deepseek32 f32", &file, &[]);
    let own = bench.fathom(&bench.quantize(&checkpoint, "f32"), &[]);
    assert!(own == fathom, "Fathom's file and the converter's file give different bits");

    let trunk = bench.layout(&checkpoint, "deepseek32", &["--no-mtp"]);
    assert!(bench.fathom(&trunk, &[]) == fathom, "the MTP block changes the trunk's bits");
    let narrow = bench.layout(&checkpoint, "deepseek32", &["--type", "q8_0"]);
    bench.close("deepseek32 q8_0", &bench.llama(&narrow, &[]), &bench.fathom(&narrow, &[]));
}

#[test]
fn converters_deepseek2_layouts() {
    let Some(bench) = Bench::new(N_TOKENS) else { return };
    let checkpoint = bench.checkpoint("v3");
    for groups in [&[][..], &["--no-groups"][..]] {
        let said = groups.first().copied().unwrap_or("");
        let [split, legacy, ik] =
            ["split", "legacy", "ik"].map(|name| bench.layout(&checkpoint, name, groups));
        let right = bench.llama(&legacy, &[]);
        bench.exact(&format!("split {said}"), &bench.llama(&split, &[]), &bench.fathom(&split, &[]));
        bench.exact(&format!("legacy {said}"), &right, &bench.fathom(&legacy, &[]));
        // llama.cpp refuses this one for its extra tensors; the same weights lie in the legacy file.
        assert!(bench.refused_by_llama(&ik), "llama.cpp loads the ik layout now: compare it directly");
        bench.exact(&format!("ik {said}"), &right, &bench.fathom(&ik, &[]));
    }
}

#[test]
fn converters_deepseek2_layouts_in_q8_0() {
    let Some(bench) = Bench::new(N_TOKENS) else { return };
    let checkpoint = bench.checkpoint("v3");
    let narrow = |layout| bench.layout(&checkpoint, layout, &["--type", "q8_0"]);
    let (split, legacy, ik) = (narrow("split"), narrow("legacy"), narrow("ik"));
    let right = bench.llama(&legacy, &[]);
    bench.close("split q8_0", &bench.llama(&split, &[]), &bench.fathom(&split, &[]));
    bench.close("legacy q8_0", &right, &bench.fathom(&legacy, &[]));
    bench.close("ik q8_0", &right, &bench.fathom(&ik, &[]));
}

/// Files without the group keys: llama.cpp then groups nothing, Fathom takes 8 and 4 where 256 experts tell the
/// model. Each does it the other's way when told so.
#[test]
fn missing_group_keys() {
    let Some(bench) = Bench::new(N_TOKENS) else { return };
    let file = bench.layout(&bench.checkpoint("v3-256"), "legacy", &["--no-groups"]);
    let key = |name: &str, value: u32| format!("deepseek2.expert_group_{name}=int:{value}");
    let (count, used) = (key("count", 8), key("used_count", 4));
    let told = bench.llama(&file, &["--override-kv", &count, "--override-kv", &used]);
    bench.exact("256 experts, 8 groups", &told, &bench.fathom(&file, &[]));
    let (count, used) = (key("count", 1), key("used_count", 1));
    let plain = bench.fathom(&file, &["--override-kv", &count, "--override-kv", &used]);
    bench.exact("256 experts, no groups", &bench.llama(&file, &[]), &plain);
}

/// V3.2 converted as if it were V3, as before llama.cpp knew the indexer: dense attention over the same weights.
#[test]
fn v32_as_deepseek2_is_dense() {
    let Some(bench) = Bench::new(N_TOKENS) else { return };
    let checkpoint = bench.checkpoint("v32");
    let dropped = bench.layout(&checkpoint, "split", &[]);
    let dense = bench.fathom(&dropped, &[]);
    bench.exact("V3.2 without indexer", &bench.llama(&dropped, &[]), &dense);
    let whole = bench.layout(&checkpoint, "deepseek32", &[]);
    let found = bench.exact("V3.2 --dense", &dense, &bench.fathom(&whole, &["--dense"]));
    assert!(found.same_bits, "--dense and a file without an indexer give different bits");
    let sparse = distance(&dense, &bench.fathom(&whole, &[]));
    assert!(sparse.max_rel > 1000.0 * REL_BOUND && sparse.mean_kl > KL_BOUND, "the selection is not active");
}

/// The tokenizer in Fathom's file means to llama.cpp what it means to transformers, which made the vectors.
#[test]
fn fathoms_tokenizer_gives_the_reference_ids() {
    let Some(bench) = Bench::new(N_TOKENS) else { return };
    let folder = bench.reference("base");
    let text = std::fs::read_to_string(folder.join("tokenizer_vectors.json")).expect("the vectors are there");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list of vectors");
    let texts = vectors.iter().map(|vector| vector["text"].as_str().expect("a text"));
    let found = tokens::ids(&bench.quantize(&folder, "f32"), texts).expect("llama.cpp loads the vocabulary");
    let mut wrong = Vec::new();
    for (vector, ids) in vectors.iter().zip(&found) {
        if vector["ids"] != serde_json::json!(ids) {
            wrong.push(format!("{} is {} and not {ids:?}", vector["text"], vector["ids"]));
        }
    }
    println!("tokenizer: {} of {} texts", vectors.len() - wrong.len(), vectors.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A tokenizer in the file changes nothing about the weights, on either side.
#[test]
fn a_tokenizer_leaves_the_logits_alone() {
    let Some(bench) = Bench::new(N_TOKENS) else { return };
    let reference = bench.reference("base");
    let checkpoint = bench.checkpoint("v32");
    let bare = bench.quantize(&checkpoint, "f32");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(reference.join(name), checkpoint.join(name)).expect("the tokenizer is there");
    }
    let with = bench.quantize(&checkpoint, "f32");
    assert!(bench.llama(&bare, &[]) == bench.llama(&with, &[]), "llama.cpp computes something else");
    assert!(bench.fathom(&bare, &[]) == bench.fathom(&with, &[]), "Fathom computes something else");
}

/// `fathom perplexity` against the formula over llama.cpp's logits.
#[test]
fn perplexity_is_that_of_llama_cpps_logits() {
    let Some(mut bench) = Bench::new(N_TOKENS) else { return };
    let reference = bench.reference("base");
    let checkpoint = bench.checkpoint("v32");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(reference.join(name), checkpoint.join(name)).expect("the tokenizer is there");
    }
    let text =
        "It was a bright cold day in April, and the clocks were striking thirteen; 1984 + 16 = 2000.\n"
            .repeat(2);
    for (ty, bound) in [("f32", 1e-5), ("q8_0", 5e-2)] {
        let file = bench.quantize(&checkpoint, ty);
        let text = bench.read_text(&file, &text, 96);
        let (theirs, ours) = (bench.perplexity_of(&bench.llama(&file, &[])), bench.perplexity(&file, &text));
        println!("perplexity, {ty}: llama.cpp {theirs:.4}, Fathom {ours:.4}");
        // On random weights a last bit of a narrow type can choose other experts.
        assert!((ours / theirs - 1.0).abs() < bound, "{ty}: {ours} and {theirs}");
    }
}
