//! Valid GGUF files that are not this model, or whose numbers are bad.

use super::container::MATRIX;
use super::{By, Row, overwrite, put_model};
use fathom_gguf::TensorType;

pub const MODELS: [Row; 15] = [
    (
        "another architecture",
        |dir, mut model| {
            model.set("general.architecture", "llama");
            put_model(dir, &model)
        },
        By::Loading,
        &["`llama`", "expected one of deepseek32, deepseek2", "one architecture only"],
    ),
    (
        "no architecture",
        |dir, mut model| {
            model.unset("general.architecture");
            put_model(dir, &model)
        },
        By::Loading,
        &["without general.architecture", "expected one of deepseek32"],
    ),
    (
        "an architecture that is a number",
        |dir, mut model| {
            model.set("general.architecture", 32u32);
            put_model(dir, &model)
        },
        By::Loading,
        &["general.architecture", "expected a string, found u32", "convert the model again"],
    ),
    (
        "no number of layers",
        |dir, mut model| {
            model.unset("deepseek32.block_count");
            put_model(dir, &model)
        },
        By::Loading,
        &["deepseek32.block_count: missing", "convert it again"],
    ),
    (
        "a number of layers in words",
        |dir, mut model| {
            model.set("deepseek32.block_count", "three");
            put_model(dir, &model)
        },
        By::Loading,
        &["deepseek32.block_count", "expected a number", "found str", "convert it again"],
    ),
    (
        "four billion layers",
        |dir, mut model| {
            model.set("deepseek32.block_count", u32::MAX);
            put_model(dir, &model)
        },
        By::Loading,
        &["num_hidden_layers", "expected 1 to 4096", "found 4294967294", "convert it again"],
    ),
    (
        "no heads and two billion experts",
        |dir, mut model| {
            model.set("deepseek32.attention.head_count", 0u32);
            model.set("deepseek32.expert_count", 2_000_000_000u32);
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "num_attention_heads: expected 1 to",
            "n_routed_experts: expected 1 to",
            "found 2000000000",
            "convert it again",
        ],
    ),
    (
        "experts that do not divide into groups",
        |dir, mut model| {
            model.set("deepseek32.expert_group_count", 5u32);
            put_model(dir, &model)
        },
        By::Loading,
        &["n_group", "expected a divisor of n_routed_experts = 16, found 5", "convert it again"],
    ),
    (
        "groups of experts without how many are used",
        |dir, mut model| {
            model.unset("deepseek32.expert_group_used_count");
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "deepseek32.expert_group_used_count",
            "how many of the 4 groups",
            "found none",
            "convert the model again",
        ],
    ),
    (
        "another router",
        |dir, mut model| {
            model.set("deepseek32.expert_gating_func", 1u32);
            put_model(dir, &model)
        },
        By::Loading,
        &["deepseek32.expert_gating_func", "expected 2 (sigmoid), found 1", "convert it again"],
    ),
    (
        "an epsilon that is no number",
        |dir, mut model| {
            model.set("deepseek32.attention.layer_norm_rms_epsilon", f32::NAN);
            put_model(dir, &model)
        },
        By::Loading,
        &["rms_norm_eps", "expected between 0 and 1, found NaN", "convert it again"],
    ),
    (
        "a tensor that is not there",
        |dir, mut model| {
            model.tensors.retain(|tensor| tensor.name != MATRIX);
            put_model(dir, &model)
        },
        By::Loading,
        &[MATRIX, "expected [24, 64], found nothing", "convert the model again"],
    ),
    (
        "two tensors of wrong shapes",
        |dir, mut model| {
            model.tensor(MATRIX).shape = vec![64, 24];
            model.tensor("blk.2.ffn_down_exps.weight").shape = vec![64, 16, 8];
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "blk.0.attn_q_a.weight: expected [24, 64], found [64, 24]",
            "blk.2.ffn_down_exps.weight: expected [16, 64, 8], found [64, 16, 8]",
            "convert the model again",
        ],
    ),
    (
        "a type without kernels",
        |dir, mut model| {
            let gate = model.tensor("blk.0.ffn_gate.weight");
            (gate.ty, gate.bytes) = (TensorType::IQ4NL, vec![0; 144 * 2 * 18]);
            put_model(dir, &model)
        },
        By::Loading,
        &[
            "blk.0.ffn_gate.weight",
            "expected a type that has kernels (f32",
            "found iq4_nl",
            "quantize the model again",
        ],
    ),
    (
        "a norm in half precision",
        |dir, mut model| {
            let norm = model.tensor("blk.1.attn_norm.weight");
            (norm.ty, norm.bytes) = (TensorType::F16, vec![0; 128]);
            put_model(dir, &model)
        },
        By::Loading,
        &["blk.1.attn_norm.weight", "expected f32, found f16", "convert the model again"],
    ),
];

pub const NUMBERS: [Row; 4] = [
    (
        "a norm that is not a number",
        |dir, mut model| {
            overwrite(&mut model.tensor("blk.1.attn_norm.weight").bytes, 8, &f32::NAN.to_le_bytes());
            put_model(dir, &model)
        },
        By::Computing,
        &[
            "blk.1.attn_norm.weight: expected numbers from -65504 to 65504, found NaN at index 2",
            "fetch it again",
        ],
    ),
    (
        "a weight that is not a number",
        |dir, mut model| {
            overwrite(&mut model.tensor("blk.1.attn_q_b.weight").bytes, 8, &f32::NAN.to_le_bytes());
            put_model(dir, &model)
        },
        By::Computing,
        &["not a number in layer 1 at position 0", "damaged", "checksum"],
    ),
    (
        "an infinite weight of the router",
        |dir, mut model| {
            let weights = &mut model.tensor("blk.2.ffn_gate_inp.weight").bytes;
            overwrite(weights, 0, &f32::INFINITY.to_le_bytes());
            overwrite(weights, 4, &f32::NEG_INFINITY.to_le_bytes());
            put_model(dir, &model)
        },
        By::Computing,
        &["not a number in layer 2", "damaged", "checksum"],
    ),
    (
        "a head that is not a number",
        |dir, mut model| {
            overwrite(&mut model.tensor("output.weight").bytes, 0, &f32::NAN.to_le_bytes());
            put_model(dir, &model)
        },
        By::Computing,
        &["logit", "not a number in layer 3", "checksum"],
    ),
];
