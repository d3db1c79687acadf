#!/usr/bin/env python3
"""Draws a training log as SVG: loss per skill, draft loss and the indexer's KL, over tokens.

    python plot.py log.jsonl -o loss.svg
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

# Points are means over this many steps.
MEAN = 20


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def series(records, value):
    """(tokens in millions, value) averaged over runs of MEAN steps that have one."""
    points, held = [], []
    for record in records:
        found = value(record)
        if found is not None and found == found:
            held.append((record["tokens"] / 1e6, found))
        if len(held) == MEAN or (record is records[-1] and held):
            points.append(tuple(sum(column) / len(held) for column in zip(*held)))
            held = []
    return points


def draw(axis, records, values):
    for name, value in values.items():
        points = series(records, value)
        if points:
            axis.plot(*zip(*points), label=name, linewidth=1)
    for before, record in zip(records, records[1:]):
        if before["stage"] != record["stage"]:
            axis.axvline(record["tokens"] / 1e6, color="grey", linewidth=0.6, linestyle=":")
    axis.set_xlabel("million tokens")
    axis.legend(fontsize=7)
    axis.grid(alpha=0.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    records = read(args.log)
    if not records:
        parser.error(f"{args.log} has no line yet")
    names = sorted({name for record in records for name in record.get("skills", {})})
    plt.rcParams["svg.hashsalt"] = "fathom"
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    draw(left, records, {name: lambda r, n=name: r.get("skills", {}).get(n) for name in names})
    left.set_ylabel("loss per token, nats")
    draw(right, records, dict(mtp=lambda r: r.get("mtp"), kl=lambda r: r.get("kl")))
    right.set_ylabel("draft loss; indexer KL, sum over layers")
    figure.tight_layout()
    figure.savefig(args.output, metadata=dict(Date=None))


if __name__ == "__main__":
    main()
