#!/usr/bin/env python3
"""Measures the built-in model with Fathom itself: the tables of its model card.

    python tables.py --data DIR [--fathom PROGRAM] [--checkpoint FOLDER] [-o FOLDER] [--quick]

Needs numpy, what prepare.py made in DIR, and the program; no PyTorch and no training state. Writes tables.md and
tables.json. Some ten minutes on two idle cores; --quick takes a tenth of the problems.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import sys
import tempfile

import numpy as np

import chat
import problems
import tokens
from fathom import Fathom
from world import World

sys.path.insert(0, str(tokens.HERE.parents[1] / "tests" / "reference"))
import check  # noqa: E402

ROOT = tokens.HERE.parents[1]
SHIPPED = "q8_0"
LENGTHS = (512, 1024, 2048, 4096, 8192)
# Longer than every right answer with its reasoning.
MOST = 256
# Latent rows and index keys: what `fathom run` uses unless told otherwise, and exact. (Rows of 272 values have no Q8_0.)
USUAL = ["--cache-type", "bf16", "--index-cache", "q8"]
EXACT = ["--cache-type", "f32", "--index-cache", "f32"]


class Bench:
    """The shipped file, the exact one, and held-out problems."""

    def __init__(self, args, scratch):
        self.fathom, self.checkpoint, self.seed = Fathom(args.fathom, scratch), args.checkpoint, args.seed
        self.world, self.quick = World.load(args.data), args.quick
        self.exact = self.fathom.quantize(args.checkpoint, "f32")
        self.shipped = self.fathom.quantize(args.checkpoint, SHIPPED)
        self.pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def count(self, usual):
        return max(usual // 10, 4) if self.quick else usual


# --- skills ---


def turns(messages, thinking):
    """(prompt, right answer) for each message of the assistant."""
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            right = message.get("content", "") + (chat.calls_text(message["calls"]) if message.get("calls") else "")
            yield chat.plain(chat.render(messages[:place], thinking)), right


def final(skill, text, thinking):
    """What counts of an answer: all behind the think block; of sums worked out in the open, the last sentence."""
    text = text.split(chat.END_THINK, 1)[-1] if thinking else text
    return text.rsplit(". ", 1)[-1] if skill in ("arithmetic", "smaller first") else text


def solved(bench, skill, messages, thinking, *flags):
    """(whether every answer is right, the generated texts with their prompts)"""
    good, written = True, []
    for prompt, right in turns(messages, thinking):
        answer = bench.fathom.answer(bench.shipped, prompt, MOST, *flags)
        good &= final(skill, answer["text"], thinking) == final(skill, right, False)
        written.append((prompt, answer["text"] + (chat.EOS if answer["stop_reason"] == "eos" else "")))
    return good, written


def skills(bench):
    """{skill: {"plain": [right, all], "think": [right, all]}}, and the texts that were written for it."""
    table, texts = {}, []
    for skill in problems.SKILLS:
        asked = problems.of_skill(skill, bench.world, bench.count(200), bench.seed)
        done = list(bench.pool.map(lambda p: solved(bench, skill, *p), asked))
        table[skill] = {}
        for name, mode in (("plain", False), ("think", True)):
            goods = [good for (good, _), (_, thinking) in zip(done, asked) if thinking == mode]
            table[skill][name] = [sum(goods), len(goods)]
        texts += [(skill, *written[-1]) for _, written in done]
        tell(skill, table[skill])
    return table, texts


def needles(bench):
    """{length: {"tokens": mean, and [right, all] for "sparse", "exact" (sparse, f32 caches) and "dense"}}"""
    table = {}
    for length in LENGTHS:
        asked = problems.needles(bench.world, length, bench.count(100), bench.seed)
        table[length] = {}
        for kind, flags in dict(sparse=USUAL, exact=EXACT, dense=["--dense"]).items():
            done = list(bench.pool.map(lambda p: solved(bench, "needle", *p, *flags), asked))
            table[length][kind] = [sum(good for good, _ in done), len(done)]
        sizes = [len(bench.fathom.ids(bench.shipped, written[0][0])) for _, written in done]
        table[length]["tokens"] = round(sum(sizes) / len(sizes))
        tell(f"needle {length}", table[length])
    return table


# --- caches and types ---


def caches(bench):
    """{caches: {"ppl", "kl", "same_top"}} on held-out prose in contexts of 8192 tokens, against exact caches."""
    context = 512 if bench.quick else 8192
    prose, base = bench.fathom.fresh("txt"), bench.fathom.fresh("base")
    prose.write_text(problems.held_out_prose(bench.world, int(2.3 * context), f"long {bench.seed}"), encoding="utf-8")
    ask = lambda *flags: bench.fathom.perplexity(bench.shipped, "-f", prose, "-c", context, *flags)
    exact, table = ask(*EXACT, "--save-base", base), {}
    for name, flags in (("bf16, q8", USUAL), ("f32, all keys (--dense)", [*EXACT, "--dense"])):
        found = ask(*flags, "--kl-base", base)
        table[name] = {key: found[long]["value"] for key, long in (("ppl", "ppl"), ("kl", "kl_divergence"), ("same_top", "same_top"))}
        tell(f"caches {name}", table[name])
    return {"f32, f32": dict(ppl=exact["ppl"]["value"], kl=0.0, same_top=1.0)} | table


def answer_rows(bench):
    """[(ids, rows)]: held-out conversations one after another, some 2000 tokens a list, and the rows whose next token is
    the assistant's to write."""
    groups = [([], [])]
    for skill in problems.SKILLS:
        for messages, thinking in problems.of_skill(skill, bench.world, bench.count(60), f"text {bench.seed}"):
            segments = chat.render(messages, thinking)
            prompt, whole = (bench.fathom.ids(bench.exact, chat.plain(s)) for s in (segments[:-1], segments))
            if len(groups[-1][0]) > 2000:
                groups.append(([], []))
            ids, rows = groups[-1]
            rows += range(len(ids) + len(prompt) - 1, len(ids) + len(whole) - 1)
            ids += whole
    return groups


def on_answers(bench, file, groups):
    """Log probabilities [rows, vocabulary] of one file, and those of the right tokens."""
    found, right = [], []
    for ids, rows in groups:
        logits = bench.fathom.logits(file, ids)[rows].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        found.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
        right.append(found[-1][np.arange(len(rows)), np.array(ids)[np.array(rows) + 1]])
    return np.concatenate(found), np.concatenate(right)


def type_names(bench):
    """Every name that `fathom quantize --type` knows, the exact one first."""
    text = " ".join(bench.fathom.call("quantize", "--help").decode().split())
    names = re.search(r"\[possible values: ([^\]]*)\]", text)[1].split(", ")
    return ["f32", *(name for name in names if name != "f32")]


def types(bench):
    """{type: {"bytes", "answers": {"ppl", "kl", "same_top"}, "prose": the same}}, all against the F32 file.

    Answers through the logits of `fathom logits`, prose by `fathom perplexity`, which keeps the 512 likeliest tokens.
    """
    prose, base = bench.fathom.fresh("txt"), bench.fathom.fresh("base")
    prose.write_text(problems.held_out_prose(bench.world, bench.count(8000), bench.seed), encoding="utf-8")
    groups, table = answer_rows(bench), {}
    exact, _ = on_answers(bench, bench.exact, groups)
    bench.fathom.perplexity(bench.exact, "-f", prose, "--save-base", base)
    for kind in type_names(bench):
        file = bench.fathom.quantize(bench.checkpoint, kind)
        ours, right = on_answers(bench, file, groups)
        kl, same = (np.exp(exact) * (exact - ours)).sum(-1).mean(), (exact.argmax(-1) == ours.argmax(-1)).mean()
        answers = dict(ppl=float(np.exp(-right.mean())), kl=float(kl), same_top=float(same), tokens=len(right))
        found = bench.fathom.perplexity(file, "--kl-base", base)
        on_prose = {name: found[key]["value"] for name, key in (("ppl", "ppl"), ("kl", "kl_divergence"), ("same_top", "same_top"))}
        on_prose["tokens"] = found["scored_tokens"]
        table[kind] = dict(bytes=file.stat().st_size, answers=answers, prose=on_prose)
        tell(kind, table[kind])
    return table


# --- the indexer and the MTP layer ---


def recall(bench):
    """{layer: {"chosen": mean share of the attention's mass on the chosen keys, "best": on the best that many}}, over heads and
    over the tokens that see more keys than are chosen.

    From the independent implementation in tests/reference/check.py on the checkpoint, in f64: attention over all earlier
    keys is computed beside what the sparse model does.
    """
    model = check.Model(*check.load(bench.checkpoint))
    shares = [dict(chosen=[], best=[]) for _ in range(model.layers)]
    for prompt in problems.needles(bench.world, 1000, 2 if bench.quick else 6, f"recall {bench.seed}"):
        ids = bench.fathom.ids(bench.exact, chat.plain(chat.render(*prompt)))
        model.prefill(np.array(ids))
        for layer in range(model.layers):
            seen = lambda name: model.seen[f"layers.{layer}.{name}"]
            k_nope = np.einsum("hdc,jc->jhd", model.split_kv_b(layer)[0], seen("c"))
            scores = np.einsum("thd,jhd->htj", seen("q_nope"), k_nope) + np.einsum("thd,jd->htj", seen("q_pe"), seen("kr"))
            mass = check.softmax(np.where(np.tri(len(ids), dtype=bool), model.sigma * scores, -np.inf))
            shares[layer]["chosen"].append((mass * seen("selected")).sum(-1).mean(0)[model.top_k :])
            shares[layer]["best"].append(np.sort(mass.mean(0)[model.top_k :], -1)[:, -model.top_k :].sum(-1))
    return {layer: {what: float(np.concatenate(rows).mean()) for what, rows in found.items()} for layer, found in enumerate(shares)}


def drafts(bench, texts):
    """{skill: [accepted, drafted]}: how often the draft for the token after the next is what the model then chooses.

    Counted over the greedy answers: row j of the MTP layer knows the model's token j + 1, as in speculation.
    """
    table, each = {}, bench.count(40)
    for skill in problems.SKILLS:
        chosen = [text for text in texts if text[0] == skill][:each]
        table[skill] = [0, 0]
        for _, prompt, answer in chosen:
            first = len(bench.fathom.ids(bench.shipped, prompt))
            ids = bench.fathom.ids(bench.shipped, prompt + answer)
            if len(ids) < first + 2:
                continue
            main, mtp = (bench.fathom.logits(bench.shipped, ids, *flags).argmax(-1) for flags in ([], ["--mtp"]))
            agree = mtp[first - 1 : len(ids) - 2] == main[first : len(ids) - 1]
            table[skill] = [table[skill][0] + int(agree.sum()), table[skill][1] + len(agree)]
        tell(f"drafts {skill}", table[skill])
    return table


# --- what comes out ---


def training(log):
    """Steps and tokens of the log that was committed with the model; None without one."""
    if not log.exists():
        return None
    records = [json.loads(line) for line in log.read_text().splitlines()]
    steps = {}
    for record in records:
        steps[record["stage"]] = steps.get(record["stage"], 0) + 1
    # What a step took is its tokens by their rate.
    starts = [0] + [record["tokens"] for record in records]
    seconds = sum((r["tokens"] - start) / r["tokens_per_second"] for start, r in zip(starts, records))
    return dict(steps=steps, tokens=records[-1]["tokens"], hours=seconds / 3600)


def tell(what, found):
    print(f"{what}: {json.dumps(found)}", flush=True)


def share(pair):
    right, count = pair
    return f"{100 * right / count:.1f} %" if count else "-"


def markdown(found):
    table, skill = found["skills"], next(iter(found["skills"].values()))
    lines = []
    if found["training"]:
        steps = ", ".join(f"{count} {stage}" for stage, count in found["training"]["steps"].items())
        lines += [f"Training: {steps} steps, {found['training']['tokens'] / 1e6:.1f} million tokens, "
                  f"{found['training']['hours']:.1f} hours.", ""]  # fmt: skip
    lines += [
        f"Greedy answers of the shipped file ({SHIPPED.upper()}), exactly right; {skill['plain'][1]} and {skill['think'][1]} "
        "held-out problems a line.", "",
        "| skill | without `<think>` | with `<think>` | second token of the MTP layer accepted |", "| --- | ---: | ---: | ---: |",
    ]  # fmt: skip
    for name, row in table.items():
        lines.append(f"| {name} | {share(row['plain'])} | {share(row['think'])} | {share(found['drafts'][name])} |")
    lines += ["", "One fact in held-out prose, asked for at the end; the fact at every depth.", "",
              "| prompt tokens | texts | 64 keys of the indexer | the same, f32 caches | `--dense` |",
              "| ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for row in found["needle"].values():
        lines.append(f"| {row['tokens']} | {row['sparse'][1]} | {share(row['sparse'])} | {share(row['exact'])} | {share(row['dense'])} |")
    lines += ["", "Held-out prose in contexts of 8192 tokens, latent rows and index keys cached as named; KL in nats, against f32.", "",
              "| caches | perplexity | KL | same best token |", "| --- | ---: | ---: | ---: |"]  # fmt: skip
    for name, row in found["caches"].items():
        lines.append(f"| {name} | {row['ppl']:.3f} | {row['kl']:.6f} | {100 * row['same_top']:.2f} % |")
    lines += ["", "Share of the attention's mass on the 64 chosen keys, mean over heads and over the tokens that see more; and on "
              "the 64 that hold most of it.", "", "| layer | chosen | best possible |", "| ---: | ---: | ---: |"]  # fmt: skip
    lines += [f"| {layer} | {100 * row['chosen']:.1f} % | {100 * row['best']:.1f} % |" for layer, row in found["recall"].items()]
    exact = found["types"]["f32"]
    lines += ["", f"Against the F32 file: on {exact['answers']['tokens']} tokens of right answers, and on {exact['prose']['tokens']} of "
              "held-out prose. KL in nats.", "",
              "| type | MB | answers: perplexity | KL | same best token | prose: perplexity | KL | same best token |",
              "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for kind, row in found["types"].items():
        cells = [f"{f['ppl']:.3f} | {f['kl']:.5f} | {100 * f['same_top']:.2f} %" for f in (row["answers"], row["prose"])]
        lines.append(f"| {kind} | {row['bytes'] / 1e6:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder that prepare.py filled")
    parser.add_argument("--fathom", type=pathlib.Path, default=ROOT / "target/release/fathom")
    parser.add_argument("--checkpoint", type=pathlib.Path, default=ROOT / "models/builtin/fp8")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "models/builtin", help="folder for the tables")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the problems")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, scratch)
        found, texts = {}, []
        found["skills"], texts = skills(bench)
        found["drafts"] = drafts(bench, texts)
        found["needle"] = needles(bench)
        found["caches"] = caches(bench)
        found["recall"] = recall(bench)
        found["types"] = types(bench)
    found["training"] = training(args.checkpoint.parent / "log.jsonl")
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "tables.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / "tables.md").write_text(markdown(found))


if __name__ == "__main__":
    main()
