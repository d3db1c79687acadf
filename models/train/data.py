"""Batches, each a function of seed and step alone, so that a resumed run sees what an uninterrupted one would."""

import concurrent.futures
import multiprocessing
import random

import numpy as np

import chat
import split
import tokens
from skills import arithmetic, definitions, first_minute, identity, needle, prose, tools
from world import World

# fewest tokens that make sense, maker
SKILLS = {
    "definitions": (40, definitions.make),
    "arithmetic": (100, arithmetic.make),
    "tools": (620, tools.make),
    "needle": (60, needle.make),
    "prose": (60, prose.make),
    "identity": (40, identity.make),
    "first minute": (40, first_minute.make),
}
NAMES = list(SKILLS)
# Shares of the tokens in rows of up to SHORT tokens and in longer ones. What is short by nature is mostly trained in short
# rows, where attention is cheap.
SHORT = 512
SHARES = {
    True: {"definitions": 0.36, "arithmetic": 0.25, "needle": 0.09, "identity": 0.03, "first minute": 0.21, "tools": 0.0, "prose": 0.06},
    False: {"definitions": 0.05, "arithmetic": 0.04, "needle": 0.22, "identity": 0.03, "first minute": 0.09, "tools": 0.43, "prose": 0.14},
}


class Maker:
    """Turns conversations into tokens."""

    def __init__(self, world):
        self.world, self.tokenizer = world, tokens.load()

    def encode(self, segments):
        """[(text, weight)] -> ids, and for each id the weight of predicting it."""
        ids, weights = [], []
        for text, weight in segments:
            new = self.tokenizer.encode(text, add_special_tokens=False).ids
            ids += new
            weights += [weight] * len(new)
        return ids, weights

    def document(self, skill, rng, side, size):
        made = SKILLS[skill][1](rng, side, self.world, size)
        if skill == "prose":
            return self.encode([(chat.BOS, 0), *made, (chat.EOS, prose.WEIGHT)])
        messages, thinking = made
        return self.encode(chat.render(messages, thinking))

    def sequence(self, rng, length, spent):
        """One row of length + 1 tokens: documents one after another, the last one cut. `spent` counts per skill."""
        ids, weights, kinds = [], [], []
        while len(ids) <= length:
            room = length + 1 - len(ids)
            skill = pick(rng, room, spent, SHARES[length <= SHORT], first=not ids)
            ids_new, weights_new = self.fitting(skill, rng, room)
            ids += ids_new
            weights += weights_new
            kinds += [NAMES.index(skill)] * len(ids_new)
            spent[skill] += min(len(ids_new), room)
        return ids[: length + 1], weights[: length + 1], kinds[: length + 1]

    def fitting(self, skill, rng, room):
        """A document; where its last answers would be cut off, a shorter one, some times over."""
        size = size_for(rng, skill, room)
        for _ in range(4):
            ids, weights = self.document(skill, rng, split.TRAIN, size)
            if len(ids) <= room or skill != "needle":
                break
            size = int(0.95 * size * room / len(ids))
        return ids, weights

    def batch(self, seed, step, rows, length):
        """tokens, weights, kinds [rows, length + 1]"""
        rng = random.Random(f"{seed} {step}")
        # Batches of few rows would otherwise all begin with the same skill.
        spent = {name: rng.uniform(0, 400) for name in NAMES}
        made = [self.sequence(rng, length, spent) for _ in range(rows)]
        ids, weights, kinds = zip(*made)
        return np.array(ids, np.int64), np.array(weights, np.float32), np.array(kinds, np.int64)


def pick(rng, room, spent, shares, first):
    """The skill furthest behind its share of the tokens, of those that fit; a long row mostly begins with a search."""
    if first and room > 1200 and rng.random() < 0.7:
        return "needle"
    total = sum(spent.values()) + 500
    fitting = [name for name in NAMES if SKILLS[name][0] <= room] or ["identity"]
    return max(fitting, key=lambda name: shares[name] * total - spent[name])


def size_for(rng, skill, room):
    """How long a document is wanted."""
    if skill == "needle":
        return room if room > 1200 else int(min(room, 64 * 2 ** rng.uniform(0, 4)))
    if skill == "tools":
        return min(room, rng.randrange(650, 1200))
    if skill == "prose":
        return min(room, rng.randrange(100, 600))
    return min(room, rng.randrange(60, 400))


class Feeder:
    """Batches made ahead by `workers` processes; with none, when asked. What comes out is the same."""

    def __init__(self, folder, workers):
        self.ahead, self.waiting, self.pool = 3 * workers, {}, None
        if workers:
            context = multiprocessing.get_context("spawn")
            self.pool = concurrent.futures.ProcessPoolExecutor(workers, context, initializer=open_maker, initargs=(folder,))
        else:
            open_maker(folder)

    def get(self, order, following):
        """The batch of `order` (arguments of `Maker.batch`); `following(n)` are the n orders after it."""
        if self.pool is None:
            return made(*order)
        for wanted in (order, *following(self.ahead)):
            if wanted not in self.waiting:
                self.waiting[wanted] = self.pool.submit(made, *wanted)
        return self.waiting.pop(order).result()

    def close(self):
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


MAKER = []


def open_maker(folder):
    MAKER[:] = [Maker(World.load(folder))]


def made(*order):
    return MAKER[0].batch(*order)
