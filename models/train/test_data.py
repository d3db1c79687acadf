"""Generators and batches; no torch. The prepared corpora are replaced by a few made-up lines."""

import json
import random
import re
import unittest

import chat
import corpora
import data
import split
import tokens
import world as worlds
from skills import arithmetic, definitions, first_minute, needle, toolbox, tools


def small_world():
    def paragraphs(word):
        return [" ".join(f"The {word} sentence number {i} of paragraph {p} is not very long." for i in range(9)) for p in range(60)]

    words = [(f"word{i}", "noun", f"thing number {i} of all things") for i in range(50)]
    untaught = [[f"{kind}{i}" for i in range(80)] for kind in ("plain", "rare")]
    return worlds.World(
        dict(
            definitions=words, untaught=untaught, paragraphs={side: paragraphs(side) for side in (split.TRAIN, split.EVAL)},
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
            a, sign, b = arithmetic.operands(rng, split.TRAIN, reverse=rng.random() < 0.5)
            chain = arithmetic.work(a, sign, b)
            self.assertEqual(int(chain.rsplit("; ", 1)[1]), arithmetic.COMPUTE[sign](a, b), chain)
            for left, right in re.findall(r"([0-9+*-]+)=(-?\d+)", chain):
                self.assertEqual(eval(left), int(right), chain)

    def test_examples(self):
        self.assertEqual(arithmetic.work(47, "+", 985), "047+985: 7+5=12, 2 carry 1; 4+8+1=13, 3 carry 1; 0+9+1=10, 0 carry 1; 1032")
        self.assertEqual(arithmetic.work(503, "-", 47), "503-047: 3-7=-4, 6 carry 1; 0-4-1=-5, 5 carry 1; 5-0-1=4, 4 carry 0; 456")
        self.assertEqual(arithmetic.work(38, "*", 7), "38*7: 8*7=56, 6 carry 5; 3*7+5=26, 6 carry 2; 266")
        self.assertEqual(arithmetic.work(7, "*", 38), arithmetic.work(38, "*", 7))

    def test_two_digits_alone_are_facts_with_forms_of_their_own(self):
        for side in (split.TRAIN, split.EVAL):
            rng, seen = random.Random(9), set()
            for _ in range(4000):
                question, chain, answer = arithmetic.digits(rng, side)
                a, sign, b, result = re.fullmatch(r"(\d) ([+*-]) (\d) = (-?\d+)\.", answer).groups()
                self.assertEqual(eval(a + sign + b), int(result), answer)
                self.assertEqual(chain, f"{a}{sign}{b}={result}")
                seen.add((a, sign, b))
            self.assertEqual(len(seen), 300)
        forms = set(arithmetic.ASK_DIGITS[split.TRAIN]) | {form for forms in arithmetic.ASK.values() for form in forms}
        self.assertFalse(forms & set(arithmetic.ASK_DIGITS[split.EVAL]))

    def test_numbers_of_one_to_three_digits(self):
        rng = random.Random(10)
        drawn = [arithmetic.operands(rng, split.TRAIN) for _ in range(3000)]
        sizes = {(sign, len(str(a)), len(str(b))) for a, sign, b in drawn}
        self.assertEqual({size[1:] for size in sizes if size[0] == "+"}, {(a, b) for a in (1, 2, 3) for b in (1, 2, 3)} - {(1, 1)})
        self.assertTrue(all(a >= b for a, sign, b in drawn if sign == "-"))
        drawn = [arithmetic.operands(rng, split.TRAIN, reverse=True) for _ in range(3000)]
        self.assertTrue(all(a <= b for a, _, b in drawn))
        self.assertEqual({sign for _, sign, _ in drawn}, set("+*"))


class FirstMinute(unittest.TestCase):
    def test_the_prompts_of_the_shipping_test_are_not_trained_on(self):
        self.assertGreaterEqual(len(first_minute.RESERVED), 200)
        self.assertEqual(first_minute.bare("Tell me a JOKE!"), first_minute.bare(" tell me a joke"))
        rng, world, hits = random.Random(11), small_world(), 0
        for _ in range(5000):
            topic = rng.choices(list(first_minute.WEIGHTS), first_minute.WEIGHTS.values())[0]
            hits += first_minute.bare(first_minute.draw(rng, split.TRAIN, world, topic)[0]) in first_minute.RESERVED
        # They would be drawn, so that the next lines can fail.
        self.assertGreater(hits, 5)
        for _ in range(5000):
            question, _, answer = first_minute.turn(rng, split.TRAIN, world)
            if answer in (first_minute.BEYOND, first_minute.NO_CODE, *first_minute.JOKES, *first_minute.POEMS):
                self.assertNotIn(first_minute.bare(question), first_minute.RESERVED)

    def test_evaluation_has_its_own_prompts_and_one_answer_to_each(self):
        rng, world = random.Random(12), small_world()
        asked = {side: dict(first_minute.turn(rng, side, world)[::2] for _ in range(1500)) for side in (split.TRAIN, split.EVAL)}
        words = {definitions.UNKNOWN}
        for question, answer in asked[split.EVAL].items():
            self.assertEqual(split.side("first minute", question), split.EVAL)
            self.assertNotIn(answer, first_minute.JOKES + first_minute.POEMS)
            self.assertNotIn(answer, words)
            self.assertNotIn(question, {q for q, a in asked[split.TRAIN].items() if a == answer})

    def test_no_answer_touches_what_it_should_not(self):
        rng, world, touchy = random.Random(13), small_world(), corpora.touchy()
        answers = {first_minute.turn(rng, side, world)[2] for side in (split.TRAIN, split.EVAL) for _ in range(4000)}
        self.assertTrue({first_minute.BEYOND, first_minute.NO_TOOL, first_minute.ENGLISH, definitions.UNKNOWN} <= answers)
        for answer in answers:
            self.assertIsNone(touchy.search(answer), answer)

    def test_requests_without_tools_are_not_calls(self):
        rng, world = random.Random(14), small_world()
        for _ in range(200):
            _, answer = first_minute.draw(rng, split.TRAIN, world, "tools")
            self.assertEqual(answer, first_minute.NO_TOOL)


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

    def test_calls_that_fail_are_answered_as_such(self):
        rng = random.Random(12)
        for _ in range(50):
            messages, _ = tools.make(rng, split.EVAL, None, 0, failing=True)
            problem = json.loads(messages[3]["content"])["error"]
            said = {answer for begin, answer in tools.REFUSED if problem.startswith(begin.split("{")[0])}
            self.assertEqual(said, {messages[4]["content"]})
        trained = [tools.make(rng, split.TRAIN, None, 900)[0] for _ in range(50)]
        results = [json.loads(m["content"]) for messages in trained for m in messages if m["role"] == "tool"]
        self.assertTrue(any("error" in result for result in results) and not all("error" in result for result in results))


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
            self.assertTrue(0 < (weights > chat.GIVEN).mean() < 0.95)
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
    def test_the_words_that_are_taught(self):
        own, words, touchy = corpora.entries("glosses.txt"), corpora.entries("words.txt"), corpora.touchy()
        taught = [line.split("|")[0] for line in own] + words
        self.assertEqual(len(taught), len(set(taught)))
        self.assertGreater(len(taught), 1800)
        for line in own:
            word, kind, gloss = line.split("|")
            self.assertIn(kind, corpora.SHORT.values())
            self.assertLessEqual(len(gloss.split()), 10)
        for line in own + words:
            self.assertIsNone(touchy.search(line), line)

    def test_touchy_words_are_known_in_their_forms(self):
        touchy = corpora.touchy()
        for text in ("about God", "the gods", "killed", "religious people", "an Abuser", "she was raped"):
            self.assertIsNotNone(touchy.search(text), text)
        for text in ("a godwit", "skill", "Sussex", "toward", "a warm day", "dietary"):
            self.assertIsNone(touchy.search(text), text)

    def test_unknown_words_are_no_taught_ones(self):
        rng, world = random.Random(15), small_world()
        for side in (split.TRAIN, split.EVAL):
            words = {definitions.unknown(rng, side, world) for _ in range(500)}
            self.assertTrue(set(corpora.entries("touchy.txt")) & words)
            self.assertFalse({word for word, _, _ in world.definitions} & words)

    def test_first_clause(self):
        self.assertEqual(corpora.short_gloss('a human being; "there was too much for one person"', 10), "a human being")
        self.assertEqual(corpora.short_gloss("(of a thing) very large", 10), "very large")
        self.assertIsNone(corpora.short_gloss("one", 10))
        self.assertIsNone(corpora.short_gloss(" ".join(["long"] * 11), 10))
        self.assertIsNone(corpora.short_gloss("an offensive word for somebody", 10))


if __name__ == "__main__":
    unittest.main()
