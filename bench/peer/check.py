"""A result of fathom-bench-peer has every test that was asked for, and every figure was measured."""

import json
import math
import sys


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, float):
        yield value


def main(path, asked):
    result = json.load(open(path))
    found = [comparison["test"] for comparison in result["comparisons"]]
    tests = [test.replace("@", " @ d") for test in asked.split(",")]
    assert found == tests, f"tests {found}, expected {tests}"
    for value in numbers(result):
        assert math.isfinite(value), f"a figure is {value}"
    for comparison in result["comparisons"]:
        ours, theirs = comparison["fathom"], comparison["llama_cpp"]
        assert len(ours["seconds"]) == len(theirs["seconds"]) == 2, comparison
        assert min(ours["seconds"] + theirs["seconds"]) > 0, comparison
        # Flash attention on and off, repacked or not; no prompt here is longer than a micro-batch.
        modes = {tuple(mode[key] for key in ("flash_attention", "repack", "n_ubatch")) for mode in theirs["modes_tried"]}
        assert len(modes) == len(theirs["modes_tried"]) == 4, modes
        best = max(theirs["modes_tried"], key=lambda mode: mode["tokens_per_second"])
        assert all(best[key] == value for key, value in theirs["mode"].items()), "the best mode was not run"
        # Two measurements for each run of Fathom, and one before.
        assert len(comparison["read_bandwidth"]["samples"]) == 5, comparison
    assert [parity["depth"] for parity in result["parity"]] == [0, 40], result["parity"]


main(*sys.argv[1:])
