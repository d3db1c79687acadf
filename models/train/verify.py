#!/usr/bin/env python3
"""Compares this module with independent judges: the numpy implementation in tests/reference/check.py and Fathom itself.

    python verify.py [--state DIR] [--fathom PROGRAM] [--tokens N]

Without --state a random model of full size is judged. All judges read one and the same exported FP8 checkpoint, the module
runs on its dequantised numbers. Both sparse and dense, main and MTP logits are compared, on more tokens than index_topk.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

import export
import rounding
import tokens
from config import Config
from model import Experts, Linear, Model

sys.path.insert(0, str(tokens.HERE.parents[1] / "tests" / "reference"))
import check  # noqa: E402

# Relative to the largest logit: f64 against f64 shows the formulas, f32 against f64 what rounding does to this model.
LIMITS = dict(numpy=1e-9, fathom=1e-4)


def random_model():
    """Nothing at its initial zeros and ones, which hide mistakes."""
    torch.manual_seed(7)
    model = Model(Config()).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() >= 2:
                p.normal_(std=1.0 if "embed" in name else 1.5 * p.shape[-1] ** -0.5)
            else:
                p.normal_(std=0.3) if name.endswith("bias") else p.uniform_(0.5, 1.5)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(std=0.2)
    return model


@torch.no_grad()
def as_shipped(model):
    """Every number as it stands in the FP8 checkpoint."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.weight.copy_(rounding.rounded(module.weight))
        elif isinstance(module, Experts):
            both = module.gate_up.unflatten(1, (2, -1))
            module.gate_up.copy_(rounding.rounded(both).flatten(1, 2))
            module.down.copy_(rounding.rounded(module.down))
    for name, p in model.named_parameters():
        if p.dim() >= 2 and name.endswith(export.STAY_BF16):
            p.copy_(p.bfloat16().float())
    return model


@torch.no_grad()
def ours(model, ids):
    """{kind: logits}, in f64 like the numpy judge."""
    out, model, ids = {}, model.double(), torch.from_numpy(ids)[None]
    for kind in ("dense", "sparse"):
        run = model.run(ids, sparse=kind == "sparse")
        hidden = model.trunk(ids, run)
        out[kind] = model.lm_head(hidden)[0].numpy()
        out[f"mtp {kind}"] = model.lm_head(model.drafted(ids, hidden, run))[0].numpy()
    return out


def numpy_judge(folder, ids):
    """check.py knows a draft layer without its own indexer only beside a sparse trunk, so dense is a model apart."""
    out = {}
    for kind in ("dense", "sparse"):
        judge = check.Model(*check.load(folder), broken=["dense"] if kind == "dense" else [])
        out[kind], hidden = judge.prefill(ids)
        out[f"mtp {kind}"] = judge.mtp(ids, hidden, kind == "sparse")
    return out


def fathom_judge(program, folder, ids, scratch):
    """Through the GGUF that `fathom quantize` makes, at F32."""
    file, out = scratch / "judged.gguf", {}
    subprocess.run([program, "quantize", folder, "-o", file, "--type", "f32"], check=True)
    (scratch / "ids").write_text(",".join(map(str, ids)))
    for kind in ("dense", "sparse"):
        for head in ("", "mtp "):
            command = [program, "logits", file, "--tokens-file", scratch / "ids", "-o", scratch / "logits", "--force"]
            command += (["--dense"] if kind == "dense" else []) + (["--mtp"] if head else [])
            subprocess.run(command, check=True)
            out[head + kind] = np.fromfile(scratch / "logits", np.float32).reshape(-1, Config().vocab_size)
    return out


def compare(title, mine, theirs):
    good = True
    for kind, logits in mine.items():
        gap = np.abs(logits - theirs[kind]).max() / np.abs(theirs[kind]).max()
        agree = (logits.argmax(-1) == theirs[kind].argmax(-1)).mean()
        good &= bool(gap <= LIMITS[title])
        print(f"{title:8} {kind:11} largest difference {gap:.1e}, same first choice {100 * agree:.2f} %", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", type=pathlib.Path, help="folder of a training; otherwise a random model")
    parser.add_argument("--fathom", help="the program to compare with, too")
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    model = export.load(args.state / "state.pt")[0] if args.state else random_model()
    ids = np.random.default_rng(3).integers(3, model.c.vocab_size, args.tokens)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        export.write(model, scratch / "fp8", "fp8", copies=True)
        mine = ours(as_shipped(model), ids)
        gap = np.abs(mine["dense"] - mine["sparse"]).max() / np.abs(mine["dense"]).max()
        print(f"sparse and dense differ by {gap:.1e} of the largest logit, so selection acts: {gap > 1e-3}")
        good = compare("numpy", mine, numpy_judge(scratch / "fp8", ids)) and gap > 1e-3
        if args.fathom:
            good &= compare("fathom", mine, fathom_judge(args.fathom, scratch / "fp8", ids, scratch))
    print("agree" if good else f"DISAGREE: limits are {LIMITS}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
