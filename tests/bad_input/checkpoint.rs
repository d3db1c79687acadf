//! Checkpoints that `quantize` refuses. Nothing is written, not even a part.

use crate::common::reference_folder;
use serde_json::{Value as Json, json};
use std::path::Path;

/// One row: what it is, which reference checkpoint it is made from, how, words of the message.
type Row = (&'static str, &'static str, fn(&Path), &'static [&'static str]);

fn edit_json(path: &Path, edit: impl FnOnce(&mut Json)) {
    let mut json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
}

fn edit_config(folder: &Path, key: &str, value: Json) {
    edit_json(&folder.join("config.json"), |config| config[key] = value);
}

/// Header and data of the one safetensors file; the edited header may have another length.
fn edit_arrays(folder: &Path, edit: impl FnOnce(&mut Json, &mut Vec<u8>)) {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut data = bytes[8 + length..].to_vec();
    edit(&mut header, &mut data);
    let header = header.to_string();
    let written = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(path, written).unwrap();
}

fn edit_bytes(folder: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    edit(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

const Q_A: &str = "model.layers.0.self_attn.q_a_proj.weight";

const ROWS: [Row; 20] = [
    (
        "a folder with nothing in it",
        "base",
        |dir| {
            for entry in std::fs::read_dir(dir).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        },
        &["expected a folder with config.json", "model.safetensors"],
    ),
    (
        "no config.json",
        "base",
        |dir| std::fs::remove_file(dir.join("config.json")).unwrap(),
        &["config.json", "expected a folder with config.json"],
    ),
    (
        "a config.json that was cut",
        "base",
        |dir| std::fs::write(dir.join("config.json"), "{\"architectures\": [").unwrap(),
        &["config.json", "found JSON that breaks off at line 1", "again"],
    ),
    (
        "another model",
        "base",
        |dir| edit_config(dir, "architectures", json!(["LlamaForCausalLM"])),
        &["LlamaForCausalLM", "expected one of DeepseekV32ForCausalLM", "one architecture only"],
    ),
    (
        "four billion layers",
        "base",
        |dir| edit_config(dir, "num_hidden_layers", json!(4_000_000_000u64)),
        &["num_hidden_layers", "expected 1 to 4096", "found 4000000000", "again"],
    ),
    (
        "negative heads",
        "base",
        |dir| edit_config(dir, "num_attention_heads", json!(-4)),
        &["num_attention_heads: expected a whole number, found -4", "again"],
    ),
    (
        "a quantization that is not FP8",
        "base/fp8",
        |dir| edit_config(dir, "quantization_config", json!({"quant_method": "gptq", "bits": 4})),
        &["quantization_config", "gptq", "expected", "fp8"],
    ),
    (
        "an empty safetensors file",
        "base",
        |dir| edit_bytes(dir, Vec::clear),
        &["model.safetensors", "expected a safetensors file", "found 0 bytes", "again"],
    ),
    (
        "a header of 2^60 bytes",
        "base",
        |dir| edit_bytes(dir, |bytes| bytes[..8].copy_from_slice(&(1u64 << 60).to_le_bytes())),
        &["model.safetensors", "header", "expected at most", "1152921504606846976", "again"],
    ),
    (
        "a header that is no JSON",
        "base",
        |dir| edit_bytes(dir, |bytes| bytes[8] = b'#'),
        &["model.safetensors", "header: expected JSON, found text that is not JSON", "again"],
    ),
    (
        "a download cut in half",
        "base",
        |dir| edit_bytes(dir, |bytes| bytes.truncate(bytes.len() / 2)),
        &["model.safetensors", "tensor", "truncated", "again"],
    ),
    (
        "arrays that overlap",
        "base",
        |dir| {
            edit_arrays(dir, |header, _| {
                let end = header[Q_A]["data_offsets"][1].as_u64().unwrap();
                let (_, other) = header
                    .as_object_mut()
                    .unwrap()
                    .iter_mut()
                    .find(|(_, t)| t["data_offsets"][0] == end)
                    .unwrap();
                let bytes = other["data_offsets"][1].as_u64().unwrap() - end;
                other["data_offsets"] = json!([end - 4, end - 4 + bytes]);
            });
        },
        &["model.safetensors", "expected its data at byte", "overlap or leave a hole", "again"],
    ),
    (
        "bytes that do not follow from the shape",
        "base",
        |dir| edit_arrays(dir, |header, _| header[Q_A]["shape"] = json!([23, 64])),
        &[Q_A, "expected 5888 bytes for F32 [23, 64]", "found 6144", "again"],
    ),
    (
        "a matrix of another shape",
        "base",
        |dir| edit_arrays(dir, |header, _| header[Q_A]["shape"] = json!([64, 24])),
        &[Q_A, "expected shape [24, 64]", "found [64, 24]", "again"],
    ),
    (
        "a matrix that is not there",
        "base",
        |dir| {
            edit_arrays(dir, |header, _| {
                let array = header[Q_A].take();
                header.as_object_mut().unwrap().remove(Q_A);
                header["something.else"] = array;
            });
        },
        &[Q_A, "missing", "expected shape [24, 64]", "again"],
    ),
    (
        "a matrix of integers",
        "base",
        |dir| edit_arrays(dir, |header, _| header[Q_A]["dtype"] = json!("I32")),
        &[Q_A, "stored as I32", "expected F8_E4M3, BF16, F16 or F32", "again"],
    ),
    (
        "scales that are not there",
        "base/fp8",
        |dir| {
            edit_arrays(dir, |header, _| {
                let name = format!("{Q_A}_scale_inv");
                let array = header[&name].take();
                header.as_object_mut().unwrap().remove(&name);
                header["something.else"] = array;
            });
        },
        &["q_a_proj.weight_scale_inv", "missing", "expected shape", "again"],
    ),
    (
        "a weight that is not a number",
        "base/fp8",
        |dir| {
            edit_arrays(dir, |header, data| {
                let at = header[Q_A]["data_offsets"][0].as_u64().unwrap() as usize;
                data[at + 3] = 0x7f;
            });
        },
        &[Q_A, "row 0, column 3", "found NaN", "expected a finite number", "again"],
    ),
    (
        "a shard that is not there",
        "dense",
        |dir| std::fs::remove_file(dir.join("model-00002-of-000002.safetensors")).unwrap(),
        &["model-00002-of-000002.safetensors", "should hold", "again"],
    ),
    (
        "an index that leads out of the folder",
        "dense",
        |dir| {
            edit_json(&dir.join("model.safetensors.index.json"), |index| {
                index["weight_map"]["lm_head.weight"] = json!("../../etc/passwd");
            });
        },
        &["../../etc/passwd", "expected a plain file name", "again"],
    ),
];

#[test]
fn checkpoints() {
    for (what, shape, damage, says) in ROWS {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(reference_folder(shape)).unwrap() {
            let from = entry.unwrap().path();
            if from.is_file() && !from.ends_with("reference.safetensors") {
                std::fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
            }
        }
        damage(folder.path());
        let output = folder.path().join("out.gguf");
        let done = crate::common::fathom()
            .arg("quantize")
            .arg(folder.path())
            .args(["--type", "q8_0", "-o"])
            .arg(&output)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{what}: {message}");
        assert!(message.contains("error: ") && !message.contains("panicked"), "{what}: {message}");
        for words in says {
            assert!(message.contains(words), "{what}: {words:?} is missing in: {message}");
        }
        let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(".gguf")).collect();
        assert!(left.is_empty(), "{what}: left behind: {left:?}");
    }
}
