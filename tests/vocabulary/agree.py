"""Does `fathom tokenize` give the ids of Hugging Face's tokenizers? Usage: agree.py FATHOM. See README.md."""

import gzip
import hashlib
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).parent
SHA256 = "cd050be35cae"
VOCAB_SIZE = 129_280


def string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def model_file(published):
    """A GGUF file with the tokenizer and nothing else, written without any of Fathom's code."""
    texts = {number: text for text, number in published["model"]["vocab"].items()}
    kinds = dict.fromkeys(texts, 1)
    for token in published["added_tokens"]:
        texts[token["id"]] = token["content"]
        control = token["special"] or (token["content"].startswith("<｜") and token["content"].endswith("｜>"))
        kinds[token["id"]] = 3 if control else 4
    tokens = [texts.get(number, f"[PAD{number}]") for number in range(VOCAB_SIZE)]
    kinds = [kinds.get(number, 5) for number in range(VOCAB_SIZE)]
    entries = [
        ("general.architecture", 8, string("deepseek32")),
        ("tokenizer.ggml.model", 8, string("gpt2")),
        ("tokenizer.ggml.pre", 8, string("deepseek-v3")),
        ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, len(tokens)) + b"".join(map(string, tokens))),
        ("tokenizer.ggml.token_type", 9, struct.pack(f"<IQ{len(kinds)}i", 5, len(kinds), *kinds)),
        ("tokenizer.ggml.merges", 9, struct.pack("<IQ", 8, len(published["model"]["merges"]))
         + b"".join(map(string, published["model"]["merges"]))),
        ("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 0)),
        ("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 1)),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries))
    body = head + b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in entries)
    return body + bytes(-len(body) % 32)


def files(folder, *patterns):
    """What can be read of a folder's files; text cut within characters comes out with replacement characters."""
    for pattern in patterns:
        # What was built or unpacked for building may be gigabytes.
        of_ours = (path for path in pathlib.Path(folder).rglob(pattern) if "target" not in path.relative_to(folder).parts)
        for path in sorted(of_ours):
            yield path.read_bytes().decode("utf-8", errors="replace")


def corpus(published):
    standard = pathlib.Path(json.__file__).parent.parent
    yield "library code", "".join(files(standard / "asyncio", "*.py"))
    yield "library prose and data", "".join(files(standard / "test", "cjkencodings/*utf*", "*.txt"))
    yield "this repository", "".join(files(HERE.parent.parent, "src/**/*.rs", "tests/**/*.py", "*.md", "*.json"))
    every = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(every), 100_000):
        part = every[start:start + 100_000]
        yield f"characters from U+{ord(part[0]):04X}", "".join(f"{c}a {c}{c} 1{c}\n" for c in part)
    chance = random.Random(1)
    decoder = {stand_in: byte for byte, stand_in in byte_alphabet().items()}
    tokens = [bytes(decoder[c] for c in text) for text in published["model"]["vocab"] if all(c in decoder for c in text)]
    specials = [token["content"].encode() for token in published["added_tokens"]]
    for number in range(20):
        parts = []
        for _ in range(40_000):
            token = chance.choice(tokens)
            choice = chance.random()
            if choice < 0.02:
                token = token[:chance.randrange(len(token) + 1)]
            elif choice < 0.04:
                token = bytes([chance.randrange(256)])
            elif choice < 0.05:
                token = chance.choice([b" ", b"\n", b"\t", b"\r\n", b"\xc2\x85", b"\xe3\x80\x80"]) * chance.randrange(9)
            elif choice < 0.06:
                token = chance.choice(specials)[:chance.randrange(30)]
            elif choice < 0.065:
                token = chr(chance.randrange(0x1F300, 0x1FAFF)).encode() + b"\xe2\x80\x8d"
            parts.append(token)
        yield f"mixed {number}", b"".join(parts).decode("utf-8", errors="replace")


def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def main():
    raw = gzip.decompress((HERE / "deepseek-v3.2/tokenizer.json.gz").read_bytes())
    assert hashlib.sha256(raw).hexdigest().startswith(SHA256), "another tokenizer.json"
    published = json.loads(raw)
    with_special = Tokenizer.from_str(raw.decode())
    without = Tokenizer.from_str(json.dumps({**published, "added_tokens": []}))
    total, bad = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        model, file = pathlib.Path(folder, "model.gguf"), pathlib.Path(folder, "text")
        model.write_bytes(model_file(published))
        for name, text in corpus(published):
            file.write_bytes(text.encode())
            for library, flags in ((with_special, ["--special"]), (without, [])):
                expected = library.encode(text, add_special_tokens=False).ids
                printed = subprocess.run([sys.argv[1], "tokenize", model, "-f", file, *flags], check=True, capture_output=True)
                found = [int(word) for word in printed.stdout.split()]
                if found != expected:
                    places = (i for i, pair in enumerate(zip(found, expected)) if pair[0] != pair[1])
                    place = next(places, min(len(found), len(expected)))
                    around = slice(max(place - 2, 0), place + 4)
                    print(f"{name} {flags}: token {place}: {found[around]} for {expected[around]}",
                          repr(library.decode(expected[around], skip_special_tokens=False)))
                    bad += 1
            ids = pathlib.Path(folder, "ids")
            ids.write_bytes(printed.stdout)
            back = subprocess.run([sys.argv[1], "detokenize", model, "-f", ids], check=True, capture_output=True)
            assert back.stdout == text.encode(), f"{name}: the text does not come back"
            total += len(text.encode())
    print(f"{total} bytes, {bad} differences")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
