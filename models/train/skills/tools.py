"""Choosing one of the given tools, calling it in DSML, and using its result."""

import json

import split
from skills import identity
from skills.toolbox import TOOLS, example

# What a chat says to a call that was not made, and why: `src/cli/calls.rs`, `src/tools/command`. And what is said then.
REFUSED = [
    ("the user did not allow this call", "I was not allowed to call this tool."),
    ("stopped by the user", "The call was stopped."),
    ("the user gave no result", "I was given no result."),
    ("exit code {n}", "The call failed."),
    ("timed out after {n} s", "The call took too long."),
]
SYSTEM = ["", "", "You are a helpful assistant.", "You are a helpful Assistant.", "Be brief."]


def chosen(rng, side, offered):
    """Evaluation asks for all alike. The first argument is learned first, so tools with more of them are trained more."""
    weights = [1 if side == split.EVAL else (1, 6, 10)[len(tool.parameters) - 1] for tool in offered]
    return rng.choices(offered, weights)[0]


def refused(rng):
    """The result of a call that was not made or did not succeed, as the program writes it, and the answer to it."""
    problem, answer = rng.choice(REFUSED)
    result = dict(error=problem.format(n=rng.randrange(1, 100)))
    if "{n}" in problem:
        result |= {key: split.invented(rng) for key in ("output", "stderr") if rng.random() < 0.3}
    return json.dumps(result, separators=(",", ":")), answer


def make(rng, side, world, size, failing=False):
    """One list of tools and as many requests as fit; the list is the long part, so requests share it. `failing`: no call succeeds."""
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
        then = "I have the result."
        if failing or side == split.TRAIN and rng.random() < 0.18:
            (result, answer), then = refused(rng), "I have no result."
        # The thought names no arguments: without their names it would be the hardest place to copy them to.
        call = dict(role="assistant", content="", calls=[(tool.name, arguments)], reasoning=f"I call {tool.name}.")
        messages += [dict(role="user", content=request), call, dict(role="tool", content=result)]
        messages.append(dict(role="assistant", content=answer, reasoning=then))
    return messages, thinking
