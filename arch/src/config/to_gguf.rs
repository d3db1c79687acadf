//! GGUF metadata that describes the model, as llama.cpp's converter writes it.

use super::Config;
use fathom_gguf::OwnedValue;

impl Config {
    /// Name of the architecture in GGUF: `deepseek32`, or `deepseek2` for the dense siblings.
    pub fn gguf_arch(&self) -> &'static str {
        if self.indexer.is_some() { "deepseek32" } else { "deepseek2" }
    }

    /// `general.architecture` and every key of the architecture.
    pub fn to_gguf(&self) -> Vec<(String, OwnedValue)> {
        let arch = self.gguf_arch();
        let mut keys = vec![("general.architecture".to_owned(), OwnedValue::from(arch))];
        let mut put = |key: &str, value: OwnedValue| keys.push((format!("{arch}.{key}"), value));
        // Sizes were validated below 2^28.
        let int = |value: usize| OwnedValue::from(value as u32);
        put("block_count", int(self.n_layers_with_mtp()));
        if self.num_nextn_predict_layers > 0 {
            put("nextn_predict_layers", int(self.num_nextn_predict_layers));
        }
        put("context_length", int(self.max_position_embeddings));
        put("embedding_length", int(self.hidden_size));
        put("feed_forward_length", int(self.intermediate_size));
        put("expert_feed_forward_length", int(self.moe_intermediate_size));
        put("leading_dense_block_count", int(self.first_k_dense_replace));
        put("vocab_size", int(self.vocab_size));
        put("attention.head_count", int(self.num_attention_heads));
        // MLA seen as one key-value head of the latent's width.
        put("attention.head_count_kv", int(1));
        put("attention.key_length", int(self.latent_dim()));
        put("attention.value_length", int(self.kv_lora_rank));
        put("attention.key_length_mla", int(self.qk_head_dim()));
        put("attention.value_length_mla", int(self.v_head_dim));
        put("attention.q_lora_rank", int(self.q_lora_rank));
        put("attention.kv_lora_rank", int(self.kv_lora_rank));
        put("attention.layer_norm_rms_epsilon", self.rms_norm_eps.into());
        if let Some(index) = self.indexer {
            put("attention.indexer.head_count", int(index.n_heads));
            put("attention.indexer.key_length", int(index.head_dim));
            put("attention.indexer.top_k", int(index.topk));
        }
        put("rope.dimension_count", int(self.qk_rope_head_dim));
        put("rope.freq_base", self.rope_theta.into());
        if let Some(yarn) = self.yarn {
            put("rope.scaling.type", OwnedValue::from("yarn"));
            put("rope.scaling.factor", yarn.factor.into());
            put("rope.scaling.original_context_length", int(yarn.original_max_position_embeddings));
            put("rope.scaling.yarn_beta_fast", yarn.beta_fast.into());
            put("rope.scaling.yarn_beta_slow", yarn.beta_slow.into());
            put("rope.scaling.yarn_log_multiplier", (0.1 * yarn.mscale_all_dim).into());
        }
        put("expert_count", int(self.n_routed_experts));
        put("expert_used_count", int(self.num_experts_per_tok));
        put("expert_shared_count", int(self.n_shared_experts));
        put("expert_group_count", int(self.n_group));
        put("expert_group_used_count", int(self.topk_group));
        put("expert_gating_func", OwnedValue::from(2u32));
        put("expert_weights_scale", self.routed_scaling_factor.into());
        put("expert_weights_norm", self.norm_topk_prob.into());
        keys
    }
}
