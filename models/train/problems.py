"""Held-out problems, as evaluation sets them: conversations whose assistant messages are the right answers."""

import random

import split
from skills import arithmetic, definitions, first_minute, identity, needle, prose, tools

SKILLS = (
    "definitions", "arithmetic", "tools", "identity", "recall", "one digit", "unknown words", "first minute", "smaller first",
    "failed calls",
)  # fmt: skip


def problem(skill, rng, world, thinking):
    """The messages of one held-out conversation."""
    if skill == "definitions":
        word, kind, gloss = rng.choice(world.definitions)
        return definitions.conversation(rng, split.EVAL, [(word, (kind, gloss))], thinking)[0]
    if skill in ("arithmetic", "smaller first"):
        question, chain, answer = arithmetic.problem(rng, split.EVAL, reverse=skill == "smaller first")
        shown = f"{answer}." if thinking else f"{chain}. {answer}."
        return [dict(role="user", content=question), dict(role="assistant", content=shown, reasoning=chain)]
    if skill == "one digit":
        question, chain, answer = arithmetic.digits(rng, split.EVAL)
        return [dict(role="user", content=question), dict(role="assistant", content=answer, reasoning=chain)]
    if skill == "unknown words":
        word = definitions.unknown(rng, split.EVAL, world)
        return definitions.conversation(rng, split.EVAL, [(word, None)], thinking)[0]
    if skill == "first minute":
        return first_minute.make(rng, split.EVAL, world, 0)[0]
    if skill in ("tools", "failed calls"):
        return tools.make(rng, split.EVAL, world, 0, failing=skill == "failed calls")[0]
    if skill == "identity":
        return identity.make(rng, split.EVAL, world, 0)[0]
    return needle.short(rng, split.EVAL, 300)[0]


def of_skill(skill, world, count, seed):
    """[(messages, thinking)], the same for the same seed; every second one with a think block."""
    rng = random.Random(f"evaluate {seed} {skill}")
    return [(problem(skill, rng, world, bool(number % 2)), bool(number % 2)) for number in range(count)]


def needles(world, length, count, seed):
    """One fact in about `length` tokens of prose, at the depths of evaluation in turn."""
    rng = random.Random(f"needle {seed} {length}")
    depths = split.DEPTHS[split.EVAL]
    return [
        needle.single(rng, split.EVAL, world, length, depths[(number * len(depths)) // count]) for number in range(count)
    ]


def held_out_prose(world, size, seed):
    """About `size` tokens of addresses that training has not seen."""
    return prose.make(random.Random(f"prose {seed}"), split.EVAL, world, size)[0][0]
