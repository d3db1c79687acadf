"""The program, asked from Python."""

import json
import pathlib
import subprocess

import numpy as np


class Fathom:
    def __init__(self, program, scratch):
        self.program, self.scratch, self.made = str(program), pathlib.Path(scratch), 0

    def call(self, *arguments, text=None):
        """What it writes to stdout; `text` becomes a file, whose path goes in the place of the argument TEXT."""
        if text is not None:
            arguments = [self.file("txt", text) if argument is TEXT else argument for argument in arguments]
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def fresh(self, ending):
        self.made += 1
        return self.scratch / f"{self.made}.{ending}"

    def file(self, ending, text):
        path = self.fresh(ending)
        # The last line end of a prompt file does not count.
        path.write_text(text + "\n", encoding="utf-8")
        return path

    def quantize(self, checkpoint, kind):
        path = self.scratch / f"{kind}.gguf"
        self.call("quantize", checkpoint, "--type", kind, "-o", path, "--force")
        return path

    def answer(self, model, prompt, most, *flags):
        """Greedy continuation of a prompt with control tokens: the object of `fathom run --json`."""
        out = self.call(
            "run", model, "--raw", "--special", "-f", TEXT, "--temp", 0, "-n", most, "-t", 1, "--json", "--no-cache", *flags, text=prompt
        )  # fmt: skip
        return json.loads(out)

    def ids(self, model, text):
        path = self.fresh("txt")
        path.write_text(text, encoding="utf-8")
        return [int(word) for word in self.call("tokenize", model, "--special", "-f", path).split()]

    def logits(self, model, ids, *flags):
        """[tokens, vocabulary]; of the MTP layer with "--mtp", one row less."""
        path = self.fresh("f32")
        self.call("logits", model, "--tokens-file", TEXT, "-o", path, *flags, text=" ".join(map(str, ids)))
        rows = np.fromfile(path, np.float32).reshape(len(ids) - ("--mtp" in flags), -1)
        path.unlink()
        return rows

    def perplexity(self, model, *flags):
        return json.loads(self.call("perplexity", model, "--json", *flags))


TEXT = object()
