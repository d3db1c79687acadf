"""Random checkpoints in numpy alone: the weights of a shape, the forms they are stored in, and the folder's files."""

import json
import zlib

import numpy as np

import checkpoint
import shapes


def random_weights(shape):
    """Every tensor from its own stream (seed, name), scaled so that signals keep their size and no part is inert."""
    weights = {}
    for name, dims in shapes.checkpoint_shapes(shape).items():
        random = np.random.Generator(np.random.PCG64([shape["seed"], zlib.crc32(name.encode())]))
        if name.endswith("k_norm.bias"):
            value = 0.25 * random.standard_normal(dims)
        elif name.endswith("e_score_correction_bias"):
            value = 0.25 * random.standard_normal(dims)
        elif len(dims) == 1:
            value = random.uniform(0.5, 1.5, dims)
        elif "embed_tokens" in name:
            value = random.standard_normal(dims)
        else:
            value = 0.9 * dims[1] ** -0.5 * random.standard_normal(dims)
        weights[name] = value.astype(np.float32)
    if shape["mtp"] == "own":
        prefix = f"model.layers.{shape['config']['num_hidden_layers']}"
        weights[f"{prefix}.embed_tokens.weight"] = weights["model.embed_tokens.weight"]
        weights[f"{prefix}.shared_head.head.weight"] = weights["lm_head.weight"]
    return weights


NEVER_FP8 = ("embed_tokens.", "lm_head.", "shared_head.head.", "mlp.gate.", "weights_proj.", "eh_proj.")


def store(weights, form):
    """The storage forms: F32; BF16 (norms and biases F32, as in V3.2); BF16 and norms (all BF16 but the router's
    bias, as in V3); fp8 (as published: projections e4m3 with block scales, other matrices BF16, norms F32)."""
    out = {}
    for name, value in weights.items():
        matrix = value.ndim == 2
        if form == "F32" or not matrix and not (form == "BF16 and norms" and not name.endswith("_bias")):
            out[name] = value
        elif form == "fp8" and not any(part in name for part in NEVER_FP8):
            out[name], out[name + "_scale_inv"] = checkpoint.to_fp8(value)
        else:
            out[name] = checkpoint.to_bf16(value)
    return out


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_checkpoint(folder, shape, tensors):
    metadata = {"format": "pt"}
    if shape["shards"] == 1:
        checkpoint.write(folder / "model.safetensors", tensors, metadata)
        return
    # Split in file order as the published shards are: the second starts in the middle of the layers.
    names, count = list(tensors), shape["shards"]
    weight_map, total = {}, 0
    for shard in range(count):
        part = names[len(names) * shard // count : len(names) * (shard + 1) // count]
        file = f"model-{shard + 1:05}-of-{count:06}.safetensors"
        checkpoint.write(folder / file, {name: tensors[name] for name in part}, metadata)
        weight_map |= dict.fromkeys(part, file)
        total += sum(checkpoint.as_stored(tensors[name]).array.nbytes for name in part)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "model.safetensors.index.json", index)
