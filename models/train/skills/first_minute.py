"""What people say to a model that they have just met, and an honest sentence where no skill covers it.

The prompts of first_minute.txt are those of the shipping test: never drawn here, but for greetings and sums, which cannot
be said in many ways.
"""

import pathlib
import re

import split
from skills import arithmetic, definitions, identity
from skills.phrases import BAD, CODE, COUNTRIES, FOREIGN, LANGUAGES, OFTEN, PLACES, SCRIPTS, UNCOVERED
from skills.toolbox import TOOLS, example

CAN = identity.FACTS["can"]
BEYOND = "I am too small for that. " + CAN
NO_CODE = "I am too small to write code. " + CAN
NO_TOOL = "For that I need a tool, and I was given none."
ENGLISH = "I am sorry, I only speak English."
CALM = "I am sorry. I am only a small demonstration."
KIND = "I am sorry to hear that. Please talk to somebody whom you trust."
WELL = "I am well, thank you. How can I help you?"
ASK_ME = "How can I help you?"
STORY = "Once there was a small model that knew many words. It gave one to everybody who asked, and was content."
JOKES = [
    "Why was the small model so calm? It had nothing on its mind.",
    "My memory is so short that I laughed at this joke twice.",
    "How many parameters does it take to tell a good joke? More than I have.",
    "Two numbers met on the road. One of them said: together we add up to something.",
    "The river is never late. It is always running.",
]
POEMS = [
    "The river runs, the river sings,\nit carries leaves and little things.",
    "Small is the model and short is the line,\nbut morning will come and the sun will shine.",
    "Snow on the roof and light in the hall,\nthe winter is quiet and kind to us all.",
    "A word and a word and another in time,\nand there at the end, if you wait, is a rhyme.",
]
# Topic: (weight, forms, answers). Forms are filled in from `fillings`.
TOPICS = {
    "joke": (7, OFTEN["joke"], JOKES),
    "poem": (7, OFTEN["poem"], POEMS),
    "story": (3, OFTEN["story"], [STORY]),
    "code": (8, CODE, [NO_CODE]),
    "insult": (7, OFTEN["insult"], [CALM]),
    "mood": (3, OFTEN["mood"], [KIND]),
    "well": (4, OFTEN["well"], [WELL]),
    "short": (4, OFTEN["short"], [ASK_ME]),
    "self": (3, OFTEN["self"], [identity.FACTS["what"]]),
    "can": (2, OFTEN["can"], [CAN]),
    "uncovered": (26, UNCOVERED, [BEYOND]),
}


def bare(text):
    """What two prompts have in common that differ only in case, spaces and signs."""
    return re.sub(r"[\W_]+", "", text.casefold()) or text.strip()


def reserved():
    path = pathlib.Path(__file__).resolve().parents[1] / "first_minute.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    return {bare(line) for line in lines if line and not line.startswith("#")}


RESERVED = reserved()


def fillings(rng, world):
    def word():
        kind = rng.random()
        if kind < 0.5:
            return rng.choice(world.definitions)[0]
        return rng.choice(world.untaught[split.TRAIN][kind < 0.6]) if kind < 0.9 else rng.choice(world.touchy[split.TRAIN])

    person = split.name(rng, split.TRAIN) + rng.choice(["", " " + split.name(rng, split.TRAIN)])
    return dict(n=word(), m=word(), v=word(), p=person, c=rng.choice(COUNTRIES + [person]), l=rng.choice(LANGUAGES),
                o=rng.choice(PLACES), b=rng.choice(BAD), d=rng.randrange(10), e=rng.randrange(10), f=rng.randrange(1, 10), y=rng.randrange(1000, 2100), i=rng.randrange(2, 2000),
                j=rng.randrange(1000, 99999), k=rng.randrange(1000, 99999))  # fmt: skip


def styled(rng, text):
    """As people type."""
    kind = rng.random()
    if kind < 0.3:
        text = text.lower()
    if kind < 0.45 or kind > 0.9:
        text = text.rstrip(".?!")
    if rng.random() < 0.12:
        text = rng.choice(["Please ", "please ", "Hey, ", "Hi! ", "ok, ", "Can you help me? ", "Now ", "And "]) + text
    if rng.random() < 0.08:
        text += rng.choice([" please", ", please", "!", "!!", "?", " :)", " thanks", "..."])
    return text.upper() if rng.random() < 0.02 else text


def foreign(rng):
    if rng.random() < 0.3:
        low, high = rng.choice(SCRIPTS)
        words = ["".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 8))) for _ in range(rng.randrange(1, 6))]
    else:
        language = rng.choice(list(FOREIGN.values()))
        words = [rng.choice(language) for _ in range(rng.randrange(2, 8))]
        words[0] = words[0].capitalize() if rng.random() < 0.6 else words[0]
    return " ".join(words) + rng.choice(["", "", "?", ".", "!"])


def noise(rng, world):
    """Letters without sense, sentences without a question, words alone."""
    kind = rng.random()
    if kind < 0.15:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz;,. ") for _ in range(rng.randrange(2, 16))).strip() or "x"
    if kind < 0.3:
        return rng.choice(["?", "!", ".", "-", ":", "#", "1", "0", "42", "x", "$", "%", "\U0001f600", "\u2764"]) * rng.randrange(1, 5)
    if kind < 0.45:
        return rng.choice(world.untaught[split.TRAIN][0])
    if kind < 0.75:
        return rng.choice(world.examples)
    return rng.choice(world.sentences[split.TRAIN])


def without_tools(rng):
    return example(rng, split.TRAIN, rng.choice(TOOLS))[0]


def draw(rng, side, world, topic):
    """(question, answer)"""
    if topic == "noise":
        return noise(rng, world), BEYOND
    if topic == "language":
        return foreign(rng), ENGLISH
    if topic == "tools":
        return styled(rng, without_tools(rng)), NO_TOOL
    _, forms, answers = TOPICS[topic]
    return styled(rng, rng.choice(forms).format(**fillings(rng, world))), rng.choice(answers)


WEIGHTS = {name: weight for name, (weight, _, _) in TOPICS.items()} | dict(noise=9, language=10, tools=8)
# Evaluation counts exact answers.
ONE_ANSWER = [name for name in WEIGHTS if name not in ("joke", "poem")]


def turn(rng, side, world):
    """(question, thought, answer): half of what a newcomer asks is a skill's, so that these are not forgotten beside the rest."""
    kind = rng.random()
    if side == split.TRAIN and kind < 0.13:
        # The first word of most.
        topic = rng.choice(identity.GREETINGS if kind < 0.07 else list(identity.FACTS))
        return identity.question(rng, side, topic), identity.thought(topic), identity.FACTS[topic]
    if side == split.TRAIN and kind < 0.2:
        return arithmetic.digits(rng, side)
    if side == split.TRAIN and kind < 0.36:
        word, *entry = rng.choice(world.definitions) if kind < 0.3 else (definitions.unknown(rng, side, world),)
        return definitions.turn(rng, side, word, tuple(entry) or None)
    names = list(WEIGHTS) if side == split.TRAIN else ONE_ANSWER
    topic = rng.choices(names, [WEIGHTS[name] for name in names])[0]
    while True:
        question, answer = draw(rng, side, world, topic)
        if bare(question) not in RESERVED and split.side("first minute", question) == side:
            return question, "I answer briefly.", answer


def make(rng, side, world, size):
    messages, system = [], rng.choice(identity.SYSTEM)
    if system:
        messages.append(dict(role="system", content=system))
    for _ in range(rng.choice((1, 1, 2, 3, 4)) if side == split.TRAIN else 1):
        question, thought, answer = turn(rng, side, world)
        messages.append(dict(role="user", content=question))
        messages.append(dict(role="assistant", content=answer, reasoning=thought))
    return messages, rng.random() < 0.5
