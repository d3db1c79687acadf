//! `config.json`, in DeepSeek's own form and in the form transformers 5 writes.

use super::{Config, ConfigError, IndexerConfig, Yarn};
use serde::Deserialize;

const ARCHITECTURES: &str = "DeepseekV32ForCausalLM, DeepseekV3ForCausalLM";

/// Only what the model needs; other fields are ignored on purpose (`head_dim` means another thing in each form).
#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    model_type: String,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    moe_intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    #[serde(default)]
    num_nextn_predict_layers: usize,
    #[serde(default)]
    first_k_dense_replace: usize,
    moe_layer_freq: Option<usize>,
    n_routed_experts: Option<usize>,
    n_shared_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    n_group: Option<usize>,
    topk_group: Option<usize>,
    routed_scaling_factor: Option<f32>,
    norm_topk_prob: Option<bool>,
    scoring_func: Option<String>,
    topk_method: Option<String>,
    num_attention_heads: Option<usize>,
    q_lora_rank: Option<usize>,
    kv_lora_rank: Option<usize>,
    qk_nope_head_dim: Option<usize>,
    qk_rope_head_dim: Option<usize>,
    v_head_dim: Option<usize>,
    index_n_heads: Option<usize>,
    index_head_dim: Option<usize>,
    index_topk: Option<usize>,
    rms_norm_eps: Option<f32>,
    max_position_embeddings: Option<usize>,
    rope_theta: Option<f32>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    hidden_act: Option<String>,
}

#[derive(Deserialize, Clone, Default)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    original_max_position_embeddings: Option<usize>,
    beta_fast: Option<f32>,
    beta_slow: Option<f32>,
    mscale: Option<f32>,
    mscale_all_dim: Option<f32>,
}

impl Config {
    /// Reads `config.json`.
    ///
    /// `has_mtp`: whether the checkpoint holds an MTP layer's tensors; the file's own count is not trusted, because
    /// re-saved checkpoints drop either the field or the layer.
    ///
    /// # Errors
    /// Another architecture by name; otherwise everything missing or contradictory at once.
    pub fn from_json(text: &[u8], has_mtp: impl Fn(usize) -> bool) -> Result<Config, ConfigError> {
        let json: Json = serde_json::from_slice(text)?;
        let sparse = match json.architectures.first().map(String::as_str) {
            Some("DeepseekV32ForCausalLM") => true,
            Some("DeepseekV3ForCausalLM")
                if json.model_type == "deepseek_v3" || json.model_type.is_empty() =>
            {
                false
            }
            found => {
                let found = format!(
                    "{} (model_type `{}`)",
                    found.unwrap_or("a model without a name"),
                    json.model_type
                );
                return Err(ConfigError::OtherModel { found, expected: ARCHITECTURES });
            }
        };
        let mut problems = Vec::new();
        json.check_features(&mut problems);
        let yarn = json.yarn(&mut problems);
        let config = json.numbers(sparse, yarn, has_mtp, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(problems));
        }
        config.validate()?;
        Ok(config)
    }
}

impl Json {
    /// Refuses variants of the architecture that this program does not compute.
    fn check_features(&self, problems: &mut Vec<String>) {
        let mut expect = |name: &str, found: Option<&str>, expected: &str| {
            if let Some(found) = found
                && found != expected
            {
                problems.push(format!("{name}: expected `{expected}`, found `{found}`"));
            }
        };
        expect("scoring_func", self.scoring_func.as_deref(), "sigmoid");
        expect("topk_method", self.topk_method.as_deref(), "noaux_tc");
        expect("hidden_act", self.hidden_act.as_deref(), "silu");
        if self.attention_bias {
            problems.push("attention_bias: expected false, found true".to_owned());
        }
        if let Some(freq) = self.moe_layer_freq
            && freq != 1
        {
            problems.push(format!("moe_layer_freq: expected 1, found {freq}"));
        }
    }

    fn rope(&self) -> Option<&Rope> {
        self.rope_parameters.as_ref().or(self.rope_scaling.as_ref())
    }

    fn yarn(&self, problems: &mut Vec<String>) -> Option<Yarn> {
        let rope = self.rope()?;
        match rope.rope_type.as_deref() {
            None | Some("default") => return None,
            Some("yarn") => {}
            Some(other) => {
                problems.push(format!("rope_scaling.type: expected `yarn` or none, found `{other}`"));
                return None;
            }
        }
        let mscale_all_dim = rope.mscale_all_dim.unwrap_or(0.0);
        let mscale = rope.mscale.unwrap_or(1.0);
        // Equal values make the factor on cos and sin one, which is all that this program computes.
        if mscale != mscale_all_dim {
            problems.push(format!(
                "rope_scaling.mscale: expected mscale_all_dim = {mscale_all_dim}, found {mscale}; unequal values would \
                 scale cos and sin, which no published model of this family does"
            ));
        }
        let Some(factor) = rope.factor else {
            problems.push("rope_scaling.factor: missing".to_owned());
            return None;
        };
        let original = rope.original_max_position_embeddings.or(self.max_position_embeddings);
        Some(Yarn {
            factor,
            original_max_position_embeddings: original.unwrap_or(0),
            beta_fast: rope.beta_fast.unwrap_or(32.0),
            beta_slow: rope.beta_slow.unwrap_or(1.0),
            mscale_all_dim,
        })
    }

    fn numbers(
        &self,
        sparse: bool,
        yarn: Option<Yarn>,
        has_mtp: impl Fn(usize) -> bool,
        problems: &mut Vec<String>,
    ) -> Config {
        let mut need = |name: &str, value: Option<usize>| {
            value.unwrap_or_else(|| {
                problems.push(format!("{name}: missing"));
                0
            })
        };
        let num_hidden_layers = need("num_hidden_layers", self.num_hidden_layers);
        let indexer = sparse.then(|| IndexerConfig {
            n_heads: need("index_n_heads", self.index_n_heads),
            head_dim: need("index_head_dim", self.index_head_dim),
            topk: need("index_topk", self.index_topk),
        });
        let mtp = has_mtp(num_hidden_layers);
        Config {
            vocab_size: need("vocab_size", self.vocab_size),
            hidden_size: need("hidden_size", self.hidden_size),
            intermediate_size: need("intermediate_size", self.intermediate_size),
            moe_intermediate_size: need("moe_intermediate_size", self.moe_intermediate_size),
            num_hidden_layers,
            num_nextn_predict_layers: if mtp { self.num_nextn_predict_layers.max(1) } else { 0 },
            first_k_dense_replace: self.first_k_dense_replace,
            n_routed_experts: need("n_routed_experts", self.n_routed_experts),
            n_shared_experts: self.n_shared_experts.unwrap_or(0),
            num_experts_per_tok: need("num_experts_per_tok", self.num_experts_per_tok),
            n_group: self.n_group.unwrap_or(1),
            topk_group: self.topk_group.unwrap_or(1),
            routed_scaling_factor: self.routed_scaling_factor.unwrap_or(1.0),
            norm_topk_prob: self.norm_topk_prob.unwrap_or(true),
            num_attention_heads: need("num_attention_heads", self.num_attention_heads),
            q_lora_rank: need("q_lora_rank", self.q_lora_rank),
            kv_lora_rank: need("kv_lora_rank", self.kv_lora_rank),
            qk_nope_head_dim: need("qk_nope_head_dim", self.qk_nope_head_dim),
            qk_rope_head_dim: need("qk_rope_head_dim", self.qk_rope_head_dim),
            v_head_dim: need("v_head_dim", self.v_head_dim),
            indexer,
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            max_position_embeddings: need("max_position_embeddings", self.max_position_embeddings),
            rope_theta: self.rope_theta.or_else(|| self.rope().and_then(|r| r.rope_theta)).unwrap_or(10000.0),
            yarn,
            tie_word_embeddings: self.tie_word_embeddings,
        }
    }
}
