"""The numbers of the model, under the names of DeepSeek's config.json."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 256
    moe_intermediate_size: int = 256
    num_hidden_layers: int = 3
    num_nextn_predict_layers: int = 1
    first_k_dense_replace: int = 1
    n_routed_experts: int = 6
    n_shared_experts: int = 1
    num_experts_per_tok: int = 2
    n_group: int = 3
    topk_group: int = 2
    routed_scaling_factor: float = 2.5
    num_attention_heads: int = 8
    q_lora_rank: int = 256
    kv_lora_rank: int = 256
    qk_nope_head_dim: int = 32
    qk_rope_head_dim: int = 16
    v_head_dim: int = 32
    index_n_heads: int = 16
    index_head_dim: int = 32
    index_topk: int = 64
    max_position_embeddings: int = 163840
    rope_theta: int = 10000
    rms_norm_eps: float = 1e-6
    yarn_factor: int = 40
    yarn_original: int = 4096

    @property
    def qk_head_dim(self):
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def softmax_scale(self):
        """YaRN multiplies the usual scale by the square of 0.1 ln(factor) + 1 (mscale_all_dim is 1)."""
        return self.qk_head_dim**-0.5 * (0.1 * math.log(self.yarn_factor) + 1) ** 2

    def rope_speeds(self):
        """Radians per position of each rotated pair, [qk_rope_head_dim / 2]; the same at every context length."""
        dim, base = self.qk_rope_head_dim, self.rope_theta

        def pair_that_turns(times):
            return dim * math.log(self.yarn_original / (2 * math.pi * times)) / (2 * math.log(base))

        low, high = max(math.floor(pair_that_turns(32)), 0), min(math.ceil(pair_that_turns(1)), dim - 1)
        speeds = []
        for pair in range(dim // 2):
            ramp = min(max((pair - low) / max(high - low, 0.001), 0.0), 1.0)
            speed = base ** (-2.0 * pair / dim)
            speeds.append(speed * (1 - ramp) + speed / self.yarn_factor * ramp)
        return speeds

    def to_json(self, quantised):
        """config.json in DeepSeek's form."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.name.startswith("yarn_")}
        fixed = dict(
            architectures=["DeepseekV32ForCausalLM"], model_type="deepseek_v32", attention_bias=False,
            attention_dropout=0.0, bos_token_id=0, eos_token_id=1, ep_size=1, hidden_act="silu",
            initializer_range=0.02, moe_layer_freq=1, norm_topk_prob=True,
            num_key_value_heads=self.num_attention_heads, scoring_func="sigmoid", tie_word_embeddings=False,
            topk_method="noaux_tc", torch_dtype="bfloat16", transformers_version="4.44.2", use_cache=True,
        )  # fmt: skip
        fixed["rope_scaling"] = dict(
            type="yarn", factor=self.yarn_factor, original_max_position_embeddings=self.yarn_original, beta_fast=32,
            beta_slow=1, mscale=1.0, mscale_all_dim=1.0,
        )  # fmt: skip
        if quantised:
            fixed["quantization_config"] = dict(
                activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", scale_fmt="ue8m0",
                weight_block_size=[128, 128],
            )  # fmt: skip
        return dict(sorted((own | fixed).items()))


# A few seconds per stage: for tests of the machinery, not for skill.
TINY = Config(
    vocab_size=4096, hidden_size=64, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=2,
    num_attention_heads=4, q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, v_head_dim=16, index_topk=16,
)  # fmt: skip
