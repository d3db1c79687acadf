#!/usr/bin/env python3
"""Tiny DeepSeek checkpoints and the GGUF files that other tool chains make of them.

  layouts.py checkpoint OUT_DIR --kind v32|v32-odd|v32-nogroups|v32-long|v3|v3-256
  layouts.py gguf CHECKPOINT OUT.gguf --layout deepseek32|split|legacy|ik [--type f32|q8_0] [--no-groups] [--no-mtp]
  layouts.py keys FILE.gguf            every key and tensor, one a line, for diffs

The GGUF layouts are those a reader meets in the wild:
  deepseek32  what llama.cpp's converter writes for DeepSeek-V3.2: split MLA, indexer, MTP block
  split       arch deepseek2, attn_k_b and attn_v_b (llama.cpp since April 2025)
  legacy      arch deepseek2, one attn_kv_b and full-size heads (llama.cpp before that)
  ik          legacy plus 2D attn_k_b and attn_v_b (ik_llama.cpp)

Same arguments, same bytes: random numbers come from the frozen legacy generator of numpy.
"""

import argparse
import hashlib
import json
from pathlib import Path

import gguf
import numpy as np

Q8 = gguf.GGMLQuantizationType.Q8_0
F32 = gguf.GGMLQuantizationType.F32

# ---------------------------------------------------------------- checkpoints

COMMON = {
    "vocab_size": 384, "hidden_size": 128, "intermediate_size": 256, "moe_intermediate_size": 64,
    "num_hidden_layers": 4, "num_nextn_predict_layers": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1,
    "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 96, "kv_lora_rank": 64,
    "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "n_routed_experts": 16, "num_experts_per_tok": 4, "n_shared_experts": 1, "n_group": 4, "topk_group": 2,
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True, "routed_scaling_factor": 2.5,
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "attention_bias": False, "tie_word_embeddings": False,
    "max_position_embeddings": 163840, "rope_theta": 10000.0,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096,
                     "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
    "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "float32",
}

# llama.cpp rotates index keys by Hadamard matrices of 64 x 64 and up, so index heads have 64 values here.
# Many index heads and more tokens than top-k: below 16 heads exact ties decide the selection.
V32 = {"architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32",
       "index_n_heads": 32, "index_head_dim": 64, "index_topk": 8}
V3 = {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3"}
YARN = COMMON["rope_scaling"]

KINDS = {
    "v32": V32,
    # No size is a multiple of 32 and none equals another.
    "v32-odd": {**V32, "vocab_size": 307, "hidden_size": 76, "intermediate_size": 50, "moe_intermediate_size": 7,
                "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 3, "n_routed_experts": 9,
                "num_experts_per_tok": 3, "n_group": 3, "q_lora_rank": 28, "kv_lora_rank": 40,
                "qk_nope_head_dim": 22, "qk_rope_head_dim": 12, "v_head_dim": 20, "index_n_heads": 17,
                "index_topk": 9, "routed_scaling_factor": 1.7, "rope_theta": 50000.0,
                "rope_scaling": {**YARN, "factor": 8, "original_max_position_embeddings": 1024,
                                 "beta_fast": 16, "beta_slow": 2}},
    "v32-nogroups": {**V32, "num_hidden_layers": 3, "n_routed_experts": 6, "num_experts_per_tok": 3,
                     "n_shared_experts": 2, "n_group": 1, "topk_group": 1, "v_head_dim": 64},
    # Positions far past the trained ones, so that interpolated frequencies turn visibly.
    "v32-long": {**V32, "num_hidden_layers": 3, "index_topk": 16, "max_position_embeddings": 2560,
                 "rope_scaling": {**YARN, "original_max_position_embeddings": 64}},
    "v3": V3,
    # The expert count by which a reader can tell the real model when a file lacks the group keys.
    "v3-256": {**V3, "num_hidden_layers": 3, "num_nextn_predict_layers": 0, "n_routed_experts": 256,
               "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4, "moe_intermediate_size": 32},
}

# Published checkpoints carry copies of embedding and head for the MTP block. This one draws them apart, so that
# a reader that takes the wrong one is caught; the others have none.
OWN_MTP_HEAD = "v32"


def checkpoint_shapes(cfg, own_mtp_head):
    """HF tensor name -> (shape, how to draw it)."""
    hidden, vocab, heads = cfg["hidden_size"], cfg["vocab_size"], cfg["num_attention_heads"]
    nope, rope, value = cfg["qk_nope_head_dim"], cfg["qk_rope_head_dim"], cfg["v_head_dim"]
    q_rank, kv_rank, experts = cfg["q_lora_rank"], cfg["kv_lora_rank"], cfg["n_routed_experts"]
    shapes = {
        "model.embed_tokens.weight": ((vocab, hidden), "embedding"),
        "model.norm.weight": ((hidden,), "norm"),
        "lm_head.weight": ((vocab, hidden), "matrix"),
    }

    def mlp(prefix, width):
        shapes[prefix + "gate_proj.weight"] = ((width, hidden), "matrix")
        shapes[prefix + "up_proj.weight"] = ((width, hidden), "matrix")
        shapes[prefix + "down_proj.weight"] = ((hidden, width), "matrix")

    trunk = cfg["num_hidden_layers"]
    for layer in range(trunk + cfg["num_nextn_predict_layers"]):
        p = f"model.layers.{layer}."
        a = p + "self_attn."
        shapes[p + "input_layernorm.weight"] = ((hidden,), "norm")
        shapes[p + "post_attention_layernorm.weight"] = ((hidden,), "norm")
        shapes[a + "q_a_proj.weight"] = ((q_rank, hidden), "matrix")
        shapes[a + "q_a_layernorm.weight"] = ((q_rank,), "norm")
        shapes[a + "q_b_proj.weight"] = ((heads * (nope + rope), q_rank), "matrix")
        shapes[a + "kv_a_proj_with_mqa.weight"] = ((kv_rank + rope, hidden), "matrix")
        shapes[a + "kv_a_layernorm.weight"] = ((kv_rank,), "norm")
        shapes[a + "kv_b_proj.weight"] = ((heads * (nope + value), kv_rank), "matrix")
        shapes[a + "o_proj.weight"] = ((hidden, heads * value), "matrix")
        if "index_n_heads" in cfg:
            index_heads, index_dim = cfg["index_n_heads"], cfg["index_head_dim"]
            shapes[a + "indexer.wq_b.weight"] = ((index_heads * index_dim, q_rank), "matrix")
            shapes[a + "indexer.wk.weight"] = ((index_dim, hidden), "matrix")
            shapes[a + "indexer.k_norm.weight"] = ((index_dim,), "norm")
            shapes[a + "indexer.k_norm.bias"] = ((index_dim,), "bias")
            shapes[a + "indexer.weights_proj.weight"] = ((index_heads, hidden), "matrix")
        if layer < cfg["first_k_dense_replace"]:
            mlp(p + "mlp.", cfg["intermediate_size"])
        else:
            shapes[p + "mlp.gate.weight"] = ((experts, hidden), "matrix")
            shapes[p + "mlp.gate.e_score_correction_bias"] = ((experts,), "bias")
            for expert in range(experts):
                mlp(f"{p}mlp.experts.{expert}.", cfg["moe_intermediate_size"])
            mlp(p + "mlp.shared_experts.", cfg["moe_intermediate_size"] * cfg["n_shared_experts"])
        if layer >= trunk:
            shapes[p + "enorm.weight"] = ((hidden,), "norm")
            shapes[p + "hnorm.weight"] = ((hidden,), "norm")
            shapes[p + "eh_proj.weight"] = ((hidden, 2 * hidden), "matrix")
            shapes[p + "shared_head.norm.weight"] = ((hidden,), "norm")
            if own_mtp_head:
                shapes[p + "embed_tokens.weight"] = ((vocab, hidden), "embedding")
                shapes[p + "shared_head.head.weight"] = ((vocab, hidden), "matrix")
    return shapes


def draw(rng, shape, how):
    if how == "norm":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    # Default initialisations leave ones and zeros, which hide bugs; these spreads do not.
    spread = {"matrix": 0.08, "embedding": 1.0, "bias": 0.25}[how]
    return (rng.standard_normal(shape) * spread).astype(np.float32)


def write_checkpoint(out, kind, seed):
    cfg = {**COMMON, **KINDS[kind]}
    rng = np.random.RandomState(seed)
    shapes = checkpoint_shapes(cfg, kind == OWN_MTP_HEAD)
    tensors = {name: draw(rng, shape, how) for name, (shape, how) in shapes.items()}
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(cfg, indent=2) + "\n")
    header, offset = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(out / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(values.tobytes())


def read_checkpoint(folder):
    """Config and all tensors as f32. Float formats only: an FP8 copy has its unquantised twin."""
    cfg = json.loads((folder / "config.json").read_text())
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        raw = path.read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        for name, info in json.loads(raw[8:start]).items():
            if name == "__metadata__":
                continue
            begin, end = (start + at for at in info["data_offsets"])
            data = raw[begin:end]
            if info["dtype"] == "F32":
                values = np.frombuffer(data, "<f4")
            elif info["dtype"] == "F16":
                values = np.frombuffer(data, "<f2").astype(np.float32)
            elif info["dtype"] == "BF16":
                values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                raise SystemExit(f"{path}: {name} is {info['dtype']}; this script reads F32, F16 and BF16")
            tensors[name] = values.reshape(info["shape"])
    if not tensors:
        raise SystemExit(f"{folder}: no model*.safetensors file here")
    return cfg, tensors


# ---------------------------------------------------------------- GGUF files

BLOCK_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_a_proj.weight": "attn_q_a.weight",
    "self_attn.q_a_layernorm.weight": "attn_q_a_norm.weight",
    "self_attn.q_b_proj.weight": "attn_q_b.weight",
    "self_attn.kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight",
    "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.indexer.wq_b.weight": "indexer.attn_q_b.weight",
    "self_attn.indexer.wk.weight": "indexer.attn_k.weight",
    "self_attn.indexer.k_norm.weight": "indexer.k_norm.weight",
    "self_attn.indexer.k_norm.bias": "indexer.k_norm.bias",
    "self_attn.indexer.weights_proj.weight": "indexer.proj.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.shared_experts.gate_proj.weight": "ffn_gate_shexp.weight",
    "mlp.shared_experts.up_proj.weight": "ffn_up_shexp.weight",
    "mlp.shared_experts.down_proj.weight": "ffn_down_shexp.weight",
    "eh_proj.weight": "nextn.eh_proj.weight",
    "enorm.weight": "nextn.enorm.weight",
    "hnorm.weight": "nextn.hnorm.weight",
    "shared_head.norm.weight": "nextn.shared_head_norm.weight",
    "embed_tokens.weight": "nextn.embed_tokens.weight",
    "shared_head.head.weight": "nextn.shared_head_head.weight",
}

ALWAYS_F32 = ("ffn_gate_inp.weight", "indexer.proj.weight")


def kv_b_tensors(cfg, kv_b, layout):
    """The up-projection of the latent, in the shapes the layout stores."""
    heads, nope, value = cfg["num_attention_heads"], cfg["qk_nope_head_dim"], cfg["v_head_dim"]
    rank = cfg["kv_lora_rank"]
    per_head = kv_b.reshape(heads, nope + value, rank)
    k_b = np.ascontiguousarray(per_head[:, :nope].transpose(0, 2, 1))
    v_b = np.ascontiguousarray(per_head[:, nope:])
    if layout in ("deepseek32", "split"):
        return {"attn_k_b.weight": k_b, "attn_v_b.weight": v_b}
    if layout == "legacy":
        return {"attn_kv_b.weight": kv_b}
    return {"attn_kv_b.weight": kv_b, "attn_k_b.weight": k_b.reshape(heads * rank, nope),
            "attn_v_b.weight": v_b.reshape(heads * value, rank)}


def block_tensors(cfg, tensors, layer, layout):
    prefix = f"model.layers.{layer}."
    out = {}
    for hf, name in BLOCK_NAMES.items():
        if prefix + hf in tensors and not (layout != "deepseek32" and ".indexer." in hf):
            out[name] = tensors[prefix + hf]
    out.update(kv_b_tensors(cfg, tensors[prefix + "self_attn.kv_b_proj.weight"], layout))
    if prefix + "mlp.gate.weight" in tensors:
        for part in ("gate", "up", "down"):
            names = (f"{prefix}mlp.experts.{e}.{part}_proj.weight" for e in range(cfg["n_routed_experts"]))
            out[f"ffn_{part}_exps.weight"] = np.stack([tensors[n] for n in names])
    return out


def gguf_tensors(cfg, tensors, layout, n_blocks):
    out = {"token_embd.weight": tensors["model.embed_tokens.weight"],
           "output_norm.weight": tensors["model.norm.weight"]}
    if not cfg.get("tie_word_embeddings"):
        out["output.weight"] = tensors["lm_head.weight"]
    for layer in range(n_blocks):
        for name, values in block_tensors(cfg, tensors, layer, layout).items():
            out[f"blk.{layer}.{name}"] = values
    return out


def add_tokenizer(writer, vocab_size):
    """Bytes as tokens: enough for any loader, and never asked for in a comparison of logits."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = {b: 0x100 + n for n, b in enumerate(b for b in range(256) if b not in printable)}
    tokens = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"]
    tokens += [chr(shifted.get(b, b)) for b in range(256)]
    types = [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * 256
    merge = f"{tokens[2 + ord('t')]} {tokens[2 + ord('h')]}"
    tokens.append("th")
    types.append(gguf.TokenType.NORMAL)
    if vocab_size < len(tokens):
        writer.add_tokenizer_model("none")
        return
    tokens += [f"[PAD{i}]" for i in range(len(tokens), vocab_size)]
    types += [gguf.TokenType.UNUSED] * (vocab_size - len(types))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-v3")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def add_keys(writer, cfg, layout, args, n_blocks):
    arch = writer.arch
    full, rope = cfg["qk_nope_head_dim"] + cfg["qk_rope_head_dim"], cfg["qk_rope_head_dim"]
    absorbed = layout in ("deepseek32", "split")

    def u32(key, value):
        writer.add_uint32(f"{arch}.{key}", value)

    def f32(key, value):
        writer.add_float32(f"{arch}.{key}", value)

    writer.add_type("model")
    writer.add_name(f"tiny {layout}")
    u32("block_count", n_blocks)
    u32("context_length", cfg["max_position_embeddings"])
    u32("embedding_length", cfg["hidden_size"])
    u32("feed_forward_length", cfg["intermediate_size"])
    u32("attention.head_count", cfg["num_attention_heads"])
    # Absorbed attention is one key and value head; the legacy layout keeps them all.
    u32("attention.head_count_kv", 1 if absorbed else cfg["num_attention_heads"])
    u32("attention.key_length", cfg["kv_lora_rank"] + rope if absorbed else full)
    u32("attention.value_length", cfg["kv_lora_rank"] if absorbed else cfg["v_head_dim"])
    if absorbed:
        u32("attention.key_length_mla", full)
        u32("attention.value_length_mla", cfg["v_head_dim"])
    u32("attention.q_lora_rank", cfg["q_lora_rank"])
    u32("attention.kv_lora_rank", cfg["kv_lora_rank"])
    f32("attention.layer_norm_rms_epsilon", cfg["rms_norm_eps"])
    f32("rope.freq_base", cfg["rope_theta"])
    u32("rope.dimension_count", rope)
    u32("leading_dense_block_count", cfg["first_k_dense_replace"])
    u32("vocab_size", cfg["vocab_size"])
    add_expert_keys(cfg, args, u32, f32, lambda key, value: writer.add_bool(f"{arch}.{key}", value))
    if scaling := cfg.get("rope_scaling"):
        writer.add_string(f"{arch}.rope.scaling.type", "yarn")
        f32("rope.scaling.factor", scaling["factor"])
        u32("rope.scaling.original_context_length", scaling["original_max_position_embeddings"])
        f32("rope.scaling.yarn_log_multiplier", 0.1 * scaling["mscale_all_dim"])
        if absorbed:  # the converters of the older layouts left these two to the defaults
            f32("rope.scaling.yarn_beta_fast", scaling["beta_fast"])
            f32("rope.scaling.yarn_beta_slow", scaling["beta_slow"])
    if layout == "deepseek32":
        if n_blocks > cfg["num_hidden_layers"]:
            u32("nextn_predict_layers", n_blocks - cfg["num_hidden_layers"])
        u32("attention.indexer.head_count", cfg["index_n_heads"])
        u32("attention.indexer.key_length", cfg["index_head_dim"])
        u32("attention.indexer.top_k", cfg["index_topk"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(7 if args.type == "q8_0" else 0)


def add_expert_keys(cfg, args, u32, f32, boolean):
    u32("expert_feed_forward_length", cfg["moe_intermediate_size"])
    u32("expert_count", cfg["n_routed_experts"])
    u32("expert_used_count", cfg["num_experts_per_tok"])
    u32("expert_shared_count", cfg["n_shared_experts"])
    if not args.no_groups:
        u32("expert_group_count", cfg["n_group"])
        u32("expert_group_used_count", cfg["topk_group"])
    u32("expert_gating_func", 2)  # sigmoid
    f32("expert_weights_scale", cfg["routed_scaling_factor"])
    boolean("expert_weights_norm", cfg["norm_topk_prob"])


def write_gguf(args):
    cfg, tensors = read_checkpoint(args.checkpoint)
    with_mtp = args.layout == "deepseek32" and not args.no_mtp
    n_blocks = cfg["num_hidden_layers"] + (cfg.get("num_nextn_predict_layers", 0) if with_mtp else 0)
    writer = gguf.GGUFWriter(args.out, "deepseek32" if args.layout == "deepseek32" else "deepseek2")
    add_keys(writer, cfg, args.layout, args, n_blocks)
    add_tokenizer(writer, cfg["vocab_size"])
    for name, values in gguf_tensors(cfg, tensors, args.layout, n_blocks).items():
        plain = values.ndim == 1 or name.endswith("_norm.weight") or name.endswith(ALWAYS_F32)
        kind = Q8 if args.type == "q8_0" and not plain else F32
        if kind == Q8 and values.shape[-1] % 32:
            raise SystemExit(f"{name}: rows of {values.shape[-1]} values do not divide into Q8_0 blocks of 32")
        writer.add_tensor(name, gguf.quants.quantize(values.astype(np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def list_keys(path):
    reader = gguf.GGUFReader(path)
    for name, field in sorted(reader.fields.items()):
        kinds = "[]".join(t.name for t in reversed(field.types))
        value = field.contents()
        if isinstance(value, list) and len(value) > 8:
            value = f"{len(value)} values"
        print(f"key    {name} {kinds} {value}")
    for tensor in sorted(reader.tensors, key=lambda t: t.name):
        shape = ",".join(str(n) for n in tensor.shape)
        digest = hashlib.sha256(tensor.data.tobytes()).hexdigest()[:16]
        print(f"tensor {tensor.name} {tensor.tensor_type.name} {shape} sha256 {digest}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    checkpoint = verbs.add_parser("checkpoint")
    checkpoint.add_argument("out", type=Path)
    checkpoint.add_argument("--kind", choices=KINDS, required=True)
    checkpoint.add_argument("--seed", type=int, default=20)
    file = verbs.add_parser("gguf")
    file.add_argument("checkpoint", type=Path)
    file.add_argument("out", type=Path)
    file.add_argument("--layout", choices=("deepseek32", "split", "legacy", "ik"), required=True)
    file.add_argument("--type", choices=("f32", "q8_0"), default="f32")
    file.add_argument("--no-groups", action="store_true", help="leave the expert group keys out, as old files do")
    file.add_argument("--no-mtp", action="store_true", help="leave the MTP block out")
    keys = verbs.add_parser("keys")
    keys.add_argument("file", type=Path)
    args = parser.parse_args()
    if args.verb == "checkpoint":
        write_checkpoint(args.out, args.kind, args.seed)
    elif args.verb == "gguf":
        write_gguf(args)
    else:
        list_keys(args.file)


if __name__ == "__main__":
    main()
