"""Generators and batches; no torch. The prepared corpora are replaced by a few made-up lines."""

import random
import re
import unittest

import chat
import corpora
import data
import split
import tokens
import world as worlds
from skills import arithmetic, definitions, needle, toolbox, tools


def small_world():
    def paragraphs(word):
        return [" ".join(f"The {word} sentence number {i} of paragraph {p} is not very long." for i in range(9)) for p in range(60)]

    words = [(f"word{i}", "noun", f"thing number {i} of all things") for i in range(50)]
    return worlds.World(
        dict(
            definitions=words, paragraphs={side: paragraphs(side) for side in (split.TRAIN, split.EVAL)},
            examples=["A whole sentence that stands alone."],
        )
    )  # fmt: skip


class Sides(unittest.TestCase):
    def test_names_and_pairs_never_cross(self):
        for wanted in (split.TRAIN, split.EVAL):
            rng = random.Random(1)
            for _ in range(500):
                self.assertEqual(split.side("name", split.name(rng, wanted)), wanted)
                self.assertEqual(split.side("arithmetic", arithmetic.operands(rng, wanted)), wanted)

    def test_depths(self):
        self.assertFalse(set(split.DEPTHS[split.TRAIN]) & set(split.DEPTHS[split.EVAL]))
        self.assertEqual(sorted(split.DEPTHS[split.TRAIN] + split.DEPTHS[split.EVAL]), list(range(1000)))

    def test_forms_of_question(self):
        self.assertFalse(set(definitions.ASK[split.TRAIN]) & set(definitions.ASK[split.EVAL]))

    def test_one_in_ten(self):
        share = sum(split.side("x", i) == split.EVAL for i in range(5000)) / 5000
        self.assertAlmostEqual(share, 0.1, delta=0.02)


class Arithmetic(unittest.TestCase):
    def test_chains_end_in_the_result(self):
        rng = random.Random(2)
        for _ in range(3000):
            a, sign, b = arithmetic.operands(rng, split.TRAIN)
            chain = arithmetic.work(a, sign, b)
            self.assertEqual(int(chain.rsplit("; ", 1)[1]), arithmetic.COMPUTE[sign](a, b), chain)
            for left, right in re.findall(r"([0-9+*-]+)=(-?\d+)", chain):
                self.assertEqual(eval(left), int(right), chain)

    def test_examples(self):
        self.assertEqual(arithmetic.work(47, "+", 985), "047+985: 7+5=12, 2 carry 1; 4+8+1=13, 3 carry 1; 0+9+1=10, 0 carry 1; 1032")
        self.assertEqual(arithmetic.work(503, "-", 47), "503-047: 3-7=-4, 6 carry 1; 0-4-1=-5, 5 carry 1; 5-0-1=4, 4 carry 0; 456")
        self.assertEqual(arithmetic.work(38, "*", 7), "38*7: 8*7=56, 6 carry 5; 3*7+5=26, 6 carry 2; 266")


class Tools(unittest.TestCase):
    def test_every_request_names_its_arguments(self):
        rng = random.Random(3)
        for tool in toolbox.TOOLS:
            for _ in range(20):
                request, arguments, result, answer = toolbox.example(rng, split.TRAIN, tool)
                self.assertEqual(set(arguments), set(tool.parameters))
                for value in arguments.values():
                    self.assertIn(str(value).lower(), request.lower(), tool.name)
                self.assertNotIn("{", answer)

    def test_the_called_tool_is_offered(self):
        rng = random.Random(4)
        for _ in range(50):
            messages, _ = tools.make(rng, split.TRAIN, None, 900)
            offered = {tool["name"] for tool in messages[0]["tools"]}
            called = {name for message in messages for name, _ in message.get("calls", [])}
            self.assertTrue(called and called <= offered)


class Needle(unittest.TestCase):
    def test_facts_are_where_they_should_be(self):
        rng, world = random.Random(5), small_world()
        for depth in (0, 10, 500, 990, 999):
            fact = needle.fact(rng, split.EVAL)
            sentences = needle.haystack(rng, split.EVAL, world, 2800)
            text = needle.place(sentences, [fact], [depth], rng)
            before = text.index(f"the {fact['kind']} of {fact['name']}") if "Re" in text or "Note" in text else text.index(fact["name"])
            self.assertAlmostEqual(before / len(text), depth / 1000, delta=0.03)

    def test_every_asked_fact_is_in_the_text(self):
        rng, world = random.Random(6), small_world()
        for _ in range(50):
            messages, _ = needle.make(rng, split.TRAIN, world, 1000)
            users = [m["content"] for m in messages if m["role"] == "user"]
            for message in messages:
                if message["role"] == "assistant" and " is " in message["content"]:
                    self.assertIn(message["content"][4:-1], users[0])

    def test_evaluation_uses_its_own_names(self):
        rng = random.Random(7)
        for _ in range(200):
            self.assertEqual(split.side("name", needle.fact(rng, split.EVAL)["name"]), split.EVAL)


class Batches(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.maker = data.Maker(small_world())

    def test_same_seed_and_step_same_batch(self):
        one, two, other = (self.maker.batch("1 dense", step, 3, 256) for step in (5, 5, 6))
        for a, b in zip(one, two):
            self.assertTrue((a == b).all())
        self.assertFalse((one[0] == other[0]).all())

    def test_shape_and_supervision(self):
        for length in (64, 256, 1024):
            ids, weights, kinds = self.maker.batch("1 dense", 0, 2, length)
            self.assertEqual(ids.shape, (2, length + 1))
            self.assertTrue((ids[:, 0] == tokens.BOS).all())
            self.assertTrue(0 < (weights > 0).mean() < 0.95)
            self.assertTrue(((0 <= kinds) & (kinds < len(data.NAMES))).all())

    def test_segments_are_tokens_of_the_whole(self):
        rng = random.Random(8)
        for skill in data.NAMES:
            if skill == "prose":
                continue
            for _ in range(20):
                segments = chat.render(*data.SKILLS[skill][1](rng, split.TRAIN, self.maker.world, 700))
                ids, _ = self.maker.encode(segments)
                whole = self.maker.tokenizer.encode(chat.plain(segments), add_special_tokens=False).ids
                self.assertEqual(ids, whole, skill)

    def test_digits_are_single_tokens(self):
        for text in ("123", " 4567", "x89", "2024-11-25"):
            for token in self.maker.tokenizer.encode(text, add_special_tokens=False).tokens:
                self.assertLessEqual(sum(c.isdigit() for c in token), 1, text)

    def test_control_tokens(self):
        tokenizer = self.maker.tokenizer
        self.assertEqual(tokenizer.get_vocab_size(), 4096)
        for number, text in enumerate(tokens.LEADING):
            self.assertEqual(tokenizer.token_to_id(text), number)
        for text, _ in tokens.ADDED:
            self.assertEqual(len(tokenizer.encode(text, add_special_tokens=False).ids), 1, text)


class Glosses(unittest.TestCase):
    def test_first_clause(self):
        self.assertEqual(corpora.short_gloss('a human being; "there was too much for one person"', 10), "a human being")
        self.assertEqual(corpora.short_gloss("(of a thing) very large", 10), "very large")
        self.assertIsNone(corpora.short_gloss("one", 10))
        self.assertIsNone(corpora.short_gloss(" ".join(["long"] * 11), 10))
        self.assertIsNone(corpora.short_gloss("an offensive word for somebody", 10))


if __name__ == "__main__":
    unittest.main()
