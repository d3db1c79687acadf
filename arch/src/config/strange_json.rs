//! Fields of `config.json` that nobody here knows.

use super::from_json;

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
pub fn unknown(text: &[u8]) -> Vec<String> {
    from_json::unread(text).into_iter().filter(|name| !SILENT.contains(&name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_depends_on_the_architecture() {
        let config = |architecture: &str| {
            format!(
                r#"{{"architectures": ["{architecture}"], "index_topk": 8, "rope_theta": 20000, "use_cache": true, "sorcery": 1, "nothing": null}}"#
            )
        };
        assert_eq!(unknown(config("DeepseekV32ForCausalLM").as_bytes()), ["sorcery"]);
        // A dense sibling has no indexer: who wrote one into its file is told that it is not used.
        assert_eq!(unknown(config("DeepseekV3ForCausalLM").as_bytes()), ["index_topk", "sorcery"]);
    }
}
