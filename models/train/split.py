"""What belongs to training and what to evaluation, decided by the thing itself.

Names, number pairs and needle positions are hashed: one in ten is evaluation's, whatever the seed. A generator asks
for one side and draws until it has something of that side, so nothing of the other can occur.
"""

import hashlib

TRAIN, EVAL = "train", "eval"
ONSETS = "b br c ch d dr f fl g gr h j k l m n p pr qu r s sh st t tr v w y z".split()
VOWELS = "a e i o u a e i o ai ea oo".split()
CODAS = ["", "", "", "l", "n", "r", "s", "m", "nd", "rn", "ck", "th"]
# Depths in permille of the text: evaluation owns 10, 30, 50, ... 990, training all others.
DEPTHS = {EVAL: list(range(10, 1000, 20)), TRAIN: [depth for depth in range(1000) if depth % 20 != 10]}


def side(*thing):
    digest = hashlib.sha256("\x1f".join(map(str, thing)).encode()).digest()
    return EVAL if digest[0] % 10 == 0 else TRAIN


def of_side(wanted, draw, tag, same=lambda thing: thing):
    """Draws until the thing belongs to the wanted side; its tag keeps kinds apart. What is the `same` belongs to one side."""
    while True:
        thing = draw()
        if side(tag, same(thing)) == wanted:
            return thing


def invented(rng):
    """A word that no dictionary has: two or three syllables."""
    syllables = rng.choice((2, 2, 3))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(syllables)) + rng.choice(CODAS)


def name(rng, wanted):
    """An invented proper name of one side."""
    return of_side(wanted, lambda: invented(rng).capitalize(), "name")
