#!/usr/bin/env python3
"""Exact match of every skill on held-out problems, and the needle by length, sparse and dense.

    python evaluate.py --data DIR --state DIR [--count 200] [--needle 512,1024,2048,4096,8192] [--per-length 40] [--json F]

An answer counts when every token that the model has to write is its first choice: then, and only then, greedy generation
gives exactly that answer. Reasoning counts too, so figures are a little lower than those of the final answers alone.
Weights are used as they will be shipped, rounded to FP8.
"""

import argparse
import json
import pathlib

import torch

import chat
import data
import export
import problems
from world import World

# At most this many tokens in one forward pass.
BUDGET = 8192


@torch.no_grad()
def matches(model, encoded, sparse):
    """For each (ids, weights): whether all that is to be written is the first choice."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]))
    out = [False] * len(encoded)
    while order:
        # The longest first, so that a batch is padded little.
        longest = len(encoded[order[-1]][0])
        batch = [order.pop() for _ in range(min(max(BUDGET // longest, 1), len(order)))]
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        wanted = torch.zeros(len(batch), longest, dtype=torch.bool)
        for row, i in enumerate(batch):
            tokens, weights = encoded[i]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            wanted[row, : len(tokens)] = torch.tensor(weights) > chat.GIVEN
        hidden = model.trunk(ids[:, :-1], model.run(ids[:, :-1], sparse=sparse))
        wanted, targets = wanted[:, 1:], ids[:, 1:]
        right = model.lm_head(hidden[wanted]).argmax(-1) == targets[wanted]
        wrong = torch.zeros_like(wanted)
        wrong[wanted] = ~right
        for row, i in enumerate(batch):
            out[i] = not bool(wrong[row].any())
    return out


def skills(model, maker, count, seed):
    """{skill: {"sparse": share, "dense": share}}"""
    table = {}
    for skill in problems.SKILLS:
        encoded = [maker.encode(chat.render(*p)) for p in problems.of_skill(skill, maker.world, count, seed)]
        table[skill] = {
            kind: sum(matches(model, encoded, kind == "sparse")) / count for kind in ("sparse", "dense")
        }  # fmt: skip
        print(f"{skill:12}" + "".join(f"  {kind} {100 * share:5.1f} %" for kind, share in table[skill].items()), flush=True)
    return table


def needles(model, maker, lengths, count, seed):
    """{length: {"sparse": share, "dense": share}}; one fact, depths of evaluation in turn."""
    table = {}
    for length in lengths:
        encoded = [maker.encode(chat.render(*p)) for p in problems.needles(maker.world, length, count, seed)]
        table[length] = {kind: sum(matches(model, encoded, kind == "sparse")) / count for kind in ("sparse", "dense")}
        mean = sum(len(ids) for ids, _ in encoded) / count
        shares = "".join(f"  {kind} {100 * share:5.1f} %" for kind, share in table[length].items())
        print(f"needle {length:5} (mean {mean:.0f} tokens){shares}", flush=True)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--state", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=200, help="problems per skill")
    parser.add_argument("--needle", default="512,1024,2048,4096,8192", help="lengths in tokens; empty for none")
    parser.add_argument("--per-length", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path, help="write the tables here too")
    args = parser.parse_args()
    model, state = export.load(args.state / "state.pt")
    maker = data.Maker(World.load(args.data))
    print(f"{state['stage']} step {state['step']}, {state['tokens']:,} tokens")
    lengths = [int(length) for length in filter(None, args.needle.split(","))]
    with model.shipped_weights():
        tables = dict(stage=state["stage"], step=state["step"], tokens=state["tokens"])
        tables["skills"] = skills(model, maker, args.count, args.seed)
        tables["needle"] = needles(model, maker, lengths, args.per_length, args.seed)
    if args.json:
        args.json.write_text(json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
