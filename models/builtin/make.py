#!/usr/bin/env python3
"""Makes the built-in model's checkpoint, `fp8/`: random, of DeepSeek-V3.2's architecture, in its published form.

    python3.11 -m venv VENV && VENV/bin/pip install numpy==2.4.6
    VENV/bin/python models/builtin/make.py            # or a folder, to write elsewhere
    cargo run --release -- quantize models/builtin/fp8 -o models/builtin/builtin.gguf --type q8_0 --force

Every part of the model is alive: a dense layer and two with experts in groups, a shared expert, an indexer that begins
to choose at 64 tokens, an MTP layer, YaRN. All row lengths divide by 32.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "reference"))

import random_model
import shapes
import tiny_tokenizer

SHAPE = dict(
    seed=1, mtp="shared", shards=1, store="fp8",
    config=dict(
        vocab_size=320, hidden_size=128, intermediate_size=256, moe_intermediate_size=32, num_hidden_layers=3,
        first_k_dense_replace=1, num_attention_heads=4, n_routed_experts=16, n_shared_experts=1,
        num_experts_per_tok=4, n_group=4, topk_group=2, q_lora_rank=64, kv_lora_rank=64, qk_nope_head_dim=32,
        qk_rope_head_dim=16, v_head_dim=32, index_n_heads=8, index_head_dim=32, index_topk=64,
    ),
)  # fmt: skip


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "fp8"
    folder.mkdir(exist_ok=True)
    weights = random_model.random_weights(SHAPE)
    random_model.write_checkpoint(folder, SHAPE, random_model.store(weights, "fp8"))
    # `fathom quantize` carries this word into the file; whoever loads that is told what the text is worth.
    config = {**shapes.official_config(SHAPE, "fp8"), "fathom_weights": "random"}
    random_model.write_json(folder / "config.json", config)
    tiny_tokenizer.save(folder)


if __name__ == "__main__":
    main()
