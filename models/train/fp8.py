"""Rounding to the FP8 form of the checkpoint, inside training."""

import torch
import torch.nn.functional as F

BLOCK = 128


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
