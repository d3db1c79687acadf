"""The tokenizer, and its training: byte-level BPE with V3.2's expressions, V3.2's control tokens above it."""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / "tokenizer"
# The three expressions and the file's outer form are those of the test checkpoints.
sys.path.insert(0, str(HERE.parents[1] / "tests" / "reference"))

LEADING = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
# (text, special) in V3.2's order; only some carry the flag there.
ADDED = [
    ("｜DSML｜", True), ("<dsml:", False), ("</dsml:", False), ("<｜search▁begin｜>", False), ("<｜search▁end｜>", False),
    ("<think>", False), ("</think>", False), ("<｜fim▁hole｜>", False), ("<｜fim▁begin｜>", False),
    ("<｜fim▁end｜>", False), ("<｜User｜>", False), ("<｜Assistant｜>", False), ("<|EOT|>", True),
    ("<｜tool▁calls▁begin｜>", False), ("<｜tool▁calls▁end｜>", False), ("<｜tool▁call▁begin｜>", False),
    ("<｜tool▁call▁end｜>", False), ("<｜tool▁outputs▁begin｜>", False), ("<｜tool▁outputs▁end｜>", False),
    ("<｜tool▁output▁begin｜>", False), ("<｜tool▁output▁end｜>", False), ("<｜tool▁sep｜>", False),
]  # fmt: skip
BOS, EOS = 0, 1


def load():
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def train(texts, vocab_size):
    """Writes tokenizer.json and tokenizer_config.json for a vocabulary of exactly `vocab_size`."""
    import tiny_tokenizer
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(regex), "isolated") for regex in tiny_tokenizer.SPLITS]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    count = vocab_size - len(LEADING) - 256 - len(ADDED)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + count, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    # Digits stay single, so that numbers are read and written digit by digit.
    bpe.train_from_iterator((re.sub(r"(?<=\d)(?=\d)", " ", text) for text in texts), trainer)
    learned = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    if len(learned) != count:
        raise SystemExit(f"{len(learned)} merges found in the texts, {count} wanted")
    merges = [" ".join(pair) for pair in learned]
    save("tokenizer.json", tiny_tokenizer.tokenizer_json(LEADING, merges, ADDED))
    save("tokenizer_config.json", tiny_tokenizer.tokenizer_config_json())


def save(name, value):
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
