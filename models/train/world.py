"""What the generators read: prepared once from the corpora, kept as one JSON file outside the tree."""

import json
import pathlib
import re

import corpora
import split

FILE = "world.json"


class World:
    """definitions [(word, kind, gloss)]; words that are not explained; paragraphs and sentences of the addresses per side;
    WordNet's examples."""

    def __init__(self, data):
        self.definitions = [tuple(entry) for entry in data["definitions"]]
        self.untaught = {side: [[w for w in words if split.side("unknown", w) == side] for words in data["untaught"]]
                         for side in (split.TRAIN, split.EVAL)}  # fmt: skip
        # None of these may ever be explained, so training has them all.
        self.touchy = dict.fromkeys((split.TRAIN, split.EVAL), corpora.entries("touchy.txt"))
        self.paragraphs, self.examples = data["paragraphs"], data["examples"]
        self.sentences = {side: sentences(paragraphs) for side, paragraphs in self.paragraphs.items()}
        # Addresses quote older ones: what training has seen is no evaluation.
        known = set(self.sentences[split.TRAIN])
        self.sentences[split.EVAL] = [s for s in self.sentences[split.EVAL] if s not in known]

    @staticmethod
    def load(folder):
        path = pathlib.Path(folder) / FILE
        if not path.exists():
            raise SystemExit(f"{path} is not there: run prepare.py first")
        return World(json.loads(path.read_text(encoding="utf-8")))


def sentences(paragraphs):
    """Sentences of middling length: fillers must not be a single page, nor facts of their own."""
    out = []
    for paragraph in paragraphs:
        for sentence in re.split(r"(?<=[.?!])\s+", paragraph.replace("\n", " ")):
            if 30 <= len(sentence) <= 240:
                out.append(sentence)
    return out


def build(wordnet_folder, most_words):
    addresses = corpora.sotu_addresses()
    paragraphs = {split.TRAIN: [], split.EVAL: []}
    for year, text in addresses:
        side = split.EVAL if corpora.held_out(year) else split.TRAIN
        paragraphs[side] += [p for p in text.split("\n\n") if len(p) > 40]
    # A paragraph that occurs in both (quoted or repeated) is training's.
    known = set(paragraphs[split.TRAIN])
    paragraphs[split.EVAL] = [p for p in paragraphs[split.EVAL] if p not in known]
    wordnet = corpora.WordNet(wordnet_folder)
    definitions = corpora.taught_definitions(wordnet, most_words)
    untaught = corpora.untaught(wordnet, {word for word, _, _ in definitions})
    return dict(definitions=definitions, untaught=untaught, paragraphs=paragraphs, examples=wordnet.examples())
