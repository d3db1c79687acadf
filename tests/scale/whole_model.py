#!/usr/bin/env python3
"""Runs the tools on the whole model (zeros but for four weights, true shapes) and holds them to their limits.

    tests/scale/whole_model.py FATHOM FOLDER

Peak memory is what the kernel counted (ru_maxrss, mapped pages included). Memory of the process's own is bounded twice:
RLIMIT_DATA, which counts every private writable page whether touched or not, makes an allocation beyond the limit fail;
and RssAnon, polled, says how much was really used.
"""

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time

MIB, GIB = 1 << 20, 1 << 30

# ---- the model, written down once more from its publication

H, V, LAYERS, DENSE = 7168, 129280, 61, 3
HEADS, NOPE, ROPE, VDIM, Q_RANK, KV_RANK = 128, 128, 64, 128, 1536, 512
INDEX_HEADS, INDEX_DIM = 64, 128
FFN, EXPERTS, EXPERT_FFN = 18432, 256, 2048
ALL, MOE = LAYERS + 1, LAYERS + 1 - DENSE  # with the MTP layer


def q8_0(n):
    """Bytes of n weights: 32 of them in 34 bytes; every row here is a whole number of blocks."""
    assert n % 32 == 0
    return n // 32 * 34


def roles():
    """Bytes of each role in a q8_0 file."""
    attention = Q_RANK * H + HEADS * (NOPE + ROPE) * Q_RANK + (KV_RANK + ROPE) * H + H * HEADS * VDIM
    norms = ALL * (2 * H + Q_RANK + KV_RANK) + H + 3 * H
    exact = norms + ALL * (2 * INDEX_DIM + INDEX_HEADS * H) + MOE * EXPERTS * (H + 1)
    return {
        "embed": q8_0(V * H),
        "head": q8_0(V * H),
        "attention": q8_0(ALL * attention),
        "attention k_b/v_b": q8_0(ALL * HEADS * KV_RANK * (NOPE + VDIM)),
        "indexer": q8_0(ALL * (INDEX_HEADS * INDEX_DIM * Q_RANK + INDEX_DIM * H)),
        "dense ffn": q8_0(DENSE * 3 * FFN * H),
        "shared experts": q8_0(MOE * 3 * EXPERT_FFN * H),
        "experts gate/up": q8_0(MOE * EXPERTS * 2 * EXPERT_FFN * H),
        "experts down": q8_0(MOE * EXPERTS * EXPERT_FFN * H),
        "mtp": q8_0(2 * H * H + 2 * V * H),
        "norms, router, biases": 4 * exact,
    }


# ---- running and measuring


def run(command, exit_codes=(0,), seconds=None, peak=None, own=None):
    """Runs a command within its limits; gives what it printed and its exit code."""

    def limit():
        if own is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (own, own))

    started = time.monotonic()
    out = tempfile.TemporaryFile()
    child = subprocess.Popen(command, stdout=out, preexec_fn=limit)
    anon = 0
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        anon = max(anon, rss_anon(child.pid))
        time.sleep(0.005)
    took = time.monotonic() - started
    found = child.returncode = os.waitstatus_to_exitcode(status)
    verb = command[1]
    used = usage.ru_maxrss * 1024
    print(f"{verb}: {took:.2f} s, peak {used / MIB:.1f} MiB, of its own {anon / MIB:.1f} MiB", flush=True)
    require(found in exit_codes, f"{verb}: expected exit code {exit_codes}, found {found}")
    require(seconds is None or took <= seconds, f"{verb}: expected at most {seconds} s, took {took:.2f}")
    require(peak is None or used <= peak, f"{verb}: expected at most {peak} bytes, used {used}")
    require(own is None or anon <= own, f"{verb}: expected at most {own} bytes of its own, used {anon}")
    out.seek(0)
    return out.read(), found


def rss_anon(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            lines = [line for line in status if line.startswith("RssAnon:")]
        return int(lines[0].split()[1]) * 1024 if lines else 0
    except OSError:
        return 0


def require(true, sentence):
    if not true:
        sys.exit(f"FAILED: {sentence}")


def same(what, found, expected):
    require(found == expected, f"{what}: expected {expected}, found {found}")


def plant(model, tensors, name, row, value):
    """Writes `value`, 1 or -1, over the first weight of a row."""
    tensor = tensors[name]
    with open(model, "r+b") as file:
        file.seek(tensor["offset"] + row * (tensor["bytes"] // tensor["shape"][0]))
        # A block of Q8_0 is its scale and its weights.
        file.write(struct.pack("<f", value) if tensor["type"] == "f32" else struct.pack("<eb", 1, value))


# ---- the checks


def main():
    fathom, folder = sys.argv[1:]
    checkpoint, model, logits = (os.path.join(folder, name) for name in ("checkpoint", "whole.gguf", "logits.bin"))
    run([fathom, "synth", "--preset", "v3.2", "--zeros", "--type", "q8_0", "-o", model, "--checkpoint", checkpoint])
    shards = [name for name in os.listdir(checkpoint) if name.endswith(".safetensors")]
    same("shards", len(shards), 163)
    on_disk = sum(os.stat(os.path.join(checkpoint, name)).st_blocks * 512 for name in os.listdir(checkpoint))
    on_disk += os.stat(model).st_blocks * 512
    require(on_disk < GIB, f"the sparse files take {on_disk} bytes of the disk")

    expected = roles()
    total = sum(expected.values())

    report = json.loads(run([fathom, "quantize", checkpoint, "--type", "q8_0", "--dry-run", "--json"])[0])
    same("the checkpoint's bytes", report["source_bytes"], 689_471_107_200)
    same("dry run, bytes by role", {role["role"]: role["bytes"] for role in report["roles"]}, expected)
    same("dry run, all bytes", report["tensor_bytes"], total)
    same("dry run, size of the file", report["file_bytes"], os.stat(model).st_size)

    quick = {"seconds": 2, "peak": 300 * 1000 * 1000}
    told = json.loads(run([fathom, "inspect", model, "--json"], **quick)[0])
    by_role = {}
    for row in told["roles"]:
        by_role[row["role"]] = by_role.get(row["role"], 0) + row["bytes"]
    same("inspect, bytes by role", by_role, expected)
    same("inspect, tensors", told["total"]["tensors"], 1420)
    # Weights alone lack a tokenizer, and nothing else.
    same("inspect, problems", [problem for problem in told["problems"] if "tokenizer.ggml.model" not in problem], [])
    same("inspect, MTP layer", told["mtp"]["layer"], LAYERS)

    out, code = run([fathom, "doctor", model, "--json", "-c", "32768"], exit_codes=(0, 4), **quick)
    told = json.loads(out)["model"]
    same("doctor, exit code", code, 0 if told["fits"] else 4)
    weights = told["weights"]
    routed = (expected["experts gate/up"] + expected["experts down"]) // MOE * (MOE - 1)
    same("doctor, routed experts", weights["routed_bytes"], routed)
    parts = weights["routed_bytes"] + weights["non_routed_bytes"] + weights["mtp_bytes"]
    same("doctor, all weights", parts, total)
    # Latent rows in bf16; index keys in bytes, with a scale of four.
    same("doctor, cache", told["cache_bytes"], 32768 * LAYERS * (2 * (KV_RANK + ROPE) + INDEX_DIM + 4))
    read = weights["non_routed_bytes"] - q8_0(V * H) + q8_0(H) + routed * 8 // EXPERTS
    same("doctor, bytes read for a token", weights["read_per_token_bytes"], read)

    # All logits the same are refused as a damaged file. So the tokens 0 and 5 get embeddings, and token 7 a row of the
    # head: the residual stream passes all layers as it is, and the last norm scales its one number.
    tensors = json.loads(run([fathom, "inspect", model, "--tensors", "--json"], **quick)[0])["tensors"]
    tensors = {tensor["name"]: tensor for tensor in tensors}
    plant(model, tensors, "token_embd.weight", 0, 1)
    plant(model, tensors, "token_embd.weight", 5, -1)
    plant(model, tensors, "output_norm.weight", 0, 1)
    plant(model, tensors, "output.weight", 7, 1)
    run([fathom, "logits", model, "--tokens", "0,5", "-o", logits], own=4 * GIB)
    with open(logits, "rb") as file:
        found = struct.unpack(f"<{2 * V}f", file.read())
    normed = (1 / H + 1e-6) ** -0.5
    for token, logit in ((7, normed), (V + 7, -normed)):
        require(abs(found[token] / logit - 1) < 0.01, f"logits: expected {logit} at {token}, found {found[token]}")
    same("logits that are not zero", [i for i, logit in enumerate(found) if logit != 0], [7, V + 7])


main()
