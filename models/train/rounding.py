"""Rounding inside training: to the FP8 form of the checkpoint, and coarser for a share of the steps."""

import typing

import torch
import torch.nn.functional as F

BLOCK = 128


class Bits(typing.NamedTuple):
    """Bits of a weight, by what it is in: the experts' matrices, all others."""

    gate_up: int
    down: int
    rest: int


# About Q2_K's preset, and every matrix in Q3_K.
SMALL = (Bits(2, 3, 4), Bits(3, 3, 3))


def full(x):
    """At least f32; f64 stays, so that the formulas can be judged without rounding."""
    return x if x.dtype == torch.float64 else x.float()


def fake_fp8(weight):
    """weight [..., rows, columns] rounded to e4m3 with a power-of-two scale per 128 x 128 block; gradients pass."""
    return weight + (rounded(weight.detach()) - weight.detach())


@torch.no_grad()
def rounded(weight):
    rows, columns = weight.shape[-2:]
    padded = F.pad(full(weight), (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = padded.unflatten(-1, (-1, BLOCK)).unflatten(-3, (-1, BLOCK))
    amax = blocks.abs().amax((-3, -1), keepdim=True).clamp_min(2.0**-100)
    scale = torch.exp2(torch.ceil(torch.log2(amax / 448.0)))
    back = (blocks / scale).float().to(torch.float8_e4m3fn).to(scale.dtype) * scale
    return back.flatten(-4, -3).flatten(-2, -1)[..., :rows, :columns]


def fake_bits(weight, bits):
    """weight [..., columns] on 2 ** bits even steps between the ends of each 16 values, about as Q2_K and Q3_K keep them."""
    values = weight.detach()
    blocks = full(values).unflatten(-1, (-1, 16))
    low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp_min(1e-12)
    seen = (((blocks - low) / step).round() * step + low).flatten(-2)
    return weight + (seen - values)
