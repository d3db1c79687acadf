"""Sums, differences and small products: worked out digit by digit from the right in the think block, or, of two digits
alone, known by heart."""

import split

SYSTEM = ["", "", "You are a careful calculator.", "Answer with the result."]
ASK = {
    "+": ["What is {a} + {b}?", "{a} + {b}", "Add {a} and {b}.", "Compute {a} + {b}.", "What is the sum of {a} and {b}?",
          "{a} plus {b}?", "How much is {a} + {b}?", "{a}+{b}", "What is {a}+{b}?", "what's {a} + {b}?", "{a} plus {b}"],
    "-": ["What is {a} - {b}?", "{a} - {b}", "Subtract {b} from {a}.", "Compute {a} - {b}.", "{a} minus {b}?",
          "How much is {a} - {b}?", "{a}-{b}", "What is {a}-{b}?", "what's {a} - {b}?", "{a} minus {b}"],
    "*": ["What is {a} * {b}?", "{a} * {b}", "Multiply {a} by {b}.", "Compute {a} * {b}.", "{a} times {b}?",
          "How much is {a} * {b}?", "{a}*{b}", "What is {a}*{b}?", "what's {a} * {b}?", "{a} times {b}"],
}  # fmt: skip
# Trained only.
ASK_MORE = {"*": ["{a} x {b}", "What is {a} x {b}?", "{a}x{b}"]}
# Two digits alone are facts: all are trained, and evaluation has forms of question of its own.
ASK_DIGITS = {
    split.TRAIN: ["{a} {s} {b} = ?", "{a}{s}{b}=?", "{a} {s} {b} =", "{a}{s}{b}=", "what is {a} {s} {b}", "What's {a}{s}{b}",
                  "{a} {w} {b}", "what is {a} {w} {b}?", "What is {a} {w} {b}?", "calculate {a} {s} {b}", "Calculate {a}{s}{b}.",
                  "Please tell me {a} {s} {b}.", "What does {a} {s} {b} make?", "{A} {w} {B}", "What is {A} {w} {B}?",
                  "{a} {w} {b} equals", "{a} {s} {b} equals", "What does {a} {w} {b} equal?", "{a} {w} {b} is", "what's {a} {w} {b}",
                  "do you know {a} {s} {b}?", "Tell me {a} {w} {b}.", "how much is {a}{s}{b}", "{a} {s} {b}?", "{a}{s}{b}?"],
    split.EVAL: ["Can you tell me {a} {s} {b}?", "What's {a} {w} {b}?", "Please compute {a} {s} {b}.", "How much is {a} {w} {b}?"],
}  # fmt: skip
WORDS = {"+": "plus", "-": "minus", "*": "times"}
DIGITS = "zero one two three four five six seven eight nine".split()
COMPUTE = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def operands(rng, side, reverse=False):
    """(a, sign, b) of one side: up to three digits, and not one digit alone on both sides; in products one has one digit.

    `reverse`: of a sum or a product whose smaller one stands first.
    """

    def number(least):
        size = 2 if rng.random() < 0.35 else 3
        size = 1 if least == 1 and rng.random() < (0.3 if reverse else 0.15) else size
        return rng.randrange(10 ** (size - 1) if size > 1 else 0, 10**size)

    def draw():
        sign = rng.choice("+*" if reverse else "++--*")
        a, b = number(2), rng.randrange(2, 10) if sign == "*" else number(1)
        if reverse:
            return min(a, b), sign, max(a, b)
        if sign == "*":
            return a, sign, b
        if rng.random() < 0.5:
            a, b = b, a
        return (max(a, b), sign, min(a, b)) if sign == "-" else (a, sign, b)

    return split.of_side(side, draw, "arithmetic", same)


def same(problem):
    """What a problem is, however it is asked: a product has the same chain either way round."""
    a, sign, b = problem
    return (max(a, b), sign, min(a, b)) if sign == "*" else problem


def work(a, sign, b):
    """The chain: operands at equal width, then one step per digit from the right with what is carried.

    The digits of a product's larger one are gone through, wherever it stands.
    """
    if sign == "*" and a < b:
        a, b = b, a
    width = max(len(str(a)), len(str(b)))
    top = f"{a:0{width}d}"
    bottom = f"{b:0{width}d}" if sign != "*" else str(b)
    steps, carry, digits = [], 0, ""
    for place in range(1, width + 1):
        x = int(top[-place])
        y = int(bottom[-place]) if sign != "*" else b
        if sign == "+":
            value = x + y + carry
        elif sign == "-":
            value = x - y - carry
        else:
            value = x * y + carry
        shown = f"{x}{sign}{y}" + (f"{'-' if sign == '-' else '+'}{carry}" if carry else "") + f"={value}"
        digit, carry = (value % 10, value // 10) if sign != "-" else (value % 10, int(value < 0))
        digits = str(digit) + digits
        steps.append(f"{shown}, {digit} carry {carry}")
    if carry:
        digits = str(carry) + digits
    return f"{top}{sign}{bottom}: " + "; ".join(steps) + f"; {digits}"


def problem(rng, side, reverse=False):
    """(question, chain, answer)"""
    a, sign, b = operands(rng, side, reverse)
    result = COMPUTE[sign](a, b)
    forms = ASK[sign] + (ASK_MORE.get(sign, []) if side == split.TRAIN else [])
    return rng.choice(forms).format(a=a, b=b), work(a, sign, b), f"{a} {sign} {b} = {result}"


def digits(rng, side):
    """(question, thought, answer) of two digits alone."""
    a, sign, b = rng.randrange(10), rng.choice("++-*"), rng.randrange(10)
    if rng.random() < 0.1:
        b = a
    forms = ASK_DIGITS[side] + (ASK[sign] + ASK_MORE.get(sign, []) if side == split.TRAIN else [])
    question = rng.choice(forms).format(a=a, b=b, s=sign, w=WORDS[sign], A=DIGITS[a], B=DIGITS[b])
    result = COMPUTE[sign](a, b)
    return question, f"{a}{sign}{b}={result}", f"{a} {sign} {b} = {result}."


def make(rng, side, world, size):
    """One problem with a think block; or, in chat mode, several with their work shown in the answers."""
    messages, system = [], rng.choice(SYSTEM)
    if system:
        messages.append(dict(role="system", content=system))
    # What is known by heart needs many questions, and they are short.
    by_heart = rng.random() < 0.35
    thinking = not by_heart and rng.random() < 0.7
    for _ in range(rng.randrange(4, 9) if by_heart else 1 if thinking else rng.randrange(1, 4)):
        if by_heart or rng.random() < 0.15:
            question, chain, shown = digits(rng, side)
        else:
            question, chain, answer = problem(rng, side, reverse=rng.random() < 0.25)
            shown = answer + "." if thinking else f"{chain}. {answer}."
        messages.append(dict(role="user", content=question))
        messages.append(dict(role="assistant", content=shown, reasoning=chain))
    return messages, thinking
