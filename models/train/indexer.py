"""The lightning indexer: scores, the choice of keys, and the loss that teaches it."""

import torch
import torch.nn.functional as F
from torch import nn

from rounding import full

# Query rows scored at a time: bounds the memory of [B, rows, index heads, keys].
ROWS = 128


def rotate_halves(x, cos, sin):
    """Turns pairs (i, i + half) of the last dimension."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class Indexer(nn.Module):
    def __init__(self, c, linear):
        super().__init__()
        self.c = c
        self.wq_b = linear(c.q_lora_rank, c.index_n_heads * c.index_head_dim)
        self.wk = linear(c.hidden_size, c.index_head_dim)
        self.k_norm = nn.LayerNorm(c.index_head_dim, eps=1e-6)
        # Stays BF16 in the checkpoint.
        self.weights_proj = nn.Linear(c.hidden_size, c.index_n_heads, bias=False)

    def forward(self, x, cq, cos, sin):
        """-> queries [B, T, index heads, d], keys [B, T, d], head weights [B, T, index heads], none of them halved.

        The reference also turns queries and keys by one Hadamard matrix; it cancels in their products.
        """
        c, (batch, length, _) = self.c, x.shape
        rope, cos, sin = c.qk_rope_head_dim, cos[:length], sin[:length]

        def rotate(y, cos, sin):
            return torch.cat((rotate_halves(y[..., :rope], cos, sin), y[..., rope:]), -1)

        q = full(self.wq_b(cq)).view(batch, length, c.index_n_heads, c.index_head_dim)
        k = self.k_norm(full(self.wk(x)))
        weights = F.linear(full(x), full(self.weights_proj.weight)) * c.index_n_heads**-0.5
        # Everything but the ReLU is linear in the head weight, so the other constant goes there too.
        weights = weights * c.index_head_dim**-0.5
        return rotate(q, cos[:, None], sin[:, None]), rotate(k, cos, sin), weights

    def kl(self, parts, logits, mask, rows):
        """Mean KL divergence of the index distribution from the attention's, over some rows.

        logits [B, H, count, last] are the attention's and carry no gradient. `mask` [B, 1, T, T] limits both distributions
        to the chosen keys; without it all earlier keys count. rows = (first, count).
        """
        first, count = rows
        last = first + count
        with torch.no_grad():
            visible = causal(first, last, logits.device)[None] if mask is None else mask[:, 0, first:last, :last]
            target = logits.masked_fill(~visible[:, None], -torch.inf).softmax(-1).mean(1)
        scores = index_scores(parts, first, last).masked_fill(~visible, -torch.inf)
        gap = torch.log(target.clamp_min(1e-20)) - scores.log_softmax(-1).masked_fill(~visible, 0.0)
        return (target * gap).sum(-1).mean()


def causal(first, last, device):
    """[last - first, last]: key j is visible to row t when j <= t."""
    rows = torch.arange(first, last, device=device)[:, None]
    return torch.arange(last, device=device)[None] <= rows


def index_scores(parts, first, last):
    """Scores of the keys up to `last` for the rows first..last, [B, rows, last]"""
    q, k, weights = parts
    batch, _, heads, _ = q.shape
    dots = q[:, first:last].flatten(1, 2) @ k[:, :last].transpose(1, 2)
    dots = F.relu(dots).view(batch, last - first, heads, last)
    return (weights[:, first:last, None] @ dots).squeeze(2)


@torch.no_grad()
def selected_mask(parts, top_k):
    """[B, T, T], true where a row attends: its `top_k` best earlier keys, or all of them where there are fewer."""
    batch, length = parts[0].shape[:2]
    mask = torch.zeros(batch, length, length, dtype=torch.bool, device=parts[0].device)
    for first in range(0, length, ROWS):
        last = min(first + ROWS, length)
        visible = causal(first, last, mask.device)
        if last <= top_k:
            mask[:, first:last, :last] = visible
            continue
        scores = index_scores(parts, first, last).masked_fill(~visible, -torch.inf)
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, scores.topk(top_k, -1).indices, True)
        mask[:, first:last, :last] = chosen & visible
    return mask
