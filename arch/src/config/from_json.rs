//! `config.json`, in DeepSeek's own form and in the forms that transformers 4 and 5 write.
//!
//! What is absent has the value that transformers 5.23 gives it (`DeepseekV32Config`, `DeepseekV3Config`). A switch that would
//! change the mathematics in a way this program does not compute is refused by its name. Other fields are ignored on purpose
//! (`head_dim` means another thing in each form).

use super::fields::{Fields, Plain, shown};
use super::rope_json::Rope;
use super::{Config, ConfigError, IndexerConfig};
use serde_json::{Map, Value};

const ARCHITECTURES: &str = "DeepseekV32ForCausalLM, DeepseekV3ForCausalLM";

// What transformers assumes where these are absent.
const N_GROUP: usize = 8;
const TOPK_GROUP: usize = 4;
const N_SHARED_EXPERTS: usize = 1;
const FIRST_K_DENSE_REPLACE: usize = 3;
const ROUTED_SCALING_FACTOR: f32 = 2.5;

/// Switches of this family and of its relatives.
const SWITCHES: [(&str, Plain); 23] = [
    ("scoring_func", Plain::Word("sigmoid")),
    ("topk_method", Plain::Word("noaux_tc")),
    ("hidden_act", Plain::Word("silu")),
    ("attention_bias", Plain::Flag(false)),
    ("mlp_bias", Plain::Flag(false)),
    ("rope_interleave", Plain::Flag(true)),
    ("indexer_rope_interleave", Plain::Flag(false)),
    ("use_qk_norm", Plain::Flag(false)),
    ("qk_layernorm", Plain::Flag(false)),
    ("moe_layer_freq", Plain::Number(1.0)),
    ("partial_rotary_factor", Plain::Number(1.0)),
    ("index_topk_freq", Plain::Number(1.0)),
    ("logit_scale", Plain::Number(1.0)),
    ("logits_scaling", Plain::Number(1.0)),
    ("embedding_multiplier", Plain::Number(1.0)),
    ("residual_multiplier", Plain::Number(1.0)),
    ("lm_head_multiplier", Plain::Number(1.0)),
    ("attn_logit_softcapping", Plain::Number(0.0)),
    ("final_logit_softcapping", Plain::Number(0.0)),
    ("swiglu_limit", Plain::Number(0.0)),
    ("sliding_window", Plain::Number(0.0)),
    ("index_topk_pattern", Plain::NothingBut("F")),
    ("indexer_types", Plain::NothingBut("full")),
];

/// What transformers has called attention to all earlier tokens, or to those that an indexer chose.
const LAYER_TYPES: [&str; 4] =
    ["indexed_attention", "full_attention", "sparse_attention", "deepseek_sparse_attention"];

impl Config {
    /// Reads `config.json`.
    ///
    /// `has_mtp`: whether the checkpoint holds an MTP layer's tensors; the file's own count is not trusted, because
    /// re-saved checkpoints drop either the field or the layer.
    ///
    /// # Errors
    /// Another architecture by name; otherwise everything missing or contradictory at once.
    pub fn from_json(text: &[u8], has_mtp: impl Fn(usize) -> bool) -> Result<Config, ConfigError> {
        let json: Map<String, Value> = serde_json::from_slice(text)?;
        let mut fields = Fields::new(&json, "");
        let config = whole(&mut fields, has_mtp)?;
        if !fields.problems.is_empty() {
            return Err(ConfigError::Invalid(fields.problems));
        }
        config.validate()?;
        Ok(config)
    }
}

/// Names of fields that have a value which [`Config::from_json`] does not look at.
pub(super) fn unread(text: &[u8]) -> Vec<String> {
    let json: Map<String, Value> = serde_json::from_slice(text).unwrap_or_default();
    let mut fields = Fields::new(&json, "");
    // A file that is refused is told about by the refusal.
    whole(&mut fields, |_| false).map_or(Vec::new(), |_| fields.unread().map(str::to_owned).collect())
}

fn whole(fields: &mut Fields<'_>, has_mtp: impl Fn(usize) -> bool) -> Result<Config, ConfigError> {
    let sparse = is_sparse(fields)?;
    fields.check(&SWITCHES);
    Ok(numbers(fields, sparse, has_mtp))
}

/// Whether this is V3.2 or one of the dense siblings.
fn is_sparse(fields: &Fields<'_>) -> Result<bool, ConfigError> {
    // One name without a list around it is a name, too.
    let named = fields.value("architectures").and_then(|names| match names {
        Value::Array(list) => list.first(),
        name => Some(name),
    });
    let named = named.filter(|name| !name.is_null());
    let model_type = fields.value("model_type");
    let text = |value: Option<&Value>| value.map(|value| value.as_str().unwrap_or("not a text").to_owned());
    match (text(named).as_deref(), text(model_type).as_deref()) {
        (Some("DeepseekV32ForCausalLM"), None | Some("" | "deepseek_v32" | "deepseek_v3"))
        | (None, Some("deepseek_v32")) => Ok(true),
        (Some("DeepseekV3ForCausalLM"), None | Some("" | "deepseek_v3")) | (None, Some("deepseek_v3")) => {
            Ok(false)
        }
        _ => {
            let found =
                named.map_or("a model without a name".to_owned(), |name| shown(name).replace('`', ""));
            let model_type = model_type.map_or("``".to_owned(), shown);
            let found = format!("{found} (model_type {model_type})");
            Err(ConfigError::OtherModel { found, expected: ARCHITECTURES })
        }
    }
}

fn numbers(fields: &mut Fields<'_>, sparse: bool, has_mtp: impl Fn(usize) -> bool) -> Config {
    let num_hidden_layers = fields.need("num_hidden_layers");
    let indexer = sparse.then(|| IndexerConfig {
        n_heads: fields.need("index_n_heads"),
        head_dim: fields.need("index_head_dim"),
        topk: fields.need("index_topk"),
    });
    let max_position_embeddings = fields.need("max_position_embeddings");
    let Rope { theta, yarn } = Rope::read(fields, max_position_embeddings);
    let n_mtp = fields.size_by_any_name(&["num_nextn_predict_layers", "num_mtp_layers"]).unwrap_or(0);
    let n_routed_experts = fields.size_by_any_name(&["n_routed_experts", "num_experts", "num_local_experts"]);
    if n_routed_experts.is_none() {
        fields.missing("n_routed_experts");
    }
    let num_attention_heads = fields.need("num_attention_heads");
    check_kv_heads(fields, num_attention_heads);
    check_layer_types(fields);
    Config {
        vocab_size: fields.need("vocab_size"),
        hidden_size: fields.need("hidden_size"),
        intermediate_size: fields.need("intermediate_size"),
        moe_intermediate_size: fields.need("moe_intermediate_size"),
        num_hidden_layers,
        num_nextn_predict_layers: if has_mtp(num_hidden_layers) { n_mtp.max(1) } else { 0 },
        first_k_dense_replace: dense_layers(fields, sparse, num_hidden_layers),
        n_routed_experts: n_routed_experts.unwrap_or(0),
        n_shared_experts: fields.size("n_shared_experts").unwrap_or(N_SHARED_EXPERTS),
        num_experts_per_tok: fields.need("num_experts_per_tok"),
        n_group: fields.size("n_group").unwrap_or(N_GROUP),
        topk_group: fields.size("topk_group").unwrap_or(TOPK_GROUP),
        routed_scaling_factor: fields.float("routed_scaling_factor").unwrap_or(ROUTED_SCALING_FACTOR),
        norm_topk_prob: fields.flag("norm_topk_prob").unwrap_or(true),
        num_attention_heads,
        q_lora_rank: fields.need("q_lora_rank"),
        kv_lora_rank: fields.need("kv_lora_rank"),
        qk_nope_head_dim: fields.need("qk_nope_head_dim"),
        qk_rope_head_dim: fields.need("qk_rope_head_dim"),
        v_head_dim: fields.need("v_head_dim"),
        indexer,
        rms_norm_eps: fields.float("rms_norm_eps").unwrap_or(1e-6),
        max_position_embeddings,
        rope_theta: theta,
        yarn,
        tie_word_embeddings: fields.value("tie_word_embeddings").is_some()
            && fields.flag("tie_word_embeddings").unwrap_or(false),
    }
}

/// MLA has as many keys and values as heads; a number beside it can only say the same.
fn check_kv_heads(fields: &mut Fields<'_>, heads: usize) {
    if let Some(found) = fields.value("num_key_value_heads")
        && found.as_u64() != Some(heads as u64)
    {
        fields.wrong("num_key_value_heads", format_args!("num_attention_heads = {heads}"), found);
    }
}

fn check_layer_types(fields: &mut Fields<'_>) {
    let Some(found) = fields.value("layer_types") else { return };
    let known = |kind: &Value| kind.as_str().is_some_and(|kind| LAYER_TYPES.contains(&kind));
    match found.as_array().map(|kinds| kinds.iter().find(|kind| !known(kind))) {
        Some(None) => {}
        Some(Some(stranger)) => fields.wrong("layer_types", "`indexed_attention` in every layer", stranger),
        None => fields.wrong("layer_types", "a list", found),
    }
}

/// Leading dense layers: by `mlp_layer_types`, which transformers 5 goes by in V3.2, or by their number.
fn dense_layers(fields: &mut Fields<'_>, sparse: bool, n_layers: usize) -> usize {
    let number = fields.size("first_k_dense_replace");
    let Some(found) = fields.value("mlp_layer_types") else {
        return number.unwrap_or(FIRST_K_DENSE_REPLACE.min(n_layers));
    };
    let kinds =
        found.as_array().map(|kinds| kinds.iter().map(Value::as_str).collect::<Vec<_>>()).unwrap_or_default();
    let dense = kinds.iter().take_while(|kind| **kind == Some("dense")).count();
    if kinds.len() != n_layers || kinds[dense..].iter().any(|kind| *kind != Some("sparse")) {
        let expected =
            format!("`dense` for the leading layers and `sparse` for the others, {n_layers} in all");
        fields.wrong("mlp_layer_types", expected, found);
    }
    // V3's class does not know the list.
    if let Some(number) = number
        && !sparse
        && number != dense
    {
        fields.problems.push(format!(
            "mlp_layer_types: expected first_k_dense_replace = {number} dense layers, found {dense}"
        ));
    }
    dense
}

#[cfg(test)]
mod tests;
