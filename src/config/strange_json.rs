//! Fields of `config.json` that nobody here knows.

use super::from_json::SWITCHES;
use serde_json::{Map, Value};

/// Fields that are read.
const READ: [&str; 38] = [
    "architectures",
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "moe_intermediate_size",
    "num_hidden_layers",
    "num_nextn_predict_layers",
    "num_mtp_layers",
    "first_k_dense_replace",
    "mlp_layer_types",
    "layer_types",
    "n_routed_experts",
    "num_experts",
    "num_local_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "n_group",
    "topk_group",
    "routed_scaling_factor",
    "norm_topk_prob",
    "num_attention_heads",
    "num_key_value_heads",
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "index_n_heads",
    "index_head_dim",
    "index_topk",
    "rms_norm_eps",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "tie_word_embeddings",
];

/// Fields that say nothing about what is computed: about training, about other programs, or what follows from others.
const SILENT: [&str; 40] = [
    "_attn_implementation",
    "_name_or_path",
    "_attn_implementation_autoset",
    "add_cross_attention",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "aux_loss_alpha",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "eos_token_id",
    "ep_size",
    "fathom_weights",
    "finetuning_task",
    "head_dim",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "max_length",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "qk_head_dim",
    "quantization_config",
    "return_dict",
    "router_aux_loss_coef",
    "seq_aux",
    "task_specific_params",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "unsloth_fixed",
    "use_cache",
];

/// Fields that have a value and are neither read nor known to change nothing.
pub(crate) fn unknown(text: &[u8]) -> Vec<String> {
    let json: Map<String, Value> = serde_json::from_slice(text).unwrap_or_default();
    let is_known = |name: &str| {
        READ.contains(&name) || SILENT.contains(&name) || SWITCHES.iter().any(|(switch, _)| *switch == name)
    };
    let strange = json.into_iter().filter(|(name, value)| !value.is_null() && !is_known(name));
    strange.map(|(name, _)| name).collect()
}
