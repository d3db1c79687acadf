"""Recalling facts placed anywhere in a text: a needle in prose, and at short length lists and repetition.

A fact ties an invented name to a number or to words. Positions are depths in permille of the text; evaluation has its
own depths and names.
"""

import split

KINDS = ["code", "number", "key", "colour", "animal", "city"]
COLOURS = "red green blue white black yellow brown grey purple orange golden silver".split()
ANIMALS = "horse dog cat wolf bear eagle fish lion sheep goat bird cow".split()
STATE = ["The {kind} of {name} is {value}.", "Remember: the {kind} of {name} is {value}.", "Note that the {kind} of {name} is {value}."]
ASK = ["What is the {kind} of {name}?", "Tell me the {kind} of {name}.", "Which {kind} has {name}?", "And the {kind} of {name}?"]
BEFORE = ["Read this text.\n\n", "Here is a text.\n\n", "", "Text:\n\n"]
SYSTEM = ["", "", "", "You are a helpful assistant.", "Answer from the text."]
# Tokens of a sentence of prose, about.
SENTENCE = 31


def fact(rng, side):
    kind = rng.choice(KINDS)
    if kind == "colour":
        value = rng.choice(COLOURS)
    elif kind == "animal":
        value = rng.choice(COLOURS) + " " + rng.choice(ANIMALS)
    elif kind == "city":
        value = split.name(rng, side)
    else:
        value = str(rng.randrange(1000, 100000))
    return dict(kind=kind, name=split.name(rng, side), value=value)


def place(sentences, facts, depths, rng):
    """The text with each fact before the sentence at its depth."""
    marks = sorted(zip(depths, range(len(facts))), key=lambda mark: mark[0])
    out, done = [], 0
    for number, sentence in enumerate(sentences + [""]):
        while done < len(marks) and marks[done][0] * len(sentences) <= 1000 * number:
            out.append(rng.choice(STATE).format(**facts[marks[done][1]]))
            done += 1
        if sentence:
            out.append(sentence)
    out += [rng.choice(STATE).format(**facts[mark[1]]) for mark in marks[done:]]
    return " ".join(out)


def conversation(rng, text, facts, thinking):
    messages, system = [], rng.choice(SYSTEM)
    if system:
        messages.append(dict(role="system", content=system))
    for number, known in enumerate(facts):
        question = rng.choice(ASK).format(**known)
        if number == 0:
            question = rng.choice(BEFORE) + text + "\n\n" + question
        thought = f"The text says: the {known['kind']} of {known['name']} is {known['value']}."
        answer = f"The {known['kind']} of {known['name']} is {known['value']}."
        messages.append(dict(role="user", content=question))
        messages.append(dict(role="assistant", content=answer, reasoning=thought))
    return messages, thinking


def distinct(rng, side, count):
    """Facts with different names, and half of the time some share a kind, so that the name must decide."""
    facts = {}
    while len(facts) < count:
        new = fact(rng, side)
        facts.setdefault(new["name"], new)
    return list(facts.values())


def haystack(rng, side, world, size):
    count = max(size // SENTENCE, 1)
    sentences = world.sentences[side]
    first = rng.randrange(len(sentences) - count)
    return sentences[first : first + count]


def make(rng, side, world, size):
    """Prose with facts in it; more questions at greater length, since each costs little beside the text."""
    if size < 160 or rng.random() < 0.15:
        return short(rng, side, size)
    asked = 1 if rng.random() < 0.2 else rng.randrange(2, 6 + size // 120)
    facts = distinct(rng, side, asked + rng.randrange(0, 3))
    sentences = haystack(rng, side, world, max(size - 16 * len(facts) - 36 * asked, 0))
    text = place(sentences, facts, [rng.choice(split.DEPTHS[side]) for _ in facts], rng)
    return conversation(rng, text, rng.sample(facts, asked), rng.random() < 0.2)


def single(rng, side, world, size, depth):
    """One fact at one depth, for evaluation; its question is the last thing."""
    facts = distinct(rng, side, 1)
    text = place(haystack(rng, side, world, max(size - 60, 0)), facts, [depth], rng)
    return conversation(rng, text, facts, False)


def short(rng, side, size):
    """Lists of facts without prose, and texts to repeat."""
    thinking = rng.random() < 0.2
    if rng.random() < 0.3:
        said = " ".join(rng.choice((split.name(rng, side), str(rng.randrange(1000)), rng.choice(COLOURS), rng.choice(ANIMALS)))
                        for _ in range(rng.randrange(1, 9)))  # fmt: skip
        return [
            dict(role="user", content=rng.choice(("Repeat: ", "Say: ", "Repeat after me: ")) + said),
            dict(role="assistant", content=said, reasoning="I repeat it."),
        ], thinking
    facts = distinct(rng, side, rng.randrange(1, max(2, min(size // 40, 10))))
    text = " ".join(rng.choice(STATE).format(**known) for known in facts)
    return conversation(rng, text, rng.sample(facts, rng.randrange(1, len(facts) + 1)), thinking)
