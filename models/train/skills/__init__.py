"""Generators of conversations, one file per skill.

`make(rng, side, world, size)` gives messages and a mode, or segments: everything random comes from `rng`, everything held out
from `side`, everything read from disk from `world`, and `size` is about how many tokens are wanted.
"""
