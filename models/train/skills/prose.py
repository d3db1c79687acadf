"""Plain text: paragraphs of the addresses, sentences of WordNet."""

# Prose is what the model can least learn, and every token of it is a target: at full weight its gradient drowns the answers'.
WEIGHT = 0.1


def make(rng, side, world, size):
    """[(text, weight)] of about `size` tokens, without any chat."""
    paragraphs = world.paragraphs[side]
    if rng.random() < 0.15:
        text, first = "", 0
        while len(text) < 4 * min(size, 300):
            text += rng.choice(world.examples) + "\n"
        return [(text, WEIGHT)]
    first = rng.randrange(len(paragraphs))
    text = ""
    while len(text) < 4.2 * size and first < len(paragraphs):
        text += ("\n\n" if text else "") + paragraphs[first]
        first += 1
    return [(text, WEIGHT)]
