"""A tokenizer.json in the published form, shrunk: 3 leading specials, 256 bytes, a few merges, added tokens."""

import json

MERGES = (
    "Ġ t|Ġ a|h e|i n|r e|o n|Ġt he|e r|Ġ s|a t|Ġ w|Ġ o|e n|n d|i t|o r|e s|Ġa nd|in g|l l|o u|i s|Ġ Ġ|e d|"
    "H e|l o|He ll|Hell o|Ġw or|Ġwor l|Ġworl d|Ċ Ċ|1 2|Ã ©|ä ½|ä½ ł"
).split("|")

SPLITS = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    # As published: the quotation mark bare, carriage return and line feed as characters.
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"
    "\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]

LEADING = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
# (content, special): as in the published file only some added tokens carry the flag.
ADDED = [
    ("<｜place▁holder▁no▁0｜>", True), ("｜DSML｜", True), ("<dsml:", False), ("</dsml:", False),
    ("<think>", False), ("</think>", False), ("<｜fim▁hole｜>", False), ("<｜fim▁begin｜>", False),
    ("<｜fim▁end｜>", False), ("<｜User｜>", False), ("<｜Assistant｜>", False), ("<|EOT|>", True),
    ("<｜tool▁calls▁begin｜>", False), ("<｜tool▁calls▁end｜>", False),
]

TEXTS = [
    "Hello, world!", "the end and the other", "12345678", "你好，世界 123", "  two  spaces\n\nand\ttabs ", "don't can't",
    "\r\n\r\n x", "3.14159 + x_1", "café 👍🏽", '<｜DSML｜invoke name="x">',
    "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜></think>", "",
]


def byte_characters():
    """The printable stand-in of every byte, in the order of their ids."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def tokenizer_json(leading=LEADING, merges=MERGES, added_tokens=ADDED):
    words = leading + byte_characters() + [merge.replace(" ", "") for merge in merges]
    vocab = {word: number for number, word in enumerate(words)}
    assert len(vocab) == len(words)

    def added(number, content, special):
        return dict(
            id=number, content=content, single_word=False, lstrip=False, rstrip=False, normalized=not special,
            special=special,
        )

    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)
    return dict(
        version="1.0",
        truncation=None,
        padding=None,
        added_tokens=[added(i, content, True) for i, content in enumerate(leading)]
        + [added(len(vocab) + i, content, special) for i, (content, special) in enumerate(added_tokens)],
        normalizer=dict(type="Sequence", normalizers=[]),
        pre_tokenizer=dict(
            type="Sequence",
            pretokenizers=[
                dict(type="Split", pattern=dict(Regex=regex), behavior="Isolated", invert=False) for regex in SPLITS
            ]
            + [byte_level],
        ),
        post_processor=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=False, use_regex=True),
        decoder=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
        model=dict(
            type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
            fuse_unk=False, byte_fallback=False, vocab=vocab, merges=merges,
        ),
    )


def tokenizer_config_json():
    def token(content):
        return dict(
            __type="AddedToken", content=content, lstrip=False, normalized=True, rstrip=False, single_word=False
        )

    return dict(
        add_bos_token=False, add_eos_token=False, bos_token=token(LEADING[0]), clean_up_tokenization_spaces=False,
        eos_token=token(LEADING[1]), legacy=True, model_max_length=131072, pad_token=token(LEADING[1]),
        sp_model_kwargs={}, unk_token=None, tokenizer_class="LlamaTokenizerFast",
    )


def save(folder):
    for name, value in (("tokenizer.json", tokenizer_json()), ("tokenizer_config.json", tokenizer_config_json())):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write(folder, vocab_size):
    from tokenizers import Tokenizer

    save(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.get_vocab_size() <= vocab_size
    vectors = [dict(text=text, ids=tokenizer.encode(text, add_special_tokens=False).ids) for text in TEXTS]
    for vector in vectors:
        assert tokenizer.decode(vector["ids"], skip_special_tokens=False) == vector["text"], vector
    (folder / "tokenizer_vectors.json").write_text(
        "[\n" + ",\n".join(" " + json.dumps(v, ensure_ascii=False) for v in vectors) + "\n]\n", encoding="utf-8"
    )
