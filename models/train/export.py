#!/usr/bin/env python3
"""Writes a trained model as DeepSeek publishes its own: FP8 matrices with block scales, BF16, F32, and an index.

    python export.py --state DIR -o FOLDER [--form fp8|bf16|f32] [--mtp-copies]

Forms other than fp8 are for judging: f32 is the module's own numbers, bf16 a checkpoint without quantization_config.
Index heads smaller than 64 are widened to 64 without changing what they choose: llama.cpp can rotate no smaller ones.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil
import sys

import numpy as np
import torch

import tokens
from config import Config
from model import Model

# The numpy writer of safetensors and FP8 blocks is that of the test checkpoints.
sys.path.insert(0, str(tokens.HERE.parents[1] / "tests" / "reference"))
import checkpoint  # noqa: E402

FORMS = ("fp8", "bf16", "f32")
SHARDS = 2
# What is never quantised; norms and biases are F32 besides.
STAY_BF16 = ("embed_tokens.weight", "lm_head.weight", "mlp.gate.weight", "weights_proj.weight", "eh_proj.weight", "head.weight")
NOTICE = "WORDNET.txt"
# `fathom quantize` carries the word into the GGUF, so that whoever loads that is told what to expect, and the name.
WORTH = dict(fathom_weights="demonstration", _name_or_path="Fathom demonstration model")
INDEX_HEAD_DIM = 64


def named_tensors(model):
    """The module's tensors under the checkpoint's names, f32 numpy; experts one by one."""
    out, last = {}, model.c.num_hidden_layers
    for name, value in model.state_dict().items():
        value = value.detach().float().cpu().numpy()
        name = name.replace("draft.", f"layers.{last}.", 1) if name.startswith("draft.") else name
        if name.endswith("experts.gate_up"):
            for expert, both in enumerate(value):
                gate, up = np.split(both, 2)
                out[f"model.{name[: -len('gate_up')]}{expert}.gate_proj.weight"] = gate
                out[f"model.{name[: -len('gate_up')]}{expert}.up_proj.weight"] = up
        elif name.endswith("experts.down"):
            for expert, down in enumerate(value):
                out[f"model.{name[: -len('down')]}{expert}.down_proj.weight"] = down
        else:
            out[name if name.startswith("lm_head") else "model." + name] = value
    return out


def with_copies(tensors, last):
    """V3.2's files repeat embedding and head in the MTP layer."""
    copies = {
        f"model.layers.{last}.embed_tokens.weight": tensors["model.embed_tokens.weight"],
        f"model.layers.{last}.shared_head.head.weight": tensors["lm_head.weight"],
    }
    return tensors | copies


def stored(tensors, form):
    out = {}
    for name, value in tensors.items():
        vector = value.ndim < 2
        if form == "f32" or vector:
            out[name] = value.astype(np.float32)
        elif form == "bf16" or name.endswith(STAY_BF16):
            out[name] = checkpoint.to_bf16(value)
        else:
            out[name], out[name + "_scale_inv"] = checkpoint.to_fp8(value)
    return out


def widened(tensors, c):
    """Index heads of INDEX_HEAD_DIM values, and the config that says so.

    The new part of every query is zero, so scores stay as they were but for one factor common to all. The rows of the key
    projection repeat, so that the layer norm finds the same mean and variance. Rounding to FP8 comes before this: the
    numbers are those that training saw.
    """
    heads, dim = c.index_n_heads, c.index_head_dim
    times = INDEX_HEAD_DIM // dim
    if times <= 1:
        return tensors, c

    def wide(name, array):
        if name.endswith("wq_b.weight"):
            return np.pad(array.reshape(heads, dim, -1), ((0, 0), (0, dim * (times - 1)), (0, 0))).reshape(heads * dim * times, -1)
        if name.endswith("wq_b.weight_scale_inv"):
            return np.repeat(array, times, 0)
        if name.endswith("wk.weight"):
            return np.tile(array, (times, 1))
        return np.pad(array, (0, dim * (times - 1))) if ".k_norm." in name else array

    out = {name: checkpoint.as_stored(value) for name, value in tensors.items()}
    for name, value in out.items():
        if ".indexer." in name:
            out[name] = checkpoint.Stored(value.tag, wide(name, value.array))
    return out, dataclasses.replace(c, index_head_dim=dim * times)


def write(model, folder, form, copies):
    """One folder as published; `folder` is made."""
    folder.mkdir(parents=True, exist_ok=True)
    last = model.c.num_hidden_layers
    tensors = named_tensors(model)
    tensors = stored(with_copies(tensors, last) if copies else tensors, form)
    tensors, config = widened(tensors, model.c)
    shards = [dict() for _ in range(SHARDS)]
    for name, value in tensors.items():
        # As in the published files, the last shard holds the MTP layer.
        shards[name.startswith(f"model.layers.{last}.")][name] = value
    weight_map, size = {}, 0
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{SHARDS:06d}.safetensors"
        checkpoint.write(folder / file, shard)
        weight_map |= dict.fromkeys(shard, file)
        size += sum(checkpoint.as_stored(value).array.nbytes for value in shard.values())
    index = dict(metadata=dict(total_size=size), weight_map=dict(sorted(weight_map.items())))
    for name, value in (("model.safetensors.index.json", index), ("config.json", config.to_json(form == "fp8") | WORTH)):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokens.FOLDER / name, folder / name)
    shutil.copyfile(tokens.HERE / NOTICE, folder / NOTICE)
    return size


def shipped(folder, c):
    """A state for `Model` from a checkpoint that `write` made: numbers as they were stored, index heads as they were trained."""
    names, stored = {}, {}
    for file in sorted(folder.glob("*.safetensors")):
        stored |= checkpoint.plain(checkpoint.read(file))
    for name, value in Model(c).state_dict().items():
        known = name if name.startswith("lm_head") else "model." + name.replace("draft.", f"layers.{c.num_hidden_layers}.", 1)
        if name.endswith(("experts.gate_up", "experts.down")):
            start = known[: known.rindex(".") + 1]
            parts = ("gate_proj", "up_proj") if name.endswith("gate_up") else ("down_proj",)
            found = [np.concatenate([stored[f"{start}{e}.{part}.weight"] for part in parts]) for e in range(c.n_routed_experts)]
            found = np.stack(found)
        else:
            found = stored[known]
        names[name] = torch.from_numpy(narrowed(name, found, c).astype(np.float32)).reshape(value.shape)
    return names


def narrowed(name, array, c):
    """What `widened` made wide."""
    if ".indexer.wq_b." in name:
        return array.reshape(c.index_n_heads, -1, array.shape[-1])[:, : c.index_head_dim].reshape(-1, array.shape[-1])
    return array[: c.index_head_dim] if ".indexer.wk." in name or ".indexer.k_norm." in name else array


def load(state_file):
    """The model in a state.pt."""
    state = torch.load(state_file, map_location="cpu", weights_only=True)
    model = Model(Config(**state["config"]))
    model.load_state_dict(state["model"])
    return model.eval(), state


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", type=pathlib.Path, required=True, help="folder with state.pt")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--form", choices=FORMS, default="fp8")
    parser.add_argument("--mtp-copies", action="store_true", help="repeat embedding and head in the MTP layer, as V3.2 does")
    args = parser.parse_args()
    model, state = load(args.state / "state.pt")
    size = write(model, args.output, args.form, args.mtp_copies)
    print(f"{args.output}: {args.form}, {size:,} bytes, after {state['stage']} step {state['step']}")


if __name__ == "__main__":
    main()
