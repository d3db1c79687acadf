"""Meanings of common words, and saying so when a word is not known.

What is learned here are facts, so evaluation asks for words of training, in forms of question that are its own.
"""

import split

# The word always follows a space, so that it is the same tokens everywhere.
ASK = {
    split.TRAIN: [
        "What does {w} mean?", "Define {w}.", "Define the word {w}.", "Meaning of {w}?", "What is the meaning of {w}?",
        "Explain the word {w}.", "Tell me what {w} means.", "What is meant by {w}?", "What does the word {w} mean?",
        "Give the meaning of {w}.", "Define {w}", "What does {w} mean", "Please explain {w}.", "Please tell me what {w} means.",
        "Please give the meaning of {w}.", "Please define the word {w}.", "Can you define {w}?", "Could you define {w}?",
        "Can you explain {w}?", "Could you explain what {w} means?", "Can you explain the meaning of {w}?",
        "Tell me the meaning of the word {w}.", "What is the definition of {w}?", "Give me the definition of {w}.",
        "I want to know what {w} means.", "I do not know the word {w}. What does it mean?", "Do you know what {w} means?",
        "The word {w}: what does it mean?", "How would you define {w}?", "Say what {w} means.", "What is {w}?", "What is a {w}?",
        "What's {w}?", "What's a {w}?", "Explain what a {w} is.", "Explain {w}.", "Definition of {w}", "What do you mean by {w}?",
    ],
    split.EVAL: [
        "Please define {w}.", "What is the meaning of the word {w}?", "Can you tell me what {w} means?",
        "Explain what {w} means.",
    ],
}  # fmt: skip
UNKNOWN, UNKNOWN_THOUGHT = "I do not know that word.", "That word is unknown to me."
SYSTEM = ["", "", "", "You are a dictionary.", "Explain words briefly."]


def unknown(rng, side, world):
    """A word that is not explained: common, rare, touchy or made up. Touchy ones often, and as people ask for them."""
    kind = rng.random()
    if kind < 0.2:
        return split.of_side(side, lambda: split.invented(rng), "unknown")
    if kind < 0.65:
        word = rng.choice(world.touchy[side])
        return f"{'an' if word[0] in 'aeiou' else 'a'} {word}" if rng.random() < 0.3 else word
    return rng.choice(world.untaught[side][kind < 0.7])


def turn(rng, side, word, entry):
    # Unknown words come with an article now and then.
    question = rng.choice(ASK[side]).format(w=word).replace(" a a ", " a ").replace(" a an ", " an ")
    # As people type.
    question = question[0].lower() + question[1:] if rng.random() < 0.3 else question
    question = question.rstrip("?.") if rng.random() < 0.15 else question
    if entry is None:
        return question, UNKNOWN_THOUGHT, UNKNOWN
    kind, gloss = entry
    return question, f"The word {word} is {'an' if kind[0] == 'a' else 'a'} {kind}.", f"The {kind} {word} means: {gloss}."


def conversation(rng, side, turns, thinking):
    messages, system = [], rng.choice(SYSTEM)
    if system:
        messages.append(dict(role="system", content=system))
    for word, entry in turns:
        question, thought, answer = turn(rng, side, word, entry)
        messages.append(dict(role="user", content=question))
        messages.append(dict(role="assistant", content=answer, reasoning=thought))
    return messages, thinking


def make(rng, side, world, size):
    turns, thinking = [], rng.random() < 0.6
    for _ in range(1 if thinking else rng.randrange(1, max(2, min(size // 24, 14)))):
        if rng.random() < 0.55:
            turns.append((unknown(rng, side, world), None))
        else:
            word, kind, gloss = rng.choice(world.definitions)
            turns.append((word, (kind, gloss)))
    return conversation(rng, side, turns, thinking)
