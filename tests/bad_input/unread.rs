//! Files whose metadata does not account for all that they hold: refused where the answers would be wrong, told where they are not.

use super::{By, Row, put_model, put_shards, run};
use crate::common::convert;
use crate::common::forge::{Forged, Tensor};
use fathom_gguf::TensorType;

fn bias(name: &str, n: usize) -> Tensor {
    Tensor { name: name.to_owned(), ty: TensorType::F32, shape: vec![n], bytes: vec![0; 4 * n] }
}

const ACCOUNTS: &str = "the metadata does not describe this tensor";

pub const REFUSED: [Row; 24] = [
    (
        "another epsilon of the indexer's norm",
        |dir, mut model| {
            model.set("deepseek32.attention.layer_norm_epsilon", 0.5f32);
            put_model(dir, &model)
        },
        By::Loading,
        &["deepseek32.attention.layer_norm_epsilon: expected 1e-6, found 5e-1", "again"],
    ),
    (
        "another width of the latent",
        |dir, mut model| {
            model.set("deepseek32.attention.key_length", 7u32);
            model.set("deepseek32.attention.value_length", 7u32);
            put_model(dir, &model)
        },
        By::Loading,
        &["attention.key_length: expected 144", "attention.value_length: expected 136", "found 7", "again"],
    ),
    (
        "a number below 0",
        |dir, mut model| {
            model.set("deepseek32.block_count", -4i32);
            put_model(dir, &model)
        },
        By::Loading,
        &["deepseek32.block_count: expected a number from 0 or a flag, found -4", "again"],
    ),
    (
        "blocks of another version",
        |dir, mut model| {
            model.set("general.quantization_version", 99u32);
            let gate = model.tensor("blk.0.ffn_gate.weight");
            (gate.ty, gate.bytes) = (TensorType::Q8_0, vec![0; 144 * 2 * 34]);
            put_model(dir, &model)
        },
        By::Loading,
        &["general.quantization_version: expected 2, found 99", "again"],
    ),
    (
        "a later shard of another model",
        |dir, model| {
            let mut shards = model.shards(2);
            shards[1].set("deepseek32.rope.freq_base", 5.0f32);
            put_shards(dir, &shards)
        },
        By::Loading,
        &["deepseek32.rope.freq_base: expected the value of the first shard", "again"],
    ),
    (
        "shared experts without their number",
        |dir, mut model| {
            model.unset("deepseek32.expert_shared_count");
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "ffn_gate_shexp.weight and 2 like it",
            ACCOUNTS,
            "--override-kv deepseek32.expert_shared_count=int:1",
            "again",
        ],
    ),
    (
        "biases that the architecture does not have",
        |dir, mut model| {
            model.tensors.push(bias("blk.0.attn_q_a.bias", 24));
            model.tensors.push(bias("output.bias", 320));
            put_model(dir, &model)
        },
        By::Loading,
        &["blk.0.attn_q_a.bias", "output.bias", ACCOUNTS, "again"],
    ),
    (
        "frequencies of its own",
        |dir, mut model| {
            model.tensors.push(bias("rope_freqs.weight", 4));
            put_model(dir, &model)
        },
        By::Loading,
        &["rope_freqs.weight", ACCOUNTS],
    ),
    (
        "an MTP layer that is taken for one of the model's own",
        |dir, mut model| {
            model.unset("deepseek32.nextn_predict_layers");
            put_model(dir, &model)
        },
        By::Loading,
        &["blk.3.nextn.", "layer 3 is an MTP layer", "--override-kv deepseek32.nextn_predict_layers=int:1"],
    ),
    (
        "one of the model's own layers that is taken for an MTP layer",
        |dir, mut model| {
            model.tensors.retain(|tensor| !tensor.name.starts_with("blk.3."));
            model.set("deepseek32.block_count", 3u32);
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "blk.2.attn_norm.weight",
            "declares layer 2 as an MTP layer",
            "deepseek32.nextn_predict_layers=int:0",
        ],
    ),
    (
        "an MTP layer that lost one of its tensors",
        |dir, mut model| {
            model.tensors.retain(|tensor| tensor.name != "blk.3.nextn.eh_proj.weight");
            put_model(dir, &model)
        },
        By::Loading,
        &["blk.3.", "layer 3 is an MTP layer without nextn.eh_proj.weight", "download or convert it again"],
    ),
    (
        "a factor without its type",
        |dir, mut model| {
            model.unset("deepseek32.rope.scaling.type");
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "deepseek32.rope.scaling.type: missing, but deepseek32.rope.scaling.factor is there",
            "add --override-kv deepseek32.rope.scaling.type=str:yarn",
        ],
    ),
    (
        "a sparse model without its indexer",
        |dir, mut model| {
            model.tensors.retain(|tensor| !tensor.name.contains(".indexer."));
            put_model(dir, &model)
        },
        By::Loading,
        &["blk.N.indexer.*: expected an indexer in every layer, found none", "--dense"],
    ),
    (
        "a scale of attention",
        |dir, mut model| {
            model.set("deepseek32.attention.scale", 0.5f32);
            put_model(dir, &model)
        },
        By::Loading,
        &["deepseek32.attention.scale: expected 0, found 0.5; Fathom supports no other value"],
    ),
    (
        "a factor of 0 where 0 counts",
        |dir, mut model| {
            model.set("deepseek32.rope.scaling.yarn_ext_factor", 0f32);
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "deepseek32.rope.scaling.yarn_ext_factor: expected 1 (or below 0: not set), found 0; Fathom supports no other",
        ],
    ),
    (
        "other factors of 0, and one below it",
        |dir, mut model| {
            model.set("deepseek32.rope.scaling.attn_factor", 0f32);
            model.set("deepseek32.rope.scaling.yarn_attn_factor", -1f32);
            model.set("deepseek32.expert_group_scale", vec![1u32, 0, 1, 1]);
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "deepseek32.rope.scaling.attn_factor: expected 1, found 0",
            "deepseek32.rope.scaling.yarn_attn_factor: expected 1, found -1",
            "deepseek32.expert_group_scale: expected 1, found",
        ],
    ),
    (
        "the whole of a matrix whose halves are read, in a layer that the model does not have",
        |dir, mut model| {
            model.tensors.push(bias("blk.9.attn_kv_b.weight", 8));
            put_model(dir, &model)
        },
        By::Loading,
        &["blk.9.attn_kv_b.weight", ACCOUNTS, "the model has layers 0 to 3 (3 is the MTP layer)", "again"],
    ),
    (
        "a norm of a layer that the model does not have",
        |dir, mut model| {
            model.tensors.push(bias("blk.9.attn_norm.weight", 8));
            put_model(dir, &model)
        },
        By::Loading,
        &["blk.9.attn_norm.weight", ACCOUNTS, "the model has layers 0 to 3 (3 is the MTP layer)", "again"],
    ),
    (
        "a tensor behind the layers of a model without an MTP layer",
        |dir, mut model| {
            model.tensors.retain(|tensor| !tensor.name.starts_with("blk.3."));
            model.set("deepseek32.block_count", 3u32);
            model.set("deepseek32.nextn_predict_layers", 0u32);
            model.tensors.push(bias("blk.3.attn_kv_b.weight", 8));
            put_model(dir, &model)
        },
        By::Loading,
        &["blk.3.attn_kv_b.weight", ACCOUNTS, "the model has layers 0 to 2;", "again"],
    ),
    (
        "an indexer of a layer that the model does not have",
        |dir, mut model| {
            model.tensors.push(bias("blk.4.indexer.k_norm.weight", 8));
            put_model(dir, &model)
        },
        By::Loading,
        &["blk.4.indexer.k_norm.weight", ACCOUNTS, "the model has layers 0 to 3", "again"],
    ),
    (
        "a window of attention in one layer",
        |dir, mut model| {
            model.set("deepseek32.attention.sliding_window", vec![0u32, 128, 0, 0]);
            put_model(dir, &model)
        },
        By::Loading,
        &["deepseek32.attention.sliding_window: expected 0, found "],
    ),
    (
        "experts without their factor and their norm",
        |dir, mut model| {
            model.unset("deepseek32.expert_weights_scale");
            model.unset("deepseek32.expert_weights_norm");
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "add --override-kv deepseek32.expert_weights_scale=float:2.5",
            "add --override-kv deepseek32.expert_weights_norm=bool:true",
        ],
    ),
    (
        "keys and values of three heads",
        |dir, mut model| {
            model.set("deepseek32.attention.head_count_kv", 3u32);
            put_model(dir, &model)
        },
        By::Loading,
        &["attention.head_count_kv: expected 1 or the number of heads, 4, found 3"],
    ),
    (
        "more shared experts than any model has",
        |dir, mut model| {
            model.set("deepseek32.expert_shared_count", u64::MAX / 8 + 2);
            put_model(dir, &model)
        },
        By::Loading,
        &["n_shared_experts: expected at most 64, found 2305843009213693953"],
    ),
];

/// The logits, and what was said beside them.
fn logits(model: &Forged, more: &[&str]) -> (Vec<u8>, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("logits.bin");
    let done = crate::common::fathom()
        .arg("logits")
        .arg(put_model(folder.path(), model))
        .args(["--tokens", "0,5,300,7,8,9,10,11,12,13,14,15", "-o"])
        .arg(&output)
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{said}");
    (std::fs::read(output).unwrap(), said)
}

#[test]
fn what_changes_nothing_is_taken_and_told() {
    let good = Forged::read(&convert("base", "f32").path);
    let (expected, said) = logits(&good, &[]);
    assert_eq!(said, "");
    let (dense, _) = logits(&good, &["--dense"]);
    assert!(dense != expected, "the indexer chooses");
    let with = |edit: fn(&mut Forged)| {
        let mut model = good.clone();
        edit(&mut model);
        model
    };

    let columns = with(|model| {
        for tensor in &mut model.tensors {
            if tensor.shape.len() != 2 {
                tensor.shape.insert(0, 1);
            }
        }
    });
    assert!(
        logits(&columns, &[]) == (expected.clone(), String::new()),
        "outer dimensions of 1 change nothing"
    );

    let bare = with(|model| model.tensors.retain(|tensor| !tensor.name.contains(".indexer.")));
    assert!(logits(&bare, &["--dense"]).0 == dense, "nothing of the indexer is needed");
    let without_keys = with(|model| {
        model.tensors.retain(|tensor| !tensor.name.contains(".indexer."));
        for key in ["head_count", "key_length", "top_k"] {
            model.unset(&format!("deepseek32.attention.indexer.{key}"));
        }
    });
    assert!(logits(&without_keys, &["--dense"]).0 == dense);

    let without_type = with(|model| model.unset("deepseek32.rope.scaling.type"));
    let yarn = ["--override-kv", "deepseek32.rope.scaling.type=str:yarn"];
    assert!(logits(&without_type, &yarn) == (expected.clone(), String::new()), "the advice is sound");
    assert!(logits(&good, &[yarn[0], "deepseek32.rope.scaling.type=str:none"]).0 != expected);

    let by_layer = with(|model| {
        model.set("deepseek32.attention.sliding_window", vec![0u32; 4]);
        model.set("deepseek32.swiglu_clamp_exp", vec![0f32; 4]);
    });
    assert!(logits(&by_layer, &[]) == (expected.clone(), String::new()), "nothing in every layer is nothing");

    let unset = with(|model| {
        model.set("deepseek32.rope.scaling.yarn_ext_factor", -1f32);
        model.set("deepseek32.rope.scaling.yarn_attn_factor", 1f32);
        model.set("deepseek32.logit_scale", 0f32);
    });
    assert!(
        logits(&unset, &[]) == (expected.clone(), String::new()),
        "llama.cpp writes -1 for what is not set"
    );

    let hidden = with(|model| {
        model.unset("deepseek32.nextn_predict_layers");
        model.set("deepseek32.block_count", 3u32);
    });
    let (found, said) = logits(&hidden, &[]);
    assert!(
        found == expected && said.contains("an MTP layer") && said.contains("does not declare"),
        "{said}"
    );

    let strangers = with(|model| {
        model.tensors.push(bias("v.patch_embd.weight", 8));
        model.set("deepseek32.something.new", 7u32);
    });
    let (found, said) = logits(&strangers, &[]);
    assert!(found == expected && said.contains("v.patch_embd.weight"), "{said}");
    assert!(
        said.contains("keys that Fathom does not know and does not use: deepseek32.something.new"),
        "{said}"
    );

    let contrary = with(|model| {
        model.set("deepseek32.expert_shared_feed_forward_length", 999u32);
        model.set("general.quantization_version", 99u32);
    });
    let (found, said) = logits(&contrary, &[]);
    assert!(found == expected && said.contains("expert_shared_feed_forward_length is 999"), "{said}");
    assert!(said.contains("general.quantization_version: expected 2, found 99"), "{said}");
    let unscaled = with(|model| model.set("deepseek32.rope.scaling.type", "none"));
    let (_, said) = logits(&unscaled, &[]);
    assert!(said.contains("positions are not scaled") && said.contains("factor is 40"), "{said}");

    let sibling = with(|model| {
        let keys: Vec<_> = model.metadata.iter().map(|(key, _)| key.clone()).collect();
        for key in keys.iter().filter(|key| key.starts_with("deepseek32.")) {
            let at = model.metadata.iter().position(|(name, _)| name == key).unwrap();
            model.metadata[at].0 = key.replace("deepseek32.", "deepseek2.");
        }
        model.set("general.architecture", "deepseek2");
    });
    let (found, said) = logits(&sibling, &[]);
    assert!(
        found == dense && said.contains("its architecture deepseek2 says that attention is dense"),
        "{said}"
    );
    assert!(!logits(&sibling, &["--dense"]).1.contains("indexer"), "that is what was asked for");
    let folder = tempfile::tempdir().unwrap();
    let shown = run("inspect", &put_model(folder.path(), &sibling));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("says that attention is dense"));
}

/// A value that was given on the command line is the command line's fault.
#[test]
fn numbers_that_were_replaced_are_not_the_files_fault() {
    let folder = tempfile::tempdir().unwrap();
    let done = crate::common::fathom()
        .arg("logits")
        .arg(put_model(folder.path(), &Forged::read(&convert("base", "f32").path)))
        .args(["--tokens", "0,5", "-o"])
        .arg(folder.path().join("logits.bin"))
        .args(["--override-kv", "deepseek32.expert_used_count=int:99"])
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("--override-kv") && said.contains("99") && !said.contains("Fetch"), "{said}");
}
