#!/usr/bin/env python3
"""What is done to a training's result before it is shipped: the mean of two of its states, and a temperature.

    python finish.py FIRST/state.pt LAST/state.pt --share 0.6 --temperature 0.8 --state DIR

The mean of two ends of the rate is flatter than either, so it survives rounding better. The temperature is folded into the last
norms: a model of this size is surer of a right word than of how unlikely all the wrong ones are, and people sample it at 1.
DIR gets a state that export.py and ship.py take, with LAST's place, and its log where there is one.
"""

import argparse
import pathlib
import shutil

import torch

from train import FILE, LOG

# What stands before the head, of the model and of its draft layer.
LAST_NORMS = ("norm.weight", "draft.shared_head.norm.weight")


def mean(first, last, share):
    """The model's numbers of `last`, of which only `share` counts."""
    if first.keys() != last.keys():
        raise SystemExit("expected two states of one model, found other names")
    return {name: torch.lerp(first[name], value, share) if value.is_floating_point() else value for name, value in last.items()}


def at_temperature(numbers, temperature):
    """The numbers of a model whose logits are those of `numbers` at `temperature`."""
    return {name: value / temperature if name in LAST_NORMS else value for name, value in numbers.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=pathlib.Path)
    parser.add_argument("last", type=pathlib.Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the last one")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--state", type=pathlib.Path, required=True, help="folder of the result")
    args = parser.parse_args()
    first, last = (torch.load(path, weights_only=True) for path in (args.first, args.last))
    last["model"] = at_temperature(mean(first["model"], last["model"], args.share), args.temperature)
    args.state.mkdir(parents=True, exist_ok=True)
    torch.save(last, args.state / FILE)
    log = args.last.parent / LOG
    if log.exists():
        shutil.copyfile(log, args.state / LOG)


if __name__ == "__main__":
    main()
