"""Plain text: paragraphs of the addresses, sentences of WordNet."""


def make(rng, side, world, size):
    """[(text, weight)] of about `size` tokens, without any chat."""
    paragraphs = world.paragraphs[side]
    if rng.random() < 0.15:
        text, first = "", 0
        while len(text) < 4 * min(size, 300):
            text += rng.choice(world.examples) + "\n"
        return [(text, 0.5)]
    first = rng.randrange(len(paragraphs))
    text = ""
    while len(text) < 4.2 * size and first < len(paragraphs):
        text += ("\n\n" if text else "") + paragraphs[first]
        first += 1
    return [(text, 0.5)]
