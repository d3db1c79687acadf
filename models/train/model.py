"""DeepSeek-V3.2 in PyTorch, written for training: attention un-absorbed, experts over sorted tokens.

Module and parameter names are those of DeepSeek's checkpoint, except that an MoE layer's experts are stacked:
`experts.gate_up` [experts, 2 * width, hidden] and `experts.down` [experts, hidden, width]. `export.py` splits them.
Shapes in comments: B sequences, T positions, H heads.
"""

import contextlib
import math

import torch
import torch.nn.functional as F
from torch import nn

from indexer import Indexer, causal, selected_mask
from rounding import fake_bits, fake_fp8, full


class RMSNorm(nn.Module):
    def __init__(self, size, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return F.rms_norm(full(x), self.weight.shape, self.weight, self.eps).to(x.dtype)


class Linear(nn.Module):
    """No bias. While `fake` is set the weight is seen rounded to FP8, as it will be shipped; `coarse`: see `Model.shipped_weights`."""

    fake, coarse = False, None

    def __init__(self, size_in, size_out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size_out, size_in))

    def forward(self, x):
        weight = fake_fp8(self.weight) if self.fake else self.weight
        return F.linear(x, fake_bits(weight, self.coarse.rest) if self.coarse else weight)


class Embedding(nn.Embedding):
    """Stays BF16 in the checkpoint, not in smaller files."""

    coarse = None

    def forward(self, tokens):
        return F.embedding(tokens, fake_bits(self.weight, self.coarse.rest)) if self.coarse else super().forward(tokens)


class Head(nn.Linear):
    """Stays BF16 in the checkpoint, too."""

    coarse = None

    def forward(self, x):
        return F.linear(x, fake_bits(self.weight, self.coarse.rest)) if self.coarse else super().forward(x)


def rotate_pairs(x, cos, sin):
    """Turns pairs (2i, 2i+1) of the last dimension; cos and sin broadcast over all but the last."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, heads = c, c.num_attention_heads
        self.q_a_proj = Linear(c.hidden_size, c.q_lora_rank)
        self.q_a_layernorm = RMSNorm(c.q_lora_rank)
        self.q_b_proj = Linear(c.q_lora_rank, heads * c.qk_head_dim)
        self.kv_a_proj_with_mqa = Linear(c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim)
        self.kv_a_layernorm = RMSNorm(c.kv_lora_rank)
        self.kv_b_proj = Linear(c.kv_lora_rank, heads * (c.qk_nope_head_dim + c.v_head_dim))
        self.o_proj = Linear(heads * c.v_head_dim, c.hidden_size)
        self.indexer = Indexer(c, Linear)

    def forward(self, x, run):
        """x [B, T, hidden] -> [B, T, hidden]"""
        c, (batch, length, _) = self.c, x.shape
        cq = self.q_a_layernorm(self.q_a_proj(x))
        q = self.q_b_proj(cq).view(batch, length, -1, c.qk_head_dim)
        q_nope, q_pe = q.split((c.qk_nope_head_dim, c.qk_rope_head_dim), -1)
        latent, kr = self.kv_a_proj_with_mqa(x).split((c.kv_lora_rank, c.qk_rope_head_dim), -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).view(batch, length, c.num_attention_heads, -1)
        k_nope, v = kv.split((c.qk_nope_head_dim, c.v_head_dim), -1)
        cos, sin = run.cos[:length], run.sin[:length]
        q_pe = rotate_pairs(q_pe, cos[:, None], sin[:, None]).to(q.dtype)
        kr = rotate_pairs(kr, cos, sin).to(q.dtype)[:, :, None].expand(-1, -1, c.num_attention_heads, -1)
        q = torch.cat((q_nope, q_pe), -1).transpose(1, 2)
        k = torch.cat((k_nope, kr), -1).transpose(1, 2)
        mask = self.select(x, cq, q, k, run)
        # Equal sizes of keys and values: several times faster than the general path on a CPU.
        v = F.pad(v, (0, c.qk_head_dim - c.v_head_dim)).transpose(1, 2)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=c.softmax_scale
        )
        return self.o_proj(out[..., : c.v_head_dim].transpose(1, 2).reshape(batch, length, -1))

    def select(self, x, cq, q, k, run):
        """The mask of chosen keys, or None for all earlier ones; adds the indexer's loss to `run`."""
        if not run.index_loss and not run.sparse:
            return None
        mask = None
        # Scores decide by small differences: f32 even where all else is bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            parts = self.indexer(full(x.detach()), full(cq.detach()), run.cos, run.sin)
            if run.sparse and x.shape[1] > self.c.index_topk:
                mask = selected_mask(parts, self.c.index_topk)
                run.masks.append(mask)
                mask = mask[:, None]
            if run.index_loss:
                rows = run.kl_rows(x.shape[0], x.shape[1])
                costs = mask is not None and run.lost is not None
                with torch.set_grad_enabled(costs and torch.is_grad_enabled()):
                    logits = attention_logits(self.c, q, k, rows)
                run.kl.append(self.indexer.kl(parts, logits.detach(), mask, rows))
                if costs:
                    run.lost.append(lost(logits, mask, rows))
        return mask


def attention_logits(c, q, k, rows):
    """Logits [B, H, count, last] of dense attention for some rows, later keys among them; rows = (first, count)."""
    first, last = rows[0], sum(rows)
    return c.softmax_scale * (full(q[:, :, first:last]) @ full(k[:, :, :last]).mT)


def lost(logits, mask, rows):
    """Mean share of dense attention's mass that lies on keys which were not chosen, over heads and some rows.

    What is not chosen has no other gradient: nothing else keeps the attention from wishing for it. Shapes as in `Indexer.kl`.
    """
    first, last = rows[0], sum(rows)
    mass = logits.masked_fill(~causal(first, last, logits.device), -torch.inf).softmax(-1)
    return mass.masked_fill(mask[:, :, first:last, :last], 0.0).sum(-1).mean()


class Mlp(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.gate_proj, self.up_proj = Linear(hidden, width), Linear(hidden, width)
        self.down_proj = Linear(width, hidden)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.weight = nn.Parameter(torch.empty(c.n_routed_experts, c.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(c.n_routed_experts))
        self.register_buffer("load", torch.zeros(c.n_routed_experts), persistent=False)

    def forward(self, x):
        """x [N, hidden] -> experts [N, k] and their weights [N, k], f32."""
        c = self.c
        with torch.autocast(x.device.type, enabled=False):
            scores = torch.sigmoid(F.linear(full(x), full(self.weight)))
        # What only looks counts for nothing.
        counts = self.training and torch.is_grad_enabled()
        with torch.no_grad():
            biased = (scores + self.e_score_correction_bias).view(len(x), c.n_group, -1)
            groups = biased.topk(2, -1).values.sum(-1).topk(c.topk_group, -1).indices
            outside = torch.ones(len(x), c.n_group, dtype=torch.bool, device=x.device).scatter_(1, groups, False)
            biased = biased.masked_fill(outside[..., None], -torch.inf).flatten(1)
            chosen = biased.topk(c.num_experts_per_tok, -1).indices
            if counts:
                self.load += torch.bincount(chosen.flatten(), minlength=c.n_routed_experts)
        weights = scores.gather(1, chosen)
        return chosen, c.routed_scaling_factor * weights / weights.sum(-1, keepdim=True)

    def rebalance(self, speed):
        """V3's balancing without a loss: the bias of a busy expert falls by `speed`, that of an idle one rises."""
        self.e_score_correction_bias += speed * torch.sign(self.load.mean() - self.load)
        self.load.zero_()


class Experts(nn.Module):
    """`fake` and `coarse` are those of `Linear`."""

    fake, coarse = False, None

    def __init__(self, c):
        super().__init__()
        count, width = c.n_routed_experts, c.moe_intermediate_size
        self.gate_up = nn.Parameter(torch.empty(count, 2 * width, c.hidden_size))
        self.down = nn.Parameter(torch.empty(count, c.hidden_size, width))

    def forward(self, x, chosen, weights):
        """Tokens sorted by expert, one product per expert, added back with their weights."""
        width = self.down.shape[2]
        gate_up, down = self.gate_up, self.down
        if self.fake:
            # Gate and up are two matrices in the checkpoint and have their own blocks.
            both = gate_up.unflatten(1, (2, width))
            gate_up, down = fake_fp8(both).flatten(1, 2), fake_fp8(down)
        if self.coarse:
            gate_up, down = fake_bits(gate_up, self.coarse.gate_up), fake_bits(down, self.coarse.down)
        flat = chosen.flatten()
        order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=len(down)).tolist()
        token = order // chosen.shape[1]
        outs = []
        for expert, rows in enumerate(x[token].split(counts)):
            gate, up = F.linear(rows, gate_up[expert]).split(width, -1)
            outs.append(F.linear(F.silu(gate) * up, down[expert]))
        outs = full(torch.cat(outs)) * weights.flatten()[order, None]
        return outs.new_zeros(x.shape).index_add_(0, token, outs)


class Moe(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate, self.experts = Gate(c), Experts(c)
        self.shared_experts = Mlp(c.hidden_size, c.moe_intermediate_size * c.n_shared_experts)

    def forward(self, x):
        flat = x.flatten(0, 1)
        routed = self.experts(flat, *self.gate(flat))
        return routed.view(x.shape).to(x.dtype) + self.shared_experts(x)


class Layer(nn.Module):
    def __init__(self, c, number):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        dense = number < c.first_k_dense_replace
        self.mlp = Mlp(c.hidden_size, c.intermediate_size) if dense else Moe(c)

    def forward(self, h, run):
        h = h + self.self_attn(self.input_layernorm(h), run)
        return h + self.mlp(self.post_attention_layernorm(h))


class DraftLayer(Layer):
    """The MTP layer: one more decoder layer on the next token's embedding and the finished hidden state."""

    def __init__(self, c, number):
        super().__init__(c, number)
        self.enorm, self.hnorm = RMSNorm(c.hidden_size, c.rms_norm_eps), RMSNorm(c.hidden_size, c.rms_norm_eps)
        # Not a `Linear`: eh_proj stays BF16 in the checkpoint.
        self.eh_proj = nn.Linear(2 * c.hidden_size, c.hidden_size, bias=False)
        self.shared_head = nn.ModuleDict({"norm": RMSNorm(c.hidden_size, c.rms_norm_eps)})

    def forward(self, embedded, hidden, run):
        """embedded: of tokens 1.., hidden: of tokens ..-1, both [B, T-1, hidden]; -> normed, [B, T-1, hidden]"""
        z = self.eh_proj(torch.cat((self.enorm(embedded), self.hnorm(hidden)), -1))
        return self.shared_head["norm"](super().forward(z, run))


class Run:
    """What one forward pass is asked for, and what it leaves behind besides its result."""

    def __init__(self, cos, sin, sparse=False, index_loss=False, lost_mass=False, kl_tokens=512, generator=None):
        self.cos, self.sin, self.sparse, self.index_loss = cos, sin, sparse, index_loss
        self.kl_tokens, self.generator = kl_tokens, generator
        self.kl, self.masks, self.lost = [], [], [] if lost_mass else None

    def kl_rows(self, batch, length):
        """(first, count): the rows on which the indexer is taught in this pass, some `kl_tokens` in the batch.

        Fewer where rows are long: what is kept for the gradient grows with rows times keys.
        """
        count = min(self.kl_tokens // batch, 2048 * self.kl_tokens // (batch * length))
        count = min(max(count, 16), length)
        last = length - count
        return int(torch.randint(last + 1, (), generator=self.generator)) if last else 0, count


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, number) for number in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.lm_head = Head(c.hidden_size, c.vocab_size, bias=False)
        self.draft = DraftLayer(c, c.num_hidden_layers)
        self.tables = {}

    def initialise(self, seed):
        """Residual branches start at nothing, all else at the usual size."""
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.dim() < 2:
                continue
            if name.endswith(("o_proj.weight", "down_proj.weight", "experts.down")):
                nn.init.zeros_(p)
            elif name == "embed_tokens.weight":
                nn.init.normal_(p, std=0.5, generator=generator)
            else:
                std = 0.02 if name in ("lm_head.weight",) or "gate.weight" in name else 0.6 * p.shape[-1] ** -0.5
                nn.init.normal_(p, std=std, generator=generator)
        self.look_back(generator)
        return self

    @torch.no_grad()
    def look_back(self, generator):
        """The first heads of the first layer begin as those that look 1, 2, 3 and 4 tokens back.

        To find what followed the last time takes such a head and, behind it, one that compares (Olsson et al. 2022). Training
        must find both before either pays: without this, recall was no better than guessing after nine million tokens, and sums
        took eight times as many. All tokens share a value of their embedding, and of it the turned parts of key and query are made.
        """
        c, attention = self.c, self.layers[0].self_attn
        nope, heads = c.qk_nope_head_dim, min(4, c.num_attention_heads // 2)
        # Three times the usual size of a value.
        self.embed_tokens.weight[:, 0] = 1.5
        key = attention.kv_a_proj_with_mqa.weight[c.kv_lora_rank :]
        key.mul_(0.2)
        key[:, 0] = 0
        key[0::2, 0] = 0.75
        attention.q_a_proj.weight[0] = 0
        attention.q_a_proj.weight[0, 0] = 0.8
        queries = attention.q_b_proj.weight.view(c.num_attention_heads, c.qk_head_dim, c.q_lora_rank)
        outputs = attention.o_proj.weight.view(c.hidden_size, c.num_attention_heads, c.v_head_dim)
        for head in range(heads):
            queries[head] *= 0.2
            for pair, speed in enumerate(self.c.rope_speeds()):
                angle = speed * (head + 1)
                queries[head, nope + 2 * pair, 0] = 4.0 * math.cos(angle)
                queries[head, nope + 2 * pair + 1, 0] = -4.0 * math.sin(angle)
            nn.init.normal_(outputs[:, head], std=0.1, generator=generator)

    def rope(self, length, device):
        dtype = self.embed_tokens.weight.dtype
        key = (device, dtype, max(length, 512))
        if key not in self.tables:
            # f32 angles, as in every engine: at position 8000 their rounding is part of the model.
            speeds = torch.tensor(self.c.rope_speeds(), dtype=dtype, device=device)
            angle = torch.arange(key[2], dtype=dtype, device=device)[:, None] * speeds
            self.tables[key] = angle.cos(), angle.sin()
        return self.tables[key]

    def run(self, tokens, **wanted):
        return Run(*self.rope(tokens.shape[1], tokens.device), **wanted)

    def trunk(self, tokens, run):
        """tokens [B, T] -> hidden states after the last norm, [B, T, hidden]"""
        h = self.embed_tokens(tokens)
        for layer in self.layers:
            h = layer(h, run)
        return self.norm(h)

    def drafted(self, tokens, hidden, run):
        """Row j: from token j+1 and the hidden state of j, for token j+2; [B, T-1, hidden]"""
        return self.draft(self.embed_tokens(tokens[:, 1:]), hidden[:, :-1], run)

    def indexer_parameters(self):
        return [p for name, p in self.named_parameters() if ".indexer." in name]

    @contextlib.contextmanager
    def shipped_weights(self, on=True, coarse=None):
        """Every FP8 matrix is seen rounded as it will be exported; with `coarse` (`rounding.Bits`) all of them, and the embedding and
        the head, then about as small files hold them."""
        holders = [m for m in self.modules() if isinstance(m, (Linear, Experts, Embedding, Head))]
        for holder in holders:
            holder.fake, holder.coarse = on, coarse
        try:
            yield
        finally:
            for holder in holders:
                holder.fake, holder.coarse = False, None


def count(model):
    """(whole, without the MTP layer)"""
    whole = sum(p.numel() for p in model.parameters())
    return whole, whole - sum(p.numel() for p in model.draft.parameters())
