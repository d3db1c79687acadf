#!/usr/bin/env python3
"""Reads the corpora into one file outside the tree; with --tokenizer also trains the tokenizer in the tree anew.

    python prepare.py --data DIR [--wordnet /usr/share/wordnet] [--most-words 10] [--tokenizer]
"""

import argparse
import collections
import json
import pathlib
import random

import chat
import data
import split
import tokens
import world as worlds

VOCABULARY = 4096


def sample_texts(world):
    """Text in the proportions of the training mixture, for the tokenizer."""
    rng, spent = random.Random("tokenizer"), collections.Counter()
    shares = {name: (data.SHARES[True][name] + data.SHARES[False][name]) / 2 for name in data.NAMES}
    for _ in range(30000):
        skill = data.pick(rng, 1024, spent, shares, first=False)
        size = data.size_for(rng, skill, 1024)
        made = data.SKILLS[skill][1](rng, split.TRAIN, world, size)
        spent[skill] += size
        yield chat.plain(made) if skill == "prose" else chat.plain(chat.render(*made))


def without_controls(texts):
    """Control tokens are cut out before merging, so the pieces between them are what is merged."""
    controls = tokens.LEADING + [text for text, _ in tokens.ADDED]
    for text in texts:
        for control in controls:
            text = text.replace(control, "\n")
        yield text


def check_sides(world):
    """Counts what each side draws and insists that nothing is on both."""
    seen = {side: collections.defaultdict(set) for side in (split.TRAIN, split.EVAL)}
    for side, drawn in seen.items():
        rng = random.Random(f"sides {side}")
        for _ in range(20000):
            drawn["names"].add(split.name(rng, side))
            for reverse in (False, True):
                drawn["number pairs"].add(data.arithmetic.same(data.arithmetic.operands(rng, side, reverse)))
        drawn["needle depths"].update(split.DEPTHS[side])
        drawn["filler sentences"].update(world.sentences[side])
        drawn["forms of question"].update(data.definitions.ASK[side])
    for kind in seen[split.TRAIN]:
        ours, theirs = seen[split.TRAIN][kind], seen[split.EVAL][kind]
        both = ours & theirs
        print(f"{kind:18} training {len(ours):6}  evaluation {len(theirs):6}  both {len(both)}")
        if both:
            raise SystemExit(f"{kind}: on both sides: {sorted(map(str, both))[:5]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder for the prepared file, outside the tree")
    parser.add_argument("--wordnet", type=pathlib.Path, default=pathlib.Path("/usr/share/wordnet"))
    parser.add_argument("--most-words", type=int, default=10, help="longest explanation")
    parser.add_argument("--tokenizer", action="store_true", help="train the tokenizer too")
    args = parser.parse_args()
    if not (args.wordnet / "data.noun").exists():
        parser.error(f"{args.wordnet}/data.noun is not there: install Debian's wordnet-base, or name its dictionary folder")
    args.data.mkdir(parents=True, exist_ok=True)
    built = worlds.build(args.wordnet, args.most_words)
    (args.data / worlds.FILE).write_text(json.dumps(built, ensure_ascii=False), encoding="utf-8")
    world = worlds.World.load(args.data)
    print(f"{len(world.definitions)} definitions, {len(world.paragraphs[split.TRAIN])} paragraphs, "
          f"{sum(map(len, world.paragraphs[split.TRAIN])) / 1e6:.1f} MB of prose")  # fmt: skip
    check_sides(world)
    if args.tokenizer:
        texts = without_controls(sample_texts(world))
        tokens.train(texts, VOCABULARY)
        print(f"tokenizer of {VOCABULARY} written to {tokens.FOLDER}")


if __name__ == "__main__":
    main()
