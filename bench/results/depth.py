#!/usr/bin/env python3
"""Draws speed over depth from a result of bench/peer, Fathom and llama.cpp in one run, as SVG.

    python bench/results/depth.py RESULT.json -o bench/results/depth.svg        (needs matplotlib)
"""

import argparse
import json
import pathlib
import re

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

PROGRAMS = {"fathom": "Fathom", "llama_cpp": "llama.cpp"}
# Depth 0 has no place on a logarithmic axis: it stands here.
LEAST = 512


def points(comparisons, kind, program):
    """[(depth, median, least, greatest, tokens)], ascending, of one kind of test; of several at one depth the first."""
    found = {}
    for comparison in comparisons:
        name = re.fullmatch(kind + r"(\d+)(?:@(\d+))?", comparison["test"].replace(" ", "").replace("@d", "@"))
        if name:
            rate, depth = comparison[program]["tokens_per_second"], int(name[2] or 0)
            found.setdefault(depth, (depth, rate["median"], rate["min"], rate["max"], int(name[1])))
    return [found[depth] for depth in sorted(found)]


def draw(axis, comparisons, kind, title):
    depths = set()
    for program, label in PROGRAMS.items():
        rows = points(comparisons, kind, program)
        if not rows:
            continue
        depth, median, least, most, tokens = zip(*rows)
        depths.update(depth)
        place = [max(d, LEAST) for d in depth]
        bars = [[m - low for m, low in zip(median, least)], [high - m for m, high in zip(median, most)]]
        if kind == "pp" and program == "fathom":
            # How many tokens a prompt has decides its speed, too.
            for at, height, n in zip(place, median, tokens):
                axis.annotate(f"{n} tokens", (at, height), (3, 5), textcoords="offset points", fontsize=7, annotation_clip=False)
        axis.errorbar(place, median, yerr=bars, marker="o", markersize=3, linewidth=1.2, capsize=2, label=label)
    axis.set_xscale("log", base=2)
    ticks = sorted(depths)
    axis.set_xticks([max(d, LEAST) for d in ticks], [str(d) if d < 1024 else f"{d // 1024}k" for d in ticks])
    axis.minorticks_off()
    axis.margins(x=0.12, y=0.15)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("tokens in the cache")
    axis.set_ylabel("tokens a second")
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    result = json.loads(args.result.read_text())
    comparisons = result["comparisons"]
    if not comparisons:
        parser.error(f"{args.result}: expected comparisons, found none")
    plt.rcParams["svg.hashsalt"] = "fathom"
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    draw(left, comparisons, "tg", "decode")
    draw(right, comparisons, "pp", "prefill")
    machine = result["machine"]["cpu"]
    figure.suptitle(f"{result['file']}, {result['threads']} threads, {machine}, {result['date'][:10]}", fontsize=9)
    figure.tight_layout()
    figure.savefig(args.output, metadata=dict(Date=None))


if __name__ == "__main__":
    main()
