"""The shapes: what each tiny checkpoint looks like and which seed made it.

A seed is chosen by `generate.py --search`: the first one for which no choice the model makes (index keys,
expert groups, experts, greedy token) is closer than NEAR_TIE to being another one, in any storage form.
"""

NEAR_TIE = 1e-5

YARN = {
    "type": "yarn",
    "factor": 40,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}

# seed, n: the tokens' number. variants: storage forms. mtp: "own" has its own copies of embedding and head,
# "shared" none, None no MTP layer. full: store every activation. every: keep each k-th row of the logits.
SHAPES = {
    "base": dict(
        seed=1, n=40, mtp="shared", full=True, every=1, shards=1, store="F32", variants=("bf16", "fp8"),
        transformers_config=True, tokenizer=True,
        config=dict(
            vocab_size=320, hidden_size=64, intermediate_size=144, moe_intermediate_size=8, num_hidden_layers=3,
            first_k_dense_replace=1, num_attention_heads=4, n_routed_experts=16, n_shared_experts=1,
            num_experts_per_tok=4, n_group=4, topk_group=2, q_lora_rank=24, kv_lora_rank=136, qk_nope_head_dim=16,
            qk_rope_head_dim=8, v_head_dim=20, index_n_heads=32, index_head_dim=16, index_topk=8,
        ),
    ),
    "odd": dict(
        seed=1, n=45, mtp="shared", full=False, every=1, shards=1, store="F32",
        config=dict(
            vocab_size=307, hidden_size=76, intermediate_size=50, moe_intermediate_size=7, num_hidden_layers=2,
            first_k_dense_replace=1, num_attention_heads=3, n_routed_experts=9, n_shared_experts=1,
            num_experts_per_tok=3, n_group=3, topk_group=2, q_lora_rank=28, kv_lora_rank=40, qk_nope_head_dim=24,
            qk_rope_head_dim=12, v_head_dim=20, index_n_heads=17, index_head_dim=22, index_topk=9,
            routed_scaling_factor=1.7, rope_theta=50000,
            rope_scaling=dict(YARN, factor=8, original_max_position_embeddings=1024, beta_fast=16, beta_slow=2),
        ),
    ),
    "nogroups": dict(
        seed=1, n=48, mtp="own", full=False, every=1, shards=1, store="BF16",
        config=dict(
            vocab_size=320, hidden_size=64, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=2,
            first_k_dense_replace=1, num_attention_heads=2, n_routed_experts=6, n_shared_experts=2,
            num_experts_per_tok=3, n_group=1, topk_group=1, q_lora_rank=32, kv_lora_rank=32, qk_nope_head_dim=32,
            qk_rope_head_dim=16, v_head_dim=64, index_n_heads=16, index_head_dim=32, index_topk=8,
        ),
    ),
    "dense": dict(
        seed=2, n=40, mtp=None, full=False, every=1, shards=2, store="BF16 and norms", indexer=False,
        config=dict(
            vocab_size=320, hidden_size=64, intermediate_size=96, moe_intermediate_size=16, num_hidden_layers=3,
            first_k_dense_replace=1, num_attention_heads=4, n_routed_experts=8, n_shared_experts=1,
            num_experts_per_tok=2, n_group=4, topk_group=2, q_lora_rank=32, kv_lora_rank=32, qk_nope_head_dim=16,
            qk_rope_head_dim=16, v_head_dim=24,
        ),
    ),
    "long": dict(
        seed=4, n=220, mtp="shared", full=False, every=5, shards=1, store="BF16",
        config=dict(
            vocab_size=320, hidden_size=64, intermediate_size=96, moe_intermediate_size=8, num_hidden_layers=2,
            first_k_dense_replace=1, num_attention_heads=2, n_routed_experts=12, n_shared_experts=1,
            num_experts_per_tok=4, n_group=3, topk_group=2, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16,
            qk_rope_head_dim=16, v_head_dim=16, index_n_heads=32, index_head_dim=24, index_topk=16,
            max_position_embeddings=2560, rope_scaling=dict(YARN, original_max_position_embeddings=64),
        ),
    ),
}


def official_config(shape, variant=None):
    """config.json with the field names of the published checkpoint, in alphabetical order as there."""
    sparse = shape.get("indexer", True)
    config = dict(
        architectures=["DeepseekV32ForCausalLM" if sparse else "DeepseekV3ForCausalLM"],
        attention_bias=False, attention_dropout=0.0, bos_token_id=0, eos_token_id=1, ep_size=1, hidden_act="silu",
        initializer_range=0.02, max_position_embeddings=163840, model_type="deepseek_v32" if sparse else "deepseek_v3",
        moe_layer_freq=1, norm_topk_prob=True, num_nextn_predict_layers=1 if shape["mtp"] else 0, rms_norm_eps=1e-6,
        rope_scaling=YARN, rope_theta=10000, routed_scaling_factor=2.5, scoring_func="sigmoid",
        tie_word_embeddings=False, topk_method="noaux_tc",
        torch_dtype="float32" if shape["store"] == "F32" and variant is None else "bfloat16",
        transformers_version="4.44.2", use_cache=True,
    )
    config.update(shape["config"])
    config["num_key_value_heads"] = config["num_attention_heads"]
    if variant == "fp8":
        config["quantization_config"] = dict(
            activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", scale_fmt="ue8m0", weight_block_size=[128, 128]
        )
    return dict(sorted(config.items()))


def layer_shapes(c, layer, sparse):
    """Names and shapes of one decoder layer, [out, in]."""
    h, heads, rope = c["hidden_size"], c["num_attention_heads"], c["qk_rope_head_dim"]
    nope, v, q_rank, kv_rank = c["qk_nope_head_dim"], c["v_head_dim"], c["q_lora_rank"], c["kv_lora_rank"]
    out = {
        "input_layernorm.weight": (h,),
        "post_attention_layernorm.weight": (h,),
        "self_attn.q_a_proj.weight": (q_rank, h),
        "self_attn.q_a_layernorm.weight": (q_rank,),
        "self_attn.q_b_proj.weight": (heads * (nope + rope), q_rank),
        "self_attn.kv_a_proj_with_mqa.weight": (kv_rank + rope, h),
        "self_attn.kv_a_layernorm.weight": (kv_rank,),
        "self_attn.kv_b_proj.weight": (heads * (nope + v), kv_rank),
        "self_attn.o_proj.weight": (h, heads * v),
    }
    if sparse:
        out |= {
            "self_attn.indexer.wq_b.weight": (c["index_n_heads"] * c["index_head_dim"], q_rank),
            "self_attn.indexer.wk.weight": (c["index_head_dim"], h),
            "self_attn.indexer.k_norm.weight": (c["index_head_dim"],),
            "self_attn.indexer.k_norm.bias": (c["index_head_dim"],),
            "self_attn.indexer.weights_proj.weight": (c["index_n_heads"], h),
        }

    def swiglu(prefix, width):
        return {
            f"{prefix}.gate_proj.weight": (width, h),
            f"{prefix}.up_proj.weight": (width, h),
            f"{prefix}.down_proj.weight": (h, width),
        }

    if layer < c["first_k_dense_replace"]:
        out |= swiglu("mlp", c["intermediate_size"])
    else:
        out |= {
            "mlp.gate.weight": (c["n_routed_experts"], h),
            "mlp.gate.e_score_correction_bias": (c["n_routed_experts"],),
        }
        for expert in range(c["n_routed_experts"]):
            out |= swiglu(f"mlp.experts.{expert}", c["moe_intermediate_size"])
        out |= swiglu("mlp.shared_experts", c["moe_intermediate_size"] * c["n_shared_experts"])
    return {f"model.layers.{layer}.{name}": shape for name, shape in out.items()}


def checkpoint_shapes(shape):
    c, sparse = shape["config"], shape.get("indexer", True)
    h, vocab, layers = c["hidden_size"], c["vocab_size"], c["num_hidden_layers"]
    out = {"model.embed_tokens.weight": (vocab, h)}
    for layer in range(layers):
        out |= layer_shapes(c, layer, sparse)
    out |= {"model.norm.weight": (h,), "lm_head.weight": (vocab, h)}
    if shape["mtp"]:
        prefix = f"model.layers.{layers}"
        out |= layer_shapes(c, layers, sparse)
        out |= {
            f"{prefix}.eh_proj.weight": (h, 2 * h),
            f"{prefix}.enorm.weight": (h,),
            f"{prefix}.hnorm.weight": (h,),
            f"{prefix}.shared_head.norm.weight": (h,),
        }
        if shape["mtp"] == "own":
            out |= {f"{prefix}.embed_tokens.weight": (vocab, h), f"{prefix}.shared_head.head.weight": (vocab, h)}
    return out
