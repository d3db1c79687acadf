#!/usr/bin/env python3
"""Trains the model. Started again with the same --state it goes on where it was.

    python train.py --data DIR --state DIR [--preset cpu] [--from FOLDER] [--steps dense=8000,warmup=200,sparse=2500]
                    [--device cpu] [--bf16] [--threads N] [--workers N] [--save-minutes 10] [--stop-after STEPS]

The state folder holds state.pt (model, optimisers, place), and log.jsonl, one line per step. SIGTERM and Ctrl-C save and
stop. More steps may be given when going on: rates stay constant until the last part of the sparse stage.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import sys
import time

import torch
import torch.nn.functional as F

import chat
import data
import export
import optim
import recipe as recipes
from model import Gate, Model, count

FILE, LOG = "state.pt", "log.jsonl"


class Training:
    def __init__(self, recipe, seed, device, feeder, bf16=False):
        self.recipe, self.seed, self.device, self.feeder = recipe, seed, device, feeder
        self.model = Model(recipe.config).initialise(seed).to(device)
        self.bf16 = bf16
        self.optimisers = optim.build(self.model, recipe.rates, bf16)
        self.stage, self.step, self.tokens, self.seconds = "dense", 0, 0, 0.0
        self.gates = [m for m in self.model.modules() if isinstance(m, Gate)]

    # --- state ---

    def save(self, folder):
        state = dict(
            model=self.model.state_dict(), optimisers=[o.state_dict() for o in self.optimisers], stage=self.stage,
            step=self.step, tokens=self.tokens, seconds=self.seconds, seed=self.seed,
            config=dataclasses.asdict(self.recipe.config),
        )  # fmt: skip
        part = folder / (FILE + ".part")
        with open(part, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder / FILE)

    def load(self, folder):
        state = torch.load(folder / FILE, map_location=self.device, weights_only=True)
        if state["config"] != dataclasses.asdict(self.recipe.config) or state["seed"] != self.seed:
            sys.exit(f"{folder / FILE}: saved with another model or seed; choose another --state or the same --preset")
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"]):
            optimiser.load_state_dict(saved)
            # Rates come from the recipe, so that they can be changed between runs.
            for group in optimiser.param_groups:
                group["base"] = self.recipe.rates[group["name"]]
        self.stage, self.step, self.tokens, self.seconds = (state[k] for k in ("stage", "step", "tokens", "seconds"))

    def start_from(self, folder):
        """The weights of a checkpoint as it was shipped; optimisers and place are those of a beginning."""
        self.model.load_state_dict(export.shipped(folder, self.recipe.config))

    def settle(self):
        """Goes to the next stage while this one has no steps left; False at the end."""
        while self.step >= self.recipe.steps[self.stage]:
            following = recipes.STAGES.index(self.stage) + 1
            if following == len(recipes.STAGES):
                return False
            self.stage, self.step = recipes.STAGES[following], 0
        return True

    # --- one step ---

    @torch.no_grad()
    def expected(self, ids, weights):
        """Log probabilities where a batch has weights, of the model as it will be shipped."""
        run = self.model.run(ids[:, :-1], sparse=True)
        with self.model.shipped_weights():
            logits = self.model.lm_head(self.model.trunk(ids[:, :-1], run)[weights[:, 1:] > 0])
        return F.log_softmax(logits.float(), -1)

    def losses(self, ids, weights, run, expected=None):
        """{name: loss}, and the loss of each token that the model is to write, for the log."""
        hidden = self.model.trunk(ids[:, :-1], run)
        wanted = weights[:, 1:] > 0
        logits = self.model.lm_head(hidden[wanted]).float()
        each = F.cross_entropy(logits, ids[:, 1:][wanted], reduction="none")
        weight = weights[:, 1:][wanted]
        losses = dict(lm=(each * weight).sum() / weight.sum())
        if expected is not None:
            far = F.kl_div(F.log_softmax(logits, -1), expected, reduction="none", log_target=True).sum(-1)
            losses["same"] = (far * weight).sum() / weight.sum()
        turn = self.step % self.recipe.mtp_every == 0
        if turn and ids.shape[1] - 1 <= self.recipe.mtp_longest:
            # Row j stands for token j + 2; hidden states are those of tokens 0..T-1 of T + 1.
            drafted = self.model.drafted(ids[:, :-1], hidden, run)
            wanted = weights[:, 2:] > 0
            logits = self.model.lm_head(drafted[wanted]).float()
            mtp = F.cross_entropy(logits, ids[:, 2:][wanted], reduction="none")
            losses["mtp"] = (mtp * weights[:, 2:][wanted]).sum() / weights[:, 2:][wanted].sum()
        return losses, each.detach()[weight > chat.GIVEN]

    def order(self, step):
        """What batch a step of this stage is trained on: arguments of `Maker.batch`."""
        length = self.recipe.length(self.seed, self.stage, step)
        return f"{self.seed} {self.stage}", step, max(self.recipe.tokens_per_step // length, 1), length

    def following(self, number):
        last = min(self.step + number, self.recipe.steps[self.stage] - 1)
        return [self.order(step) for step in range(self.step + 1, last + 1)]

    def one(self):
        """Trains one step; what to log."""
        started, recipe, stage = time.time(), self.recipe, self.stage
        order = self.order(self.step)
        _, _, rows, length = order
        made = self.feeder.get(order, self.following)
        ids, weights, kinds = (torch.from_numpy(x).to(self.device) for x in made)
        optim.set_rate(self.optimisers, recipe.rate(stage, self.step))
        record = self.descend(ids, weights, kinds)
        for gate in self.gates:
            gate.rebalance(recipe.balance if stage != "warmup" else 0.0)
        self.step += 1
        self.tokens += rows * length
        spent = time.time() - started
        self.seconds += spent
        return dict(
            stage=stage, step=self.step, tokens=self.tokens, length=length, tokens_per_second=round(rows * length / spent),
            **record,
        )  # fmt: skip

    def descend(self, ids, weights, kinds):
        stage, recipe = self.stage, self.recipe
        generator = torch.Generator().manual_seed(hash((self.seed, recipes.STAGES.index(stage), self.step)) % 2**31)
        run = self.model.run(
            ids[:, :-1], sparse=stage == "sparse", index_loss=stage != "dense", lost_mass=recipe.lost_weight > 0,
            kl_tokens=recipe.kl_tokens, generator=generator,
        )  # fmt: skip
        bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
        coarse = recipe.coarse(self.step) if recipe.rounded(stage, self.step) else None
        with bf16:
            expected = self.expected(ids, weights) if coarse and recipe.same_weight > 0 else None
        with self.model.shipped_weights(recipe.rounded(stage, self.step), coarse), bf16:
            if stage == "warmup":
                # The draft layer's indexer learns only where that layer runs, so here it runs every time.
                self.freeze(True)
                self.model.drafted(ids[:, :-1], self.model.trunk(ids[:, :-1], run), run)
                losses, each = {}, None
                self.freeze(False)
            else:
                losses, each = self.losses(ids, weights, run, expected)
        if run.kl:
            losses["kl"] = torch.stack(run.kl).sum()
        if run.lost:
            losses["lost"] = torch.stack(run.lost).sum()
        factors = dict(lm=1.0, mtp=recipe.mtp_weight, kl=1.0, lost=recipe.lost_weight, same=recipe.same_weight)
        total = sum(factors[name] * loss for name, loss in losses.items())
        total.backward()
        norm = self.update()
        record = {name: round(loss.item(), 4) for name, loss in losses.items()} | dict(norm=round(norm, 3))
        if run.kl:
            record["kl_layers"] = [round(kl.item(), 4) for kl in run.kl]
        if run.lost:
            record["lost_layers"] = [round(lost.item(), 4) for lost in run.lost]
        if each is not None:
            record["skills"] = by_skill(each, kinds[:, 1:][weights[:, 1:] > chat.GIVEN])
        return record

    def freeze(self, frozen):
        indexers = {id(p) for p in self.model.indexer_parameters()}
        for p in self.model.parameters():
            p.requires_grad_(not frozen or id(p) in indexers)

    def update(self):
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip))
        if norm == norm:
            for optimiser in self.optimisers:
                optimiser.step()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        return norm


def by_skill(each, kinds):
    count = torch.bincount(kinds, minlength=len(data.NAMES))
    total = torch.bincount(kinds, each, minlength=len(data.NAMES))
    return {name: round(float(t / n), 3) for name, t, n in zip(data.NAMES, total, count) if n}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder that prepare.py filled")
    parser.add_argument("--state", type=pathlib.Path, required=True, help="folder of state and log")
    parser.add_argument("--preset", choices=recipes.PRESETS, default="cpu")
    parser.add_argument("--from", dest="start", type=pathlib.Path, help="a shipped checkpoint to begin with, as models/builtin/fp8")
    parser.add_argument("--steps", default="", help="stage=N,...: other numbers of steps")
    parser.add_argument("--tokens-per-step", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--bf16", action="store_true", help="as on a GPU, on a processor with AMX; others gain nothing from it")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0: its own choice")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches ahead; a GPU wants some ten")
    parser.add_argument("--save-minutes", type=float, default=10)
    parser.add_argument("--stop-after", type=int, help="save and stop after this many steps")
    return parser.parse_args()


def chosen(args):
    recipe = recipes.PRESETS[args.preset]
    steps = dict(recipe.steps)
    for entry in filter(None, args.steps.split(",")):
        stage, number = entry.split("=")
        if stage not in steps:
            sys.exit(f"--steps: no stage {stage!r}; there are {', '.join(steps)}")
        steps[stage] = int(number)
    return dataclasses.replace(recipe, steps=steps, tokens_per_step=args.tokens_per_step or recipe.tokens_per_step)


def trim(log, training):
    """Drops log lines that lie beyond the saved state."""
    if log.exists():
        lines = [line for line in log.read_text().splitlines() if line and json.loads(line)["tokens"] <= training.tokens]
        log.write_text("".join(line + "\n" for line in lines))


def main():
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    args.state.mkdir(parents=True, exist_ok=True)
    feeder = data.Feeder(args.data, args.workers)
    training = Training(chosen(args), args.seed, torch.device(args.device), feeder, args.bf16 or args.device == "cuda")
    if (args.state / FILE).exists():
        training.load(args.state)
    elif args.start:
        training.start_from(args.start)
    trim(args.state / LOG, training)
    whole, main_model = count(training.model)
    print(f"{whole:,} parameters, {main_model:,} without the MTP layer; {training.stage} step {training.step}", flush=True)
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(1))
    saved, done = time.time(), 0
    with open(args.state / LOG, "a") as log:
        while training.settle() and not stop and done != args.stop_after:
            record = training.one()
            done += 1
            log.write(json.dumps(record) + "\n")
            log.flush()
            if training.step % 20 == 0:
                print(json.dumps(record), flush=True)
            if time.time() - saved > 60 * args.save_minutes:
                training.save(args.state)
                saved = time.time()
    training.save(args.state)
    feeder.close()
    print(f"saved at {training.stage} step {training.step}, {training.tokens:,} tokens", flush=True)


if __name__ == "__main__":
    main()
