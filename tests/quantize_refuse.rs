//! What `fathom quantize` refuses, how it says so, and that it leaves nothing behind.

#[path = "common/program.rs"]
mod program;

use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// A copy of a reference checkpoint to damage.
fn copy_of(name: &str) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(reference(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, temp.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    temp
}

/// Changes the JSON part of a safetensors file and leaves the data alone.
fn edit_header(path: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    let file = fs::read(path).unwrap();
    let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Map<String, Value> = serde_json::from_slice(&file[8..8 + n]).unwrap();
    edit(&mut header);
    let json = Value::Object(header).to_string();
    let mut edited = (json.len() as u64).to_le_bytes().to_vec();
    edited.extend(json.bytes());
    edited.extend(&file[8 + n..]);
    fs::write(path, edited).unwrap();
}

fn run(folder: &Path, more: &[&str]) -> Output {
    let out = folder.join("out.gguf");
    program::fathom()
        .arg("quantize")
        .arg(folder)
        .arg("-o")
        .arg(&out)
        .args(["--type", "q8_0"])
        .args(more)
        .output()
        .unwrap()
}

/// Runs, expects the code, expects no file, returns the message.
fn refused(folder: &Path, more: &[&str], code: i32) -> String {
    let output = run(folder, more);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("gguf"), "{name} was left behind");
    }
    message
}

fn expect_all(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in:\n{message}");
    }
}

#[test]
fn everything_that_is_wrong_with_a_checkpoint_is_one_error() {
    let temp = copy_of("base/fp8");
    edit_header(&temp.path().join("model.safetensors"), |header| {
        let attention = "model.layers.0.self_attn";
        let rename = |header: &mut Map<String, Value>, name: String| {
            let entry = header.shift_remove(&name).unwrap_or_else(|| panic!("{name}"));
            header.insert(format!("{name}.gone"), entry);
        };
        rename(header, format!("{attention}.q_a_proj.weight"));
        rename(header, format!("{attention}.kv_b_proj.weight_scale_inv"));
        for expert in [3, 4, 5, 9] {
            rename(header, format!("model.layers.1.mlp.experts.{expert}.up_proj.weight"));
        }
        header[&format!("{attention}.o_proj.weight")]["dtype"] = "F8_E5M2".into();
        header["model.norm.weight"]["shape"] = json!([32, 2]);
        header[&format!("{attention}.q_b_proj.weight_scale_inv")]["shape"] = json!([1, 1, 1]);
    });
    let message = refused(temp.path(), &[], 3);
    expect_all(
        &message,
        &[
            "model.layers.0.self_attn.q_a_proj.weight: missing, expected shape [24, 64]",
            "model.layers.0.self_attn.kv_b_proj.weight_scale_inv: missing, expected shape [2, 2]",
            "model.layers.1.mlp.experts.3.up_proj.weight: missing",
            "(the same for experts 3-5, 9)",
            "model.layers.0.self_attn.o_proj.weight: stored as F8_E5M2; expected F8_E4M3, BF16, F16 or F32",
            "model.norm.weight: expected shape [64], found [32, 2]",
            "q_b_proj.weight_scale_inv: expected shape [1, 1] (blocks of 128x128), found [1, 1, 1]",
            "6 problem(s)",
        ],
    );
    assert_eq!(message.matches("kv_b_proj").count(), 1, "both halves read it, it is named once");
}

#[test]
fn a_missing_shard_is_named_with_everything_else() {
    let temp = copy_of("dense");
    fs::remove_file(temp.path().join("model-00002-of-000002.safetensors")).unwrap();
    edit_header(&temp.path().join("model-00001-of-000002.safetensors"), |header| {
        let entry = header.shift_remove("model.embed_tokens.weight").unwrap();
        header.insert("elsewhere".to_owned(), entry);
    });
    let message = refused(temp.path(), &[], 3);
    expect_all(
        &message,
        &[
            "model-00002-of-000002.safetensors: missing (it should hold 46 tensors)",
            "model.embed_tokens.weight: missing in model-00001-of-000002.safetensors, where",
            "2 problem(s)",
        ],
    );
}

#[test]
fn damaged_files_are_named() {
    let temp = copy_of("dense");
    let shard = temp.path().join("model-00001-of-000002.safetensors");
    let whole = fs::read(&shard).unwrap();
    fs::write(&shard, &whole[..whole.len() - 7]).unwrap();
    expect_all(
        &refused(temp.path(), &[], 3),
        &["model-00001-of-000002.safetensors: tensor", "the file is truncated"],
    );
    fs::write(&shard, "short").unwrap();
    expect_all(&refused(temp.path(), &[], 3), &["expected a safetensors file, found 5 bytes"]);
    fs::write(temp.path().join("model.safetensors.index.json"), "{").unwrap();
    expect_all(
        &refused(temp.path(), &[], 3),
        &[
            "model.safetensors.index.json: expected the file as it was published, found JSON that breaks off at line 1",
        ],
    );
    fs::remove_file(temp.path().join("model.safetensors.index.json")).unwrap();
    expect_all(&refused(temp.path(), &[], 3), &["3 safetensors files without"]);
    fs::remove_file(temp.path().join("config.json")).unwrap();
    expect_all(
        &refused(temp.path(), &[], 3),
        &["config.json is missing", "expected a folder with config.json"],
    );
}

#[test]
fn a_type_that_cannot_be_written_has_a_nearest_one() {
    let temp = copy_of("dense");
    for (args, nearest) in [
        (&["--type", "iq4_xs"][..], "the nearest is q4_k_m"),
        (&["--type", "Q4_K_S"], "the nearest is q4_k_m"),
        (&["--type", "q4_k_m", "--experts", "iq2_xxs"], "the nearest is q2_k"),
        (&["--type", "q4_k_m", "--tensor-type", "exps=iq3_s"], "the nearest is q3_k"),
    ] {
        let output =
            program::fathom().arg("quantize").arg(temp.path()).args(args).arg("--dry-run").output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(nearest) && !told.contains("similar value"), "{told}");
    }
}

#[test]
fn an_index_may_not_lead_out_of_its_folder() {
    let temp = copy_of("dense");
    let index = temp.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace("model-00002", "../model-00002")).unwrap();
    expect_all(
        &refused(temp.path(), &[], 3),
        &["\"../model-00002-of-000002.safetensors\": expected a plain file name"],
    );
}

fn with_config(edit: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let temp = copy_of("base/fp8");
    let path = temp.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(&path, config.to_string()).unwrap();
    temp
}

#[test]
fn other_models_and_other_quantizations_are_refused_by_name() {
    let temp = with_config(|config| {
        config["architectures"] = json!(["LlamaForCausalLM"]);
        config["model_type"] = "llama".into();
    });
    expect_all(&refused(temp.path(), &[], 3), &["LlamaForCausalLM", "DeepseekV32ForCausalLM"]);
    let temp = with_config(|config| config["quantization_config"]["quant_method"] = "awq".into());
    expect_all(&refused(temp.path(), &[], 3), &["quant_method: expected `fp8`, found `awq`"]);
    let temp = with_config(|config| config["quantization_config"]["fmt"] = "e5m2".into());
    expect_all(&refused(temp.path(), &[], 3), &["fmt: expected `e4m3`, found `e5m2`"]);
    let temp = with_config(|config| config["quantization_config"]["weight_block_size"] = json!([0, 128]));
    expect_all(&refused(temp.path(), &[], 3), &["weight_block_size: expected two sizes above 0"]);
    let temp = with_config(|config| config["quantization_config"]["weight_block_size"] = json!([64, 64]));
    expect_all(&refused(temp.path(), &[], 3), &["(blocks of 64x64)"]);
}

#[test]
fn a_weight_that_is_not_a_number_is_found() {
    let temp = copy_of("base/fp8");
    let path = temp.path().join("model.safetensors");
    let mut file = fs::read(&path).unwrap();
    let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + n]).unwrap();
    let tensor = "model.layers.1.mlp.experts.2.down_proj.weight";
    let start = header[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    // Row 5 of rows of 8: the code for NaN.
    file[8 + n + start + 5 * 8 + 3] = 0xff;
    fs::write(&path, file).unwrap();
    expect_all(&refused(temp.path(), &[], 3), &[&format!("{tensor}, row 5, column 3: found NaN")]);
}

#[test]
fn mistakes_on_the_command_line_are_usage_errors() {
    let temp = copy_of("base/fp8");
    for (more, says) in [
        (["--tensor-type", "atn_output=f16"], "the closest names are blk.N.attn_output.weight"),
        (["--tensor-type", "attn_output"], "expected REGEX=TYPE"),
        (["--tensor-type", "attn_k_b=q8_0"], "rows of 16 values, expected a multiple of 32"),
        (["--tensor-type", "indexer.proj=q8_0"], "only tensors that stay f32"),
    ] {
        expect_all(&refused(temp.path(), &more, 2), &[says]);
    }
    expect_all(&refused(temp.path(), &["--type", "q9"], 2), &["--type"]);
    let output = run(&temp.path().join("no-such-folder"), &[]);
    assert_eq!(output.status.code(), Some(3));
    expect_all(&String::from_utf8(output.stderr).unwrap(), &["no-such-folder: no such folder"]);
}

#[test]
fn an_existing_file_is_replaced_only_by_force() {
    let temp = copy_of("base/fp8");
    let out = temp.path().join("out.gguf");
    fs::write(&out, "precious").unwrap();
    let output = run(temp.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    expect_all(&String::from_utf8(output.stderr).unwrap(), &["the file exists", "--force"]);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    assert!(run(temp.path(), &["--force"]).status.success());
    assert!(fs::read(&out).unwrap().starts_with(b"GGUF"));
}

#[test]
fn tensors_without_a_place_are_mentioned() {
    let temp = copy_of("base/fp8");
    // Four bytes more at the end, with a name nobody asks for.
    let path = temp.path().join("model.safetensors");
    let mut file = fs::read(&path).unwrap();
    let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let end = file.len() - 8 - n;
    file.extend([0; 4]);
    fs::write(&path, file).unwrap();
    edit_header(&path, |header| {
        let entry = json!({"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]});
        header.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), entry);
    });
    let output = run(temp.path(), &[]);
    assert!(output.status.success());
    expect_all(
        &String::from_utf8(output.stderr).unwrap(),
        &["1 tensor has no counterpart in GGUF and is left out:", "rotary_emb.inv_freq"],
    );
}

#[test]
fn a_name_is_looked_up_in_the_local_cache() {
    let temp = tempfile::tempdir().unwrap();
    let repo = temp.path().join("models--some-org--Tiny");
    let snapshot = repo.join("snapshots/0123abc");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), "0123abc").unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(reference("base/fp8").join(name), snapshot.join(name)).unwrap();
    }
    let out = temp.path().join("out.gguf");
    let run = |name: &str| {
        program::fathom()
            .current_dir(temp.path())
            .env("HF_HUB_CACHE", temp.path())
            .args(["quantize", name, "--type", "f32", "-o"])
            .arg(&out)
            .output()
            .unwrap()
    };
    let output = run("some-org/Tiny");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = fs::read(&out).unwrap();
    let file = fathom_gguf::GgufFile::parse(&bytes).unwrap();
    assert_eq!(file.metadata().str("general.name").unwrap(), Some("Tiny"));
    let output = run("some-org/Other");
    assert_eq!(output.status.code(), Some(3));
    expect_all(
        &String::from_utf8(output.stderr).unwrap(),
        &["models--some-org--Other", "never uses the network"],
    );
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d4d4d4d\nsize 4302350824\n";

#[test]
fn what_stands_for_a_file_is_named_with_the_next_step() {
    for name in [
        "config.json",
        "model.safetensors.index.json",
        "model-00001-of-000002.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        let temp = copy_of("dense");
        for tokenizer in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(reference("base").join(tokenizer), temp.path().join(tokenizer)).unwrap();
        }
        fs::write(temp.path().join(name), POINTER).unwrap();
        expect_all(&refused(temp.path(), &[], 3), &[name, "a Git LFS pointer", "git lfs pull"]);
        fs::write(temp.path().join(name), "<!DOCTYPE html><html>Sign in</html>").unwrap();
        expect_all(&refused(temp.path(), &[], 3), &[name, "a web page"]);
    }
    let temp = copy_of("base/fp8");
    fs::write(temp.path().join("model.safetensors"), [0; 4096]).unwrap();
    expect_all(&refused(temp.path(), &[], 3), &["model.safetensors", "nothing but zeros"]);
}

#[test]
fn marks_of_byte_order_are_taken() {
    let temp = copy_of("dense");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(reference("base").join(name), temp.path().join(name)).unwrap();
    }
    for name in ["config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"] {
        let path = temp.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("\u{feff}{text}")).unwrap();
    }
    let output = run(temp.path(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_index_may_name_more_than_is_needed() {
    let temp = copy_of("dense");
    let index = temp.path().join("model.safetensors.index.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    json["weight_map"]["model.layers.0.mlp.gate_proj.weight_scale_inv.old"] =
        "model-00001-of-000002.safetensors".into();
    json["weight_map"]["vision.tower.weight"] = "model-00003-of-000003.safetensors".into();
    fs::write(&index, json.to_string()).unwrap();
    let output = run(temp.path(), &[]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{message}");
    expect_all(&message, &["2 tensors have no counterpart in GGUF and are left out:", "vision.tower.weight"]);
}

#[test]
fn block_scales_under_another_name_are_taken_and_others_are_named() {
    let named = || with_config(|config| config["_name_or_path"] = "some-org/Tiny".into());
    let published = named();
    assert!(run(published.path(), &[]).status.success());
    let temp = named();
    let rename = |header: &mut Map<String, Value>| {
        let members = std::mem::take(header);
        *header =
            members.into_iter().map(|(name, entry)| (name.replace("_scale_inv", "_scale"), entry)).collect();
    };
    edit_header(&temp.path().join("model.safetensors"), rename);
    let output = run(temp.path(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        fs::read(temp.path().join("out.gguf")).unwrap()
            == fs::read(published.path().join("out.gguf")).unwrap()
    );
    let temp = copy_of("base/fp8");
    edit_header(&temp.path().join("model.safetensors"), |header| {
        let members = std::mem::take(header);
        *header =
            members.into_iter().map(|(name, entry)| (name.replace("_scale_inv", "_scales"), entry)).collect();
    });
    let message = refused(temp.path(), &[], 3);
    expect_all(&message, &["the same module has weight_scales (F32 [", "(the same in layers 1-3)"]);
    assert!(message.lines().count() < 30, "{message}");
}

#[test]
fn what_config_json_does_not_account_for_is_not_left_out() {
    let temp = with_config(|config| config["n_shared_experts"] = 0.into());
    let message = refused(temp.path(), &[], 3);
    expect_all(
        &message,
        &["that would change what it says", "mlp.shared_experts.", "check n_shared_experts"],
    );
    let temp = with_config(|config| {
        config["n_routed_experts"] = 8.into();
    });
    // The router tells first that it has rows for more.
    expect_all(&refused(temp.path(), &[], 3), &["mlp.gate.weight: expected shape [8, 64], found [16, 64]"]);
    let temp = copy_of("base/fp8");
    edit_header(&temp.path().join("model.safetensors"), |header| {
        let name = "model.layers.0.self_attn.q_a_proj.weight_scale_inv";
        let mut entry = header[name].clone();
        entry["data_offsets"] = json!([0, 0]);
        entry["shape"] = json!([0]);
        header.insert("model.layers.0.self_attn.q_a_proj.bias".to_owned(), entry);
    });
    expect_all(&refused(temp.path(), &[], 3), &["model.layers.0.self_attn.q_a_proj.bias"]);
}

/// An array of the model that nothing is made of changes what it says, unless it is known why it does not.
#[test]
fn arrays_without_a_place_are_refused_unless_they_are_known_to_change_nothing() {
    let with_array = |name: &str| {
        let temp = copy_of("base/fp8");
        edit_header(&temp.path().join("model.safetensors"), |header| {
            header.insert(name.to_owned(), json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}));
        });
        temp
    };
    for (below, advice) in [
        ("layers.1.self_attn.q_a_proj.pre_quant_scale", "a quantization that Fathom does not decode"),
        ("layers.1.self_attn.q_a_proj.smooth_scale", "a quantization that Fathom does not decode"),
        ("layers.1.self_attn.sinks", "convert the published checkpoint"),
        ("layers.1.self_attn.q_norm.scale", "convert the published checkpoint"),
        ("layers.1.self_attn.gate_proj.weight", "convert the published checkpoint"),
        ("layers.1.mlp.shared_expert_gate.weight", "convert the published checkpoint"),
        ("layers.1.self_attn.q_a_proj.lora_A.weight", "merge it into the model first"),
        ("layers.9.input_layernorm.weight", "num_hidden_layers"),
        ("layers.9.anything", "check num_hidden_layers"),
        ("embed_scale", "a quantization"),
        ("norm.bias", "convert the published checkpoint"),
    ] {
        let temp = with_array(&format!("model.{below}"));
        let message = refused(temp.path(), &["--dry-run"], 3);
        expect_all(&message, &[below, advice, "Nothing was written"]);
    }
    for harmless in
        ["model.layers.1.self_attn.k_scale", "model.layers.1.mlp.gate.input_scale", "vision_tower.a.weight"]
    {
        let temp = with_array(harmless);
        let output = run(temp.path(), &["--dry-run"]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{message}");
        expect_all(&message, &["1 tensor has no counterpart in GGUF", harmless]);
    }
    let temp = copy_of("base/fp8");
    edit_header(&temp.path().join("model.safetensors"), |header| {
        let name = "model.layers.1.self_attn.q_a_layernorm.weight_scale";
        header.insert(name.to_owned(), json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}));
    });
    let message = refused(temp.path(), &["--dry-run"], 3);
    expect_all(&message, &["q_a_layernorm.weight: stored as", "yet it has a `_scale`"]);
}

/// What no program runs with is no weight: the file is not written.
#[test]
fn norms_and_biases_beyond_what_runs_are_refused_by_name() {
    for (name, says) in [
        ("model.norm.weight", "model.norm.weight, index 0"),
        ("model.layers.1.mlp.gate.e_score_correction_bias", "bias"),
    ] {
        let temp = copy_of("base/fp8");
        let path = temp.path().join("model.safetensors");
        let mut file = fs::read(&path).unwrap();
        let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&file[8..8 + n]).unwrap();
        let at = 8 + n + header[name]["data_offsets"][0].as_u64().unwrap() as usize;
        // BF16 is the upper half of F32.
        let bytes = &1e6f32.to_le_bytes()[if header[name]["dtype"] == "BF16" { 2.. } else { 0.. }];
        file[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&path, file).unwrap();
        expect_all(&refused(temp.path(), &[], 3), &[name, says, "-65504 to 65504"]);
    }
}

/// What the program would refuse after hours of writing is refused before the first byte.
#[test]
fn the_files_tokenizer_is_tried_before_anything_is_written() {
    let tokenizer = |edit: &dyn Fn(&mut Value)| {
        let temp = copy_of("base");
        let path = temp.path().join("tokenizer.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut json);
        fs::write(path, json.to_string()).unwrap();
        temp
    };
    let bytes = tokenizer(&|json| {
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let (letter, id) = (0..)
            .find_map(|n| {
                vocab
                    .iter()
                    .find(|(t, i)| **i == n && t.chars().count() == 1)
                    .map(|(t, i)| (t.clone(), i.clone()))
            })
            .unwrap();
        vocab.remove(&letter);
        vocab.insert(format!("{letter}{letter}{letter}"), id);
        json["model"]["merges"] = json!([]);
    });
    let says = [
        "tokenizer.json: Fathom would refuse the resulting file",
        "expected a token for each byte",
        "Nothing was written",
    ];
    expect_all(&refused(bytes.path(), &[], 3), &says);
    let merges = tokenizer(&|json| json["model"]["merges"].as_array_mut().unwrap().push("no such".into()));
    expect_all(
        &refused(merges.path(), &["--dry-run"], 3),
        &["two tokens of the vocabulary that make a third"],
    );
    let normalizer = tokenizer(&|json| json["normalizer"] = json!({"type": "NFC"}));
    expect_all(&refused(normalizer.path(), &[], 3), &["normalizer: expected none, found NFC"]);
}

/// One fault in all names is one sentence, which shows both forms.
#[test]
fn names_that_all_begin_otherwise_are_one_fault() {
    for (start, from) in [
        ("model.language_model.", "model."),
        ("base_model.model.model.", "model."),
        ("_orig_mod.model.", "model."),
        ("", "model."),
    ] {
        let temp = copy_of("base/fp8");
        edit_header(&temp.path().join("model.safetensors"), |header| {
            let members = std::mem::take(header);
            let renamed =
                |name: String| name.strip_prefix(from).map(|below| format!("{start}{below}")).unwrap_or(name);
            *header = members.into_iter().map(|(name, entry)| (renamed(name), entry)).collect();
        });
        let message = refused(temp.path(), &[], 3);
        expect_all(
            &message,
            &["names like model.embed_tokens.weight", &format!("`{start}` instead of `model.`")],
        );
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    // Of a damaged file nothing but the damage is known.
    let temp = copy_of("base/fp8");
    fs::write(temp.path().join("model.safetensors"), "short").unwrap();
    let message = refused(temp.path(), &[], 3);
    expect_all(&message, &["1 problem(s)", "model.safetensors: expected a safetensors file, found 5 bytes"]);
}

/// What lies in the folder and is not used is not passed over.
#[test]
fn what_is_ignored_in_a_checkpoint_is_told() {
    let told = |temp: &tempfile::TempDir| {
        // The reference's own numbers lie beside it.
        fs::remove_file(temp.path().join("reference.safetensors")).unwrap();
        let output = run(temp.path(), &["--dry-run"]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{message}");
        message
    };
    let plain = told(&copy_of("base/fp8"));
    assert!(!plain.contains("fields that Fathom") && !plain.contains("not read"), "{plain}");
    let temp = with_config(|config| {
        config["routed_scale_factor"] = json!(9.0);
        config["softcap"] = json!(3);
        config["unused"] = Value::Null;
        config["tie_word_embeddings"] = json!(true);
    });
    fs::write(temp.path().join("adapter_config.json"), "{}").unwrap();
    fs::write(temp.path().join("adapter_model.safetensors"), "x").unwrap();
    let message = told(&temp);
    expect_all(
        &message,
        &[
            "does not use: routed_scale_factor, softcap\n",
            "tie_word_embeddings, but there is an lm_head.weight: it is used",
            "not read: adapter_config.json, adapter_model.safetensors",
        ],
    );
    let temp = copy_of("dense");
    fs::write(temp.path().join("model.safetensors"), "x").unwrap();
    expect_all(&told(&temp), &["this is not part of the checkpoint and not read: model.safetensors"]);
    let temp = with_config(|config| config["model_type"] = json!("llama"));
    expect_all(&refused(temp.path(), &[], 3), &["model_type `llama`"]);
}

/// No file of the checkpoint gives way to what is made of it, whatever its name is.
#[test]
fn a_file_of_the_checkpoint_is_never_the_output() {
    let temp = copy_of("base/fp8");
    for name in ["README.md", "LICENSE", "config.json", "tokenizer.model"] {
        let path = temp.path().join(name);
        if !path.exists() {
            fs::write(&path, "theirs").unwrap();
        }
        let before = fs::read(&path).unwrap();
        let output = program::fathom()
            .arg("quantize")
            .arg(temp.path())
            .args(["--type", "q8_0", "--force", "-o"])
            .arg(&path)
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        expect_all(&message, &[name, "would overwrite the input"]);
        assert!(fs::read(&path).unwrap() == before, "{name}");
    }
    let output = program::fathom()
        .arg("quantize")
        .arg(temp.path())
        .args(["--type", "q8_0", "-o", "-"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    expect_all(&String::from_utf8(output.stderr).unwrap(), &["expected the name of a file"]);
}
