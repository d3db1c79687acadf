"""Sums, differences and small products, worked out digit by digit from the right in the think block."""

import split

SYSTEM = ["", "", "You are a careful calculator.", "Answer with the result."]
ASK = {
    "+": ["What is {a} + {b}?", "{a} + {b}", "Add {a} and {b}.", "Compute {a} + {b}.", "What is the sum of {a} and {b}?",
          "{a} plus {b}?", "How much is {a} + {b}?"],
    "-": ["What is {a} - {b}?", "{a} - {b}", "Subtract {b} from {a}.", "Compute {a} - {b}.", "{a} minus {b}?",
          "How much is {a} - {b}?"],
    "*": ["What is {a} * {b}?", "{a} * {b}", "Multiply {a} by {b}.", "Compute {a} * {b}.", "{a} times {b}?",
          "How much is {a} * {b}?"],
}  # fmt: skip
COMPUTE = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def operands(rng, side):
    """(a, sign, b) of one side: two or three digits; products are by one digit."""

    def draw():
        sign = rng.choice("++--*")
        a = rng.randrange(10, 100) if rng.random() < 0.35 else rng.randrange(100, 1000)
        if sign == "*":
            return a, sign, rng.randrange(2, 10)
        b = rng.randrange(10, 100) if rng.random() < 0.35 else rng.randrange(100, 1000)
        return (max(a, b), sign, min(a, b)) if sign == "-" else (a, sign, b)

    return split.of_side(side, draw, "arithmetic")


def work(a, sign, b):
    """The chain: operands at equal width, then one step per digit from the right with what is carried."""
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


def problem(rng, side):
    a, sign, b = operands(rng, side)
    result = COMPUTE[sign](a, b)
    return rng.choice(ASK[sign]).format(a=a, b=b), work(a, sign, b), f"{a} {sign} {b} = {result}"


def make(rng, side, world, size):
    """One problem with a think block; or, in chat mode, several with their work shown in the answers."""
    messages, system = [], rng.choice(SYSTEM)
    if system:
        messages.append(dict(role="system", content=system))
    thinking = rng.random() < 0.8
    for _ in range(1 if thinking else rng.randrange(1, 4)):
        question, chain, answer = problem(rng, side)
        messages.append(dict(role="user", content=question))
        shown = answer + "." if thinking else f"{chain}. {answer}."
        messages.append(dict(role="assistant", content=shown, reasoning=chain))
    return messages, thinking
