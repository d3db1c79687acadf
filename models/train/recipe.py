"""How long, how large, how fast: everything about a training that is not the model or the data."""

import dataclasses
import random

from config import TINY, Config
from rounding import SMALL

STAGES = ("dense", "warmup", "sparse")


@dataclasses.dataclass(frozen=True)
class Recipe:
    config: Config
    # Steps per stage. In `dense` all is attention and language; in `warmup` only the indexer moves, towards the
    # attention of a frozen model; in `sparse` selection is on, and the indexer follows the attention on what it chose.
    steps: dict
    tokens_per_step: int
    # (up to this share of the dense stage, {length: weight}); the sparse stage goes on with the last.
    lengths: tuple
    rates: dict
    # Of the warmup, where they differ: what is not chosen counts there, and in short rows all is chosen.
    warmup_lengths: dict | None = None
    # The rate rises over this many first steps of the first stage that has any, and of the first that trains more than indexers;
    # it stays, and falls to zero over the last `cooldown` of the sparse stage.
    rise: int = 30
    cooldown: int = 1300
    mtp_every: int = 8
    mtp_weight: float = 0.3
    # Beyond this length the draft layer rests: its attention costs as much as the trunk's.
    mtp_longest: int = 2048
    balance: float = 0.001
    kl_tokens: int = 512
    clip: float = 1.0
    # Every so many steps with rounded weights they are seen still coarser; 0: never.
    coarse_every: int = 0
    # Of the KL divergence of the model in those steps from itself as it will be shipped.
    same_weight: float = 0.0
    # Of the attention's mass on keys that are not chosen, in the sparse stage.
    lost_weight: float = 0.0

    def length(self, seed, stage, step):
        """Sequence length of a step."""
        share = step / max(self.steps["dense"], 1) if stage == "dense" else 1.0
        weights = next(w for until, w in self.lengths if share < until or until >= 1.0)
        if stage == "warmup" and self.warmup_lengths:
            weights = self.warmup_lengths
        rng = random.Random(f"length {seed} {stage} {step}")
        return rng.choices(list(weights), list(weights.values()))[0]

    def rate(self, stage, step):
        """Factor on every learning rate."""
        first = [next((name for name in names if self.steps[name]), None) for names in (STAGES, ("dense", "sparse"))]
        rise = min(1.0, (step + 1) / self.rise) if stage in first else 1.0
        return min(rise, (self.steps[stage] - step) / max(self.cooldown, 1)) if stage == "sparse" else rise

    def rounded(self, stage, step):
        """Whether weights are seen as they will be shipped."""
        return stage == "sparse" and (self.steps[stage] - step < self.cooldown or not self.steps["dense"])

    def coarse(self, step):
        """The bits in which a step sees the weights, by turns; None: as they will be shipped. Never where the MTP layer is trained."""
        is_turn = bool(self.coarse_every) and step % self.coarse_every == self.coarse_every // 2
        return SMALL[step // self.coarse_every % len(SMALL)] if is_turn and step % self.mtp_every != 0 else None


RATES = dict(matrices=0.02, embedding=0.004, rest=0.002, indexer=0.001)
LENGTHS = (
    (0.4, {256: 1}),
    (0.7, {256: 0.6, 1024: 0.3, 2048: 0.1}),
    (1.0, {256: 0.3, 1024: 0.5, 2048: 0.12, 4096: 0.06, 8192: 0.02}),
)
PRESETS = {
    # Some hours on two cores.
    "cpu": Recipe(Config(), dict(dense=2200, warmup=160, sparse=2230), 4096, LENGTHS, RATES),
    # From a shipped model (`--from`): what is new in the data is learned beside what is known. An hour or two on two cores.
    "refresh": Recipe(
        Config(), dict(dense=0, warmup=60, sparse=1800), 4096, ((1.0, {256: 0.55, 1024: 0.34, 2048: 0.07, 4096: 0.03, 8192: 0.01}),),
        dict(matrices=0.006, embedding=0.0012, rest=0.0006, indexer=0.001), {1024: 0.3, 2048: 0.4, 4096: 0.2, 8192: 0.1},
        rise=20, cooldown=800, mtp_every=8, coarse_every=2, same_weight=1.0, lost_weight=1.0,
    ),
    # Half an hour or more on one GPU.
    "gpu": Recipe(
        Config(), dict(dense=6000, warmup=200, sparse=2000), 65536, LENGTHS, RATES | dict(matrices=0.03), kl_tokens=4096
    ),
    # Seconds; for the tests.
    "tiny": Recipe(
        TINY, dict(dense=6, warmup=3, sparse=4), 512, ((1.0, {64: 0.7, 128: 0.3}),), RATES, rise=2, cooldown=2, mtp_every=2,
        kl_tokens=64,
    ),
}  # fmt: skip
