//! The one table: checkpoint name, GGUF name, shape, role.
//!
//! The engine binds tensors through it, the converter is planned from it, and nothing else in the project spells a
//! tensor's name. Shapes are outermost first. Sources: DeepSeek's published checkpoint and llama.cpp's `deepseek32`.

use crate::config::Config;
use crate::plan::{KvHalf, Origin, TensorPlan};
use crate::role::Role;

/// How a tensor is named in a checkpoint, below `model.layers.N.` or at the top.
#[derive(Clone, Copy, Debug)]
pub enum Hf {
    /// One tensor.
    One(&'static str),
    /// `mlp.experts.E.<this>`, stacked over experts.
    Experts(&'static str),
    /// A half of `self_attn.kv_b_proj.weight`.
    KvB(KvHalf),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// GGUF name, below `blk.N.` for tensors of a layer.
    pub gguf: &'static str,
    /// Checkpoint name.
    pub hf: Hf,
    /// What it is for.
    pub role: Role,
    /// Shape for a configuration, outermost first.
    pub shape: fn(&Config) -> Vec<usize>,
}

const fn spec(gguf: &'static str, hf: Hf, role: Role, shape: fn(&Config) -> Vec<usize>) -> Spec {
    Spec { gguf, hf, role, shape }
}

use Hf::{Experts, KvB, One};

/// Token embedding.
pub const TOKEN_EMBD: Spec = spec("token_embd.weight", One("model.embed_tokens.weight"), Role::Embed, |c| {
    vec![c.vocab_size, c.hidden_size]
});
/// Final norm.
pub const OUTPUT_NORM: Spec =
    spec("output_norm.weight", One("model.norm.weight"), Role::Exact, |c| vec![c.hidden_size]);
/// Language-model head.
pub const OUTPUT: Spec =
    spec("output.weight", One("lm_head.weight"), Role::Head, |c| vec![c.vocab_size, c.hidden_size]);

/// Norm before attention.
pub const ATTN_NORM: Spec =
    spec("attn_norm.weight", One("input_layernorm.weight"), Role::Exact, |c| vec![c.hidden_size]);
/// Query down-projection.
pub const ATTN_Q_A: Spec = spec("attn_q_a.weight", One("self_attn.q_a_proj.weight"), Role::Attention, |c| {
    vec![c.q_lora_rank, c.hidden_size]
});
/// Norm of the query latent.
pub const ATTN_Q_A_NORM: Spec =
    spec("attn_q_a_norm.weight", One("self_attn.q_a_layernorm.weight"), Role::Exact, |c| vec![c.q_lora_rank]);
/// Query up-projection, head-major.
pub const ATTN_Q_B: Spec = spec("attn_q_b.weight", One("self_attn.q_b_proj.weight"), Role::Attention, |c| {
    vec![c.num_attention_heads * c.qk_head_dim(), c.q_lora_rank]
});
/// Latent and shared rotary key.
pub const ATTN_KV_A_MQA: Spec =
    spec("attn_kv_a_mqa.weight", One("self_attn.kv_a_proj_with_mqa.weight"), Role::Attention, |c| {
        vec![c.latent_dim(), c.hidden_size]
    });
/// Norm of the latent.
pub const ATTN_KV_A_NORM: Spec =
    spec("attn_kv_a_norm.weight", One("self_attn.kv_a_layernorm.weight"), Role::Exact, |c| {
        vec![c.kv_lora_rank]
    });
/// K half of kv_b, per head and transposed.
pub const ATTN_K_B: Spec = spec("attn_k_b.weight", KvB(KvHalf::K), Role::AttentionKvB, |c| {
    vec![c.num_attention_heads, c.kv_lora_rank, c.qk_nope_head_dim]
});
/// V half of kv_b, per head.
pub const ATTN_V_B: Spec = spec("attn_v_b.weight", KvB(KvHalf::V), Role::AttentionKvB, |c| {
    vec![c.num_attention_heads, c.v_head_dim, c.kv_lora_rank]
});
/// Both halves in one matrix: only in older files (llama.cpp before MLA was split).
pub const ATTN_KV_B: Spec =
    spec("attn_kv_b.weight", One("self_attn.kv_b_proj.weight"), Role::AttentionKvB, |c| {
        vec![c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank]
    });
/// Output projection.
pub const ATTN_OUTPUT: Spec =
    spec("attn_output.weight", One("self_attn.o_proj.weight"), Role::Attention, |c| {
        vec![c.hidden_size, c.num_attention_heads * c.v_head_dim]
    });

/// Norm of the index key: weight.
pub const INDEXER_K_NORM: Spec =
    spec("indexer.k_norm.weight", One("self_attn.indexer.k_norm.weight"), Role::Exact, |c| {
        vec![c.index().head_dim]
    });
/// Norm of the index key: bias.
pub const INDEXER_K_NORM_BIAS: Spec =
    spec("indexer.k_norm.bias", One("self_attn.indexer.k_norm.bias"), Role::Exact, |c| {
        vec![c.index().head_dim]
    });
/// Weights of the index heads.
pub const INDEXER_PROJ: Spec =
    spec("indexer.proj.weight", One("self_attn.indexer.weights_proj.weight"), Role::Exact, |c| {
        vec![c.index().n_heads, c.hidden_size]
    });
/// Index key.
pub const INDEXER_ATTN_K: Spec =
    spec("indexer.attn_k.weight", One("self_attn.indexer.wk.weight"), Role::Indexer, |c| {
        vec![c.index().head_dim, c.hidden_size]
    });
/// Index queries, head-major.
pub const INDEXER_ATTN_Q_B: Spec =
    spec("indexer.attn_q_b.weight", One("self_attn.indexer.wq_b.weight"), Role::Indexer, |c| {
        vec![c.index().n_heads * c.index().head_dim, c.q_lora_rank]
    });

/// Norm before the feed-forward half.
pub const FFN_NORM: Spec =
    spec("ffn_norm.weight", One("post_attention_layernorm.weight"), Role::Exact, |c| vec![c.hidden_size]);
/// Dense gate.
pub const FFN_GATE: Spec = spec("ffn_gate.weight", One("mlp.gate_proj.weight"), Role::DenseFfn, |c| {
    vec![c.intermediate_size, c.hidden_size]
});
/// Dense up.
pub const FFN_UP: Spec = spec("ffn_up.weight", One("mlp.up_proj.weight"), Role::DenseFfn, |c| {
    vec![c.intermediate_size, c.hidden_size]
});
/// Dense down.
pub const FFN_DOWN: Spec = spec("ffn_down.weight", One("mlp.down_proj.weight"), Role::DenseFfn, |c| {
    vec![c.hidden_size, c.intermediate_size]
});
/// Router.
pub const FFN_GATE_INP: Spec = spec("ffn_gate_inp.weight", One("mlp.gate.weight"), Role::Exact, |c| {
    vec![c.n_routed_experts, c.hidden_size]
});
/// Router's selection bias.
pub const EXP_PROBS_B: Spec =
    spec("exp_probs_b.bias", One("mlp.gate.e_score_correction_bias"), Role::Exact, |c| {
        vec![c.n_routed_experts]
    });
/// Routed experts, gate.
pub const FFN_GATE_EXPS: Spec =
    spec("ffn_gate_exps.weight", Experts("gate_proj.weight"), Role::RoutedGateUp, |c| {
        vec![c.n_routed_experts, c.moe_intermediate_size, c.hidden_size]
    });
/// Routed experts, up.
pub const FFN_UP_EXPS: Spec =
    spec("ffn_up_exps.weight", Experts("up_proj.weight"), Role::RoutedGateUp, |c| {
        vec![c.n_routed_experts, c.moe_intermediate_size, c.hidden_size]
    });
/// Routed experts, down.
pub const FFN_DOWN_EXPS: Spec =
    spec("ffn_down_exps.weight", Experts("down_proj.weight"), Role::RoutedDown, |c| {
        vec![c.n_routed_experts, c.hidden_size, c.moe_intermediate_size]
    });
/// Shared expert, gate.
pub const FFN_GATE_SHEXP: Spec =
    spec("ffn_gate_shexp.weight", One("mlp.shared_experts.gate_proj.weight"), Role::SharedExpert, |c| {
        vec![c.shared_intermediate_size(), c.hidden_size]
    });
/// Shared expert, up.
pub const FFN_UP_SHEXP: Spec =
    spec("ffn_up_shexp.weight", One("mlp.shared_experts.up_proj.weight"), Role::SharedExpert, |c| {
        vec![c.shared_intermediate_size(), c.hidden_size]
    });
/// Shared expert, down.
pub const FFN_DOWN_SHEXP: Spec =
    spec("ffn_down_shexp.weight", One("mlp.shared_experts.down_proj.weight"), Role::SharedExpert, |c| {
        vec![c.hidden_size, c.shared_intermediate_size()]
    });

/// MTP: joins embedding (first half) and hidden state.
pub const NEXTN_EH_PROJ: Spec = spec("nextn.eh_proj.weight", One("eh_proj.weight"), Role::Mtp, |c| {
    vec![c.hidden_size, 2 * c.hidden_size]
});
/// MTP: norm of the embedding.
pub const NEXTN_ENORM: Spec =
    spec("nextn.enorm.weight", One("enorm.weight"), Role::Exact, |c| vec![c.hidden_size]);
/// MTP: norm of the hidden state.
pub const NEXTN_HNORM: Spec =
    spec("nextn.hnorm.weight", One("hnorm.weight"), Role::Exact, |c| vec![c.hidden_size]);
/// MTP: norm before the head.
pub const NEXTN_SHARED_HEAD_NORM: Spec =
    spec("nextn.shared_head_norm.weight", One("shared_head.norm.weight"), Role::Exact, |c| {
        vec![c.hidden_size]
    });
/// MTP: copy of the embedding, optional.
pub const NEXTN_EMBED_TOKENS: Spec =
    spec("nextn.embed_tokens.weight", One("embed_tokens.weight"), Role::Mtp, |c| {
        vec![c.vocab_size, c.hidden_size]
    });
/// MTP: copy of the head, optional.
pub const NEXTN_SHARED_HEAD_HEAD: Spec =
    spec("nextn.shared_head_head.weight", One("shared_head.head.weight"), Role::Mtp, |c| {
        vec![c.vocab_size, c.hidden_size]
    });

const ATTENTION: [Spec; 9] = [
    ATTN_NORM,
    ATTN_Q_A_NORM,
    ATTN_KV_A_NORM,
    ATTN_Q_A,
    ATTN_Q_B,
    ATTN_KV_A_MQA,
    ATTN_K_B,
    ATTN_V_B,
    ATTN_OUTPUT,
];
const INDEXER: [Spec; 5] =
    [INDEXER_K_NORM, INDEXER_K_NORM_BIAS, INDEXER_PROJ, INDEXER_ATTN_K, INDEXER_ATTN_Q_B];
const DENSE: [Spec; 3] = [FFN_GATE, FFN_DOWN, FFN_UP];
const MOE: [Spec; 5] = [FFN_GATE_INP, EXP_PROBS_B, FFN_GATE_EXPS, FFN_DOWN_EXPS, FFN_UP_EXPS];
const SHARED: [Spec; 3] = [FFN_GATE_SHEXP, FFN_DOWN_SHEXP, FFN_UP_SHEXP];
const NEXTN: [Spec; 4] = [NEXTN_EH_PROJ, NEXTN_ENORM, NEXTN_HNORM, NEXTN_SHARED_HEAD_NORM];

/// Everything outside the layers.
const GLOBAL: [Spec; 3] = [TOKEN_EMBD, OUTPUT_NORM, OUTPUT];
/// Tensors that not every file of the model has.
const SOMETIMES: [Spec; 4] = [ATTN_KV_B, FFN_NORM, NEXTN_EMBED_TOKENS, NEXTN_SHARED_HEAD_HEAD];

/// The row of the table that a GGUF name belongs to, and the layer it is in.
pub fn find(name: &str) -> Option<(Spec, Option<usize>)> {
    let Some((layer, below)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
        return GLOBAL.into_iter().find(|spec| spec.gguf == name).map(|spec| (spec, None));
    };
    let layer = layer.parse().ok()?;
    let kinds: [&[Spec]; 7] = [&ATTENTION, &INDEXER, &DENSE, &MOE, &SHARED, &NEXTN, &SOMETIMES];
    let spec = kinds.into_iter().flatten().find(|spec| spec.gguf == below)?;
    Some((*spec, Some(layer)))
}

/// Whether a checkpoint's tensor has a row in the table, and the layer it is in.
pub fn find_hf(name: &str) -> Option<(Spec, Option<usize>)> {
    let Some((layer, below)) = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'))
    else {
        return GLOBAL
            .into_iter()
            .find(|spec| matches!(spec.hf, One(hf) if hf == name))
            .map(|spec| (spec, None));
    };
    let layer = layer.parse().ok()?;
    let expert = below.strip_prefix("mlp.experts.").and_then(|rest| rest.split_once('.'));
    let kinds: [&[Spec]; 7] = [&ATTENTION, &INDEXER, &DENSE, &MOE, &SHARED, &NEXTN, &SOMETIMES];
    let is_it = |spec: &&Spec| match spec.hf {
        One(hf) => hf == below,
        Experts(hf) => expert.is_some_and(|(number, matrix)| matrix == hf && number.parse::<usize>().is_ok()),
        KvB(_) => below == "self_attn.kv_b_proj.weight",
    };
    let spec = kinds.into_iter().flatten().find(is_it)?;
    Some((*spec, Some(layer)))
}

impl Spec {
    /// GGUF name in layer `layer`.
    pub fn gguf_in(&self, layer: usize) -> String {
        format!("blk.{layer}.{}", self.gguf)
    }

    fn hf_in(&self, layer: usize, config: &Config) -> Origin {
        let prefix = format!("model.layers.{layer}");
        match self.hf {
            One(name) => Origin::Tensor(format!("{prefix}.{name}")),
            Experts(name) => Origin::Stack(
                (0..config.n_routed_experts).map(|e| format!("{prefix}.mlp.experts.{e}.{name}")).collect(),
            ),
            KvB(half) => Origin::KvB {
                name: format!("{prefix}.self_attn.kv_b_proj.weight"),
                half,
                n_heads: config.num_attention_heads,
                qk_nope_head_dim: config.qk_nope_head_dim,
                v_head_dim: config.v_head_dim,
            },
        }
    }

    fn global(&self, config: &Config) -> TensorPlan {
        let One(name) = self.hf else { unreachable!("tensors outside the layers are single") };
        TensorPlan {
            name: self.gguf.to_owned(),
            shape: (self.shape)(config),
            role: self.role,
            origin: Origin::Tensor(name.to_owned()),
        }
    }

    fn planned(&self, layer: usize, config: &Config) -> TensorPlan {
        TensorPlan {
            name: self.gguf_in(layer),
            shape: (self.shape)(config),
            role: self.role,
            origin: self.hf_in(layer, config),
        }
    }
}

/// Every tensor of the model in file order: what `quantize` writes.
///
/// `has` says whether the checkpoint holds a tensor: it decides about the optional ones (a tied head, the copies of
/// embedding and head inside the MTP layer). Everything else is planned whether present or not, so that the
/// checkpoint's check can name what is missing.
pub fn plan(config: &Config, has: impl Fn(&str) -> bool) -> Vec<TensorPlan> {
    let mut plan = vec![TOKEN_EMBD.global(config), OUTPUT_NORM.global(config)];
    if has("lm_head.weight") || !config.tie_word_embeddings {
        plan.push(OUTPUT.global(config));
    }
    for layer in 0..config.n_layers_with_mtp() {
        let mut add = |specs: &[Spec]| plan.extend(specs.iter().map(|s| s.planned(layer, config)));
        add(&ATTENTION);
        if config.indexer.is_some() {
            add(&INDEXER);
        }
        add(&[FFN_NORM]);
        if config.is_dense_layer(layer) {
            add(&DENSE);
        } else {
            add(&MOE);
            if config.n_shared_experts > 0 {
                add(&SHARED);
            }
        }
        if config.is_mtp_layer(layer) {
            add(&NEXTN);
            for optional in [NEXTN_EMBED_TOKENS, NEXTN_SHARED_HEAD_HEAD] {
                let planned = optional.planned(layer, config);
                if planned.origin.sources(&planned.shape).iter().all(|(name, _)| has(name)) {
                    plan.push(planned);
                }
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planned_name_leads_back_to_its_row() {
        let config = Config { num_nextn_predict_layers: 1, ..Config::tiny() };
        let plan = plan(&config, |_| true);
        for tensor in &plan {
            let (spec, layer) = find(&tensor.name).unwrap_or_else(|| panic!("{} is not found", tensor.name));
            assert_eq!(spec.role, tensor.role, "{}", tensor.name);
            assert_eq!(layer.map_or(spec.gguf.to_owned(), |l| spec.gguf_in(l)), tensor.name);
            for (name, _) in tensor.origin.sources(&tensor.shape) {
                let (spec, from) = find_hf(name).unwrap_or_else(|| panic!("{name} is not found"));
                assert_eq!((spec.role, from), (tensor.role, layer), "{name}");
            }
        }
        for stranger in ["model.layers.0.mlp.experts.x.up_proj.weight", "model.layers.0", "up_proj.weight"] {
            assert!(find_hf(stranger).is_none(), "{stranger}");
        }
        for stranger in
            ["", "blk", "blk.0", "blk.x.attn_q_a.weight", "blk.0.token_embd.weight", "attn_q_a.weight"]
        {
            assert!(find(stranger).is_none(), "{stranger}");
        }
    }
}
