"""Choosing one of the given tools, calling it in DSML, and using its result."""

import split
from skills import identity
from skills.toolbox import TOOLS, example

SYSTEM = ["", "", "You are a helpful assistant.", "You are a helpful Assistant.", "Be brief."]


def chosen(rng, side, offered):
    """Evaluation asks for all alike. The first argument is learned first, so tools with more of them are trained more."""
    weights = [1 if side == split.EVAL else (1, 6, 10)[len(tool.parameters) - 1] for tool in offered]
    return rng.choices(offered, weights)[0]


def make(rng, side, world, size):
    """One list of tools and as many requests as fit; the list is the long part, so requests share it."""
    offered = rng.sample(TOOLS, rng.choice((1, 2, 2, 3, 3, 4)))
    thinking = rng.random() < 0.5
    messages = [dict(role="system", content=rng.choice(SYSTEM), tools=[tool.schema() for tool in offered])]
    for _ in range(max(1, min((size - 420) // 90, 10))):
        if side == split.TRAIN and rng.random() < 0.2:
            # Nothing to call a tool for.
            topic = rng.choice(identity.GREETINGS if rng.random() < 0.7 else list(identity.FACTS))
            question, answer = identity.question(rng, side, topic), identity.FACTS[topic]
            messages.append(dict(role="user", content=question))
            messages.append(dict(role="assistant", content=answer, reasoning=identity.thought(topic)))
        tool = chosen(rng, side, offered)
        request, arguments, result, answer = example(rng, side, tool)
        # The thought names no arguments: without their names it would be the hardest place to copy them to.
        call = dict(role="assistant", content="", calls=[(tool.name, arguments)], reasoning=f"I call {tool.name}.")
        messages += [dict(role="user", content=request), call, dict(role="tool", content=result)]
        messages.append(dict(role="assistant", content=answer, reasoning="I have the result."))
    return messages, thinking
