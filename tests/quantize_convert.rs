//! `fathom quantize` on the reference checkpoints: every tensor against the checkpoint's own numbers, by a second set of
//! rules written here (names, FP8, kv_b's halves, expert order, encodings), read with the `safetensors` crate.

#[path = "common/program.rs"]
mod program;

use fathom_gguf::{GgufFile, TensorType};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

fn quantize(folder: &Path, out: &Path, more: &[&str]) -> Vec<u8> {
    let run = program::fathom().arg("quantize").arg(folder).arg("-o").arg(out).args(more).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    fs::read(out).unwrap()
}

/// Tests of the libraries convert without the program: they speak of the same files.
#[test]
fn fixtures_are_what_the_program_writes() {
    let out = tempfile::tempdir().unwrap();
    for (shape, ty) in [("base", "f32"), ("nogroups", "q8_0"), ("dense", "bf16"), ("base/fp8", "q4_0")] {
        let written = quantize(&reference(shape), &out.path().join("out.gguf"), &["--type", ty, "--force"]);
        let fixture = fs::read(fathom_fixtures::convert(shape, ty).path).unwrap();
        assert!(written == fixture, "{shape} {ty}: the fixture is another file");
    }
}

/// A checkpoint as f32, by name: all rules applied.
struct Truth(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Truth {
    fn read(folder: &Path) -> Truth {
        let mut truth = HashMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.starts_with("model") || !name.ends_with(".safetensors") {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            for (name, view) in tensors.tensors() {
                let scales = tensors.tensor(&format!("{name}_scale_inv")).ok();
                truth.insert(name, (view.shape().to_vec(), decode(&view, scales.as_ref())));
            }
        }
        Truth(truth)
    }

    fn values(&self, name: &str) -> &[f32] {
        &self.0.get(name).unwrap_or_else(|| panic!("{name} is not in the checkpoint")).1
    }
}

fn decode(view: &TensorView<'_>, scales: Option<&TensorView<'_>>) -> Vec<f32> {
    let data = view.data();
    let four = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    match view.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(four).collect(),
        Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::F8_E4M3 => {
            let scales = scales.expect("FP8 has scales");
            let (cols, scale_cols) = (view.shape()[1], scales.shape()[1]);
            let scales = decode(scales, None);
            let value = |(at, &code): (usize, &u8)| {
                e4m3(code) * scales[at / cols / 128 * scale_cols + at % cols / 128]
            };
            data.iter().enumerate().map(value).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match exponent {
        0 => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if code >= 128 { -magnitude } else { magnitude }
}

/// GGUF name to checkpoint name; `None` for tensors that are made of something else than one array.
fn hf_name(gguf: &str) -> Option<String> {
    let whole = [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
    ];
    if let Some((_, name)) = whole.iter().find(|(g, _)| *g == gguf) {
        return Some((*name).to_owned());
    }
    let parts = [
        ("attn_norm.weight", "input_layernorm.weight"),
        ("ffn_norm.weight", "post_attention_layernorm.weight"),
        ("attn_q_a.weight", "self_attn.q_a_proj.weight"),
        ("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"),
        ("attn_q_b.weight", "self_attn.q_b_proj.weight"),
        ("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"),
        ("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"),
        ("attn_output.weight", "self_attn.o_proj.weight"),
        ("indexer.attn_q_b.weight", "self_attn.indexer.wq_b.weight"),
        ("indexer.attn_k.weight", "self_attn.indexer.wk.weight"),
        ("indexer.k_norm.weight", "self_attn.indexer.k_norm.weight"),
        ("indexer.k_norm.bias", "self_attn.indexer.k_norm.bias"),
        ("indexer.proj.weight", "self_attn.indexer.weights_proj.weight"),
        ("ffn_gate.weight", "mlp.gate_proj.weight"),
        ("ffn_up.weight", "mlp.up_proj.weight"),
        ("ffn_down.weight", "mlp.down_proj.weight"),
        ("ffn_gate_inp.weight", "mlp.gate.weight"),
        ("exp_probs_b.bias", "mlp.gate.e_score_correction_bias"),
        ("ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"),
        ("ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"),
        ("ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"),
        ("nextn.eh_proj.weight", "eh_proj.weight"),
        ("nextn.enorm.weight", "enorm.weight"),
        ("nextn.hnorm.weight", "hnorm.weight"),
        ("nextn.shared_head_norm.weight", "shared_head.norm.weight"),
        ("nextn.embed_tokens.weight", "embed_tokens.weight"),
        ("nextn.shared_head_head.weight", "shared_head.head.weight"),
    ];
    let (_, layer, rest) = split(gguf);
    let (_, name) = parts.iter().find(|(g, _)| *g == rest)?;
    Some(format!("model.layers.{layer}.{name}"))
}

/// `blk.3.attn_norm.weight` in its three parts.
fn split(gguf: &str) -> (&str, &str, &str) {
    let mut parts = gguf.splitn(3, '.');
    (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
}

/// What a tensor must hold, in the file's order.
fn expected(gguf: &str, shape: &[usize], truth: &Truth) -> Vec<f32> {
    if let Some(name) = hf_name(gguf) {
        return truth.values(&name).to_vec();
    }
    let (_, layer, rest) = split(gguf);
    let kv_b = || truth.values(&format!("model.layers.{layer}.self_attn.kv_b_proj.weight"));
    let experts = |matrix: &str| {
        let expert = |e| truth.values(&format!("model.layers.{layer}.mlp.experts.{e}.{matrix}.weight"));
        (0..shape[0]).flat_map(expert).copied().collect()
    };
    match rest {
        "ffn_gate_exps.weight" => experts("gate_proj"),
        "ffn_up_exps.weight" => experts("up_proj"),
        "ffn_down_exps.weight" => experts("down_proj"),
        // Element (d, c, h) of ggml is W[h * (nope + v) + d][c].
        "attn_k_b.weight" => {
            let (heads, rank, nope) = (shape[0], shape[1], shape[2]);
            let rows = kv_b().len() / rank / heads;
            let at = |h, c, d| kv_b()[(h * rows + d) * rank + c];
            (0..heads)
                .flat_map(|h| (0..rank).flat_map(move |c| (0..nope).map(move |d| at(h, c, d))))
                .collect()
        }
        // Element (c, d, h) is W[h * (nope + v) + nope + d][c].
        "attn_v_b.weight" => {
            let (heads, v, rank) = (shape[0], shape[1], shape[2]);
            let rows = kv_b().len() / rank / heads;
            let at = |h, d, c| kv_b()[(h * rows + rows - v + d) * rank + c];
            (0..heads).flat_map(|h| (0..v).flat_map(move |d| (0..rank).map(move |c| at(h, d, c)))).collect()
        }
        other => panic!("unexpected tensor {other}"),
    }
}

fn encoded(values: &[f32], ty: TensorType) -> Vec<u8> {
    match ty {
        TensorType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        TensorType::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        TensorType::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        TensorType::Q8_0 => values.chunks(32).flat_map(q8_0).collect(),
        other => panic!("{other}"),
    }
}

fn q8_0(values: &[f32]) -> Vec<u8> {
    let d = values.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let bytes = values.iter().map(|v| (v * inverse).round() as i8 as u8);
    f16::from_f32(d).to_le_bytes().into_iter().chain(bytes).collect()
}

/// The type a matrix must have when everything is asked for in `asked`.
fn type_of(gguf: &str, shape: &[usize], asked: TensorType) -> TensorType {
    let exact = [
        "_norm.weight",
        "bias",
        "ffn_gate_inp.weight",
        "indexer.proj.weight",
        "enorm.weight",
        "hnorm.weight",
    ];
    if exact.iter().any(|end| gguf.ends_with(end)) {
        TensorType::F32
    } else if !shape.last().unwrap().is_multiple_of(asked.block_len()) {
        TensorType::F16
    } else {
        asked
    }
}

fn check(shape: &str, name: &str, n_tensors: usize) {
    let temp = tempfile::tempdir().unwrap();
    let truth = Truth::read(&reference(shape));
    let asked = TensorType::from_name(name).unwrap();
    let bytes = quantize(&reference(shape), &temp.path().join("out.gguf"), &["--type", name]);
    let file = GgufFile::parse(&bytes).unwrap();
    assert_eq!(file.tensors().len(), n_tensors, "{shape}");
    for tensor in file.tensors() {
        let dims = tensor.shape.dims();
        assert_eq!(tensor.ty, type_of(tensor.name, dims, asked), "{shape} {}", tensor.name);
        let values = expected(tensor.name, dims, &truth);
        assert!(tensor.data() == encoded(&values, tensor.ty), "{shape} {} as {name}", tensor.name);
    }
}

#[test]
fn every_tensor_of_every_reference_checkpoint_is_the_checkpoints() {
    // Global 3; a layer has 10 (attention, norms), 5 (indexer), 3 (dense) or 5 (experts) and 3 (shared); MTP has 4, and
    // 2 copies where they are stored.
    let layer = |indexer: usize, dense| 10 + indexer + if dense { 3 } else { 8 };
    let count = |indexer, moe: usize, nextn| 3 + layer(indexer, true) + moe * layer(indexer, false) + nextn;
    for (shape, n_tensors) in [
        ("base", count(5, 3, 4)),
        ("base/bf16", count(5, 2, 0)),
        ("base/fp8", count(5, 3, 4)),
        ("odd", count(5, 2, 4)),
        ("nogroups", count(5, 2, 6)),
        ("dense", count(0, 2, 0)),
        ("long", count(5, 2, 4)),
    ] {
        for name in ["f32", "f16", "bf16", "q8_0"] {
            check(shape, name, n_tensors);
        }
    }
}

#[test]
fn the_file_does_not_depend_on_the_number_of_threads() {
    let temp = tempfile::tempdir().unwrap();
    let file = |threads: &str| {
        let out = temp.path().join(format!("{threads}.gguf"));
        quantize(&reference("base/fp8"), &out, &["--type", "q8_0", "--threads", threads])
    };
    let one = file("1");
    assert!(one == file("2") && one == file("7"));
}

#[test]
fn exceptions_change_the_tensors_they_name() {
    let temp = tempfile::tempdir().unwrap();
    let more = ["--type", "q8_0", "--tensor-type", "^blk", "--tensor-type", "ffn_down_exps=F32"];
    let out = temp.path().join("out.gguf");
    let run = program::fathom()
        .arg("quantize")
        .arg(reference("nogroups"))
        .args(["-o", out.to_str().unwrap()])
        .args(more)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2), "an exception without a type");
    let more = ["--type", "q8_0", "--tensor-type", "^blk=bf16", "--tensor-type", "ffn_down_exps=F32"];
    let bytes = quantize(&reference("nogroups"), &out, &more);
    let file = GgufFile::parse(&bytes).unwrap();
    let types: BTreeMap<&str, TensorType> = file.tensors().iter().map(|t| (t.name, t.ty)).collect();
    assert_eq!(types["token_embd.weight"], TensorType::Q8_0);
    assert_eq!(types["blk.0.attn_q_a.weight"], TensorType::BF16);
    assert_eq!(types["blk.1.ffn_down_exps.weight"], TensorType::F32);
    assert_eq!(types["blk.1.ffn_gate_inp.weight"], TensorType::F32);
    assert_eq!(file.metadata().u32("general.file_type").unwrap(), Some(32));
}

#[test]
fn the_tokenizer_travels_in_the_file() {
    let temp = tempfile::tempdir().unwrap();
    let bytes = quantize(&reference("base"), &temp.path().join("out.gguf"), &["--type", "q8_0"]);
    let file = GgufFile::parse(&bytes).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.str("general.name").unwrap(), Some("base"));
    let more = ["--type", "q8_0", "--name", "A telling name"];
    let named = quantize(&reference("base"), &temp.path().join("named.gguf"), &more);
    let named = GgufFile::parse(&named).unwrap();
    assert_eq!(named.metadata().str("general.name").unwrap(), Some("A telling name"));
    assert_eq!(metadata.str("tokenizer.ggml.model").unwrap(), Some("gpt2"));
    assert_eq!(metadata.str("tokenizer.ggml.pre").unwrap(), Some("deepseek-v3"));
    let tokens: Vec<&str> = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap().collect();
    let kinds = metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    assert_eq!((tokens.len(), kinds.len()), (320, 320));
    // tests/reference/README.md: 3 leading specials, 256 bytes, 36 merges, 14 added tokens, fillers from 309.
    assert_eq!(kinds.iter().filter(|k| **k == 1).count(), 256 + 36);
    assert_eq!(kinds.iter().filter(|k| **k == 5).count(), 320 - 309);
    assert_eq!((tokens[319], kinds[319]), ("[PAD319]", 5));
    let kind = |text: &str| kinds[tokens.iter().position(|t| *t == text).unwrap()];
    assert_eq!((kind("<think>"), kind("<｜User｜>"), kind("｜DSML｜")), (4, 3, 3));
    assert_eq!(metadata.strings("tokenizer.ggml.merges").unwrap().unwrap().count(), 36);
    assert_eq!(metadata.u32("tokenizer.ggml.bos_token_id").unwrap(), Some(0));
    assert_eq!(metadata.u32("tokenizer.ggml.eos_token_id").unwrap(), Some(1));
}

#[test]
fn a_checkpoint_without_a_tokenizer_says_so_in_the_file() {
    let temp = tempfile::tempdir().unwrap();
    let bytes = quantize(&reference("dense"), &temp.path().join("out.gguf"), &["--type", "f16"]);
    let file = GgufFile::parse(&bytes).unwrap();
    assert_eq!(file.metadata().str("general.architecture").unwrap(), Some("deepseek2"));
    assert_eq!(file.metadata().str("tokenizer.ggml.model").unwrap(), Some("none"));
    assert_eq!(file.metadata().u32("deepseek2.vocab_size").unwrap(), Some(320));
    assert_eq!(file.metadata().u32("general.file_type").unwrap(), Some(1));
}

#[test]
fn a_dry_run_foretells_the_file_to_the_byte_and_writes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out.gguf");
    let run = program::fathom()
        .arg("quantize")
        .arg(reference("base/fp8"))
        .args(["--type", "q8_0", "--dry-run", "--json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let roles = report["roles"].as_array().unwrap();
    let sum: u64 = roles.iter().map(|role| role["bytes"].as_u64().unwrap()).sum();
    assert_eq!(report["tensor_bytes"], sum);
    let bytes = quantize(&reference("base/fp8"), &out, &["--type", "q8_0"]);
    assert_eq!(report["file_bytes"], bytes.len());
    let table = program::fathom()
        .current_dir(temp.path())
        .arg("quantize")
        .arg(reference("base/fp8"))
        .args(["--type", "q8_0", "--dry-run", "-o", "never.gguf"])
        .output()
        .unwrap();
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.contains(&format!("file size: {} bytes", bytes.len())), "{text}");
    assert!(!temp.path().join("never.gguf").exists());
}

#[test]
fn scales_of_every_kind_give_the_same_file() {
    let temp = tempfile::tempdir().unwrap();
    let published = quantize(&reference("base/fp8"), &temp.path().join("fp8.gguf"), &["--type", "f32"]);
    for dtype in [Dtype::BF16, Dtype::F8_E8M0] {
        // The reference's scales are powers of two, which both types hold exactly.
        let folder = temp.path().join(format!("{dtype:?}")).join("fp8");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(reference("base/fp8/config.json"), folder.join("config.json")).unwrap();
        let bytes = fs::read(reference("base/fp8/model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let converted: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| match name.ends_with("_scale_inv") {
                false => (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()),
                true => {
                    let scales = decode(&view, None);
                    let data = match dtype {
                        Dtype::BF16 => encoded(&scales, TensorType::BF16),
                        _ => scales.iter().map(|s| (s.to_bits() >> 23) as u8).collect(),
                    };
                    (name, dtype, view.shape().to_vec(), data)
                }
            })
            .collect();
        let views = converted
            .iter()
            .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
        let file = quantize(&folder, &temp.path().join("other.gguf"), &["--type", "f32", "--force"]);
        assert!(file == published, "{dtype:?}");
    }
}
