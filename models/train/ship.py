#!/usr/bin/env python3
"""Puts a trained model into the tree: checkpoint, GGUF file, loss plot, log and the vectors of tests/greedy.rs.

    python ship.py --state DIR [--after LOG] [--fathom PROGRAM]

A model that began as a shipped one (train.py --from) keeps that one's log: `--after ../builtin/log.jsonl`. Build the program
first, and again afterwards: the GGUF file is a part of it. Then tables.py measures what was shipped.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import export
import tokens
from fathom import Fathom
from train import FILE, LOG

ROOT = tokens.HERE.parents[1]
BUILTIN = ROOT / "models/builtin"
VECTORS = ROOT / "tests/greedy.json"
TYPE = "q8_0"
# Of a vector's answer.
MOST = 64


def checkpoint(state):
    """models/builtin/fp8 anew, so that nothing of an older model stays."""
    model, place = export.load(state / FILE)
    folder = BUILTIN / "fp8"
    shutil.rmtree(folder, ignore_errors=True)
    size = export.write(model, folder, "fp8", copies=False)
    print(f"{folder}: {size:,} bytes, after {place['stage']} step {place['step']}, {place['tokens']:,} tokens")
    return folder


def history(state, after):
    """The training's log, behind that of the model it began with: there its steps are called `refresh`."""
    records = [json.loads(line) for line in (state / LOG).read_text(encoding="utf-8").splitlines()]
    before = after.read_text(encoding="utf-8").splitlines() if after else []
    seen = json.loads(before[-1])["tokens"] if before else 0
    if before:
        records = [record | dict(stage="refresh", tokens=seen + record["tokens"]) for record in records]
    lines = before + [json.dumps(record) for record in records]
    (BUILTIN / LOG).write_text("\n".join(lines) + "\n", encoding="utf-8")
    plot = [sys.executable, tokens.HERE / "plot.py", BUILTIN / LOG, "-o", BUILTIN / "loss.svg"]
    subprocess.run(plot, check=True)


def vectors(fathom, file):
    """The prompts of tests/greedy.json with this model's answers."""
    known = json.loads(VECTORS.read_text(encoding="utf-8"))
    for vector in known:
        answer = fathom.answer(file, vector["prompt"], MOST)
        vector["text"], vector["stop_reason"] = answer["text"], answer["stop_reason"]
    VECTORS.write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", type=pathlib.Path, required=True, help="folder of a training")
    parser.add_argument("--after", type=pathlib.Path, metavar="LOG", help="log of the shipped model that training began with")
    parser.add_argument("--fathom", type=pathlib.Path, default=ROOT / "target/release/fathom")
    args = parser.parse_args()
    folder, file = checkpoint(args.state), BUILTIN / "builtin.gguf"
    with tempfile.TemporaryDirectory() as scratch:
        fathom = Fathom(args.fathom, scratch)
        fathom.call("quantize", folder, "--type", TYPE, "-o", file, "--force")
        history(args.state, args.after)
        vectors(fathom, file)
    shipped = sum(path.stat().st_size for path in BUILTIN.rglob("*") if path.is_file())
    print(f"{BUILTIN}: {shipped / 1e6:.1f} MB. Build the program again, then run tables.py")


if __name__ == "__main__":
    main()
