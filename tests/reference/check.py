#!/usr/bin/env python3
"""An independent judge of the judge: DeepSeek-V3.2 in float64 numpy, written from the formulas, not from transformers.

    python check.py              compare every shape's reference numbers with this implementation
    python check.py --mutations  break the formulas one at a time and see whether the reference notices

Two forward passes share nothing but the weights: `prefill` expands keys and values per head for the whole sequence,
`decode` takes one token at a time, absorbs kv_b_proj and reads a latent cache. No torch is needed.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np

import checkpoint

HERE = pathlib.Path(__file__).resolve().parent
# Of the largest magnitude: the rounding of the stored f32.
LIMIT = 1e-7

MUTATIONS = {
    "dense": "attend to every key",
    "index-interleaved": "interleaved RoPE in the indexer",
    "mla-half-split": "half-split RoPE in MLA",
    "index-rope-last": "indexer RoPE on the last dims",
    "index-no-relu": "no ReLU in the index score",
    "index-no-bias": "k_norm without its bias",
    "index-rms": "k_norm as RMSNorm",
    "index-raw-q": "indexer query from the un-normed latent",
    "no-mscale": "softmax scale without mscale^2",
    "no-yarn": "plain RoPE frequencies",
    "bias-weighs": "expert weights from the biased score",
    "no-bias": "expert choice without the bias",
    "no-groups": "expert choice without groups",
    "group-max": "group score from its best expert only",
    "no-norm": "expert weights not normalised",
    "no-shared": "no shared expert",
    "mtp-swapped": "eh_proj on concat(hidden, embedding)",
    "mtp-same-token": "the draft reads token j instead of j+1",
    "mtp-raw-hidden": "the draft reads h before model.norm",
}


def load(folder):
    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for file in sorted(folder.glob("model*.safetensors")):
        tensors |= checkpoint.read(file)
    weights = {name: value.astype(np.float64) for name, value in checkpoint.plain(tensors).items()}
    return config, weights


def rms_norm(x, weight):
    return weight * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def layer_norm(x, weight, bias):
    x = x - x.mean(-1, keepdims=True)
    return weight * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) + bias


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def largest(scores, k):
    """Indices of the k largest, the lower index first among equals."""
    return np.sort(np.argsort(-scores, kind="stable")[:k])


def rotate_pairs(x, angle):
    """Pairs (2i, 2i+1) turned by angle[i]."""
    out, cos, sin = np.empty_like(x), np.cos(angle), np.sin(angle)
    a, b = x[..., 0::2], x[..., 1::2]
    out[..., 0::2], out[..., 1::2] = a * cos - b * sin, a * sin + b * cos
    return out


def rotate_halves(x, angle):
    """Pairs (i, i + d/2) turned by angle[i]."""
    half, cos, sin = x.shape[-1] // 2, np.cos(angle), np.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate((a * cos - b * sin, a * sin + b * cos), -1)


class Model:
    def __init__(self, config, weights, broken=()):
        self.w, self.broken = weights, set(broken)
        c = self.c = type("Config", (), config)
        self.layers, self.heads = c.num_hidden_layers, c.num_attention_heads
        self.nope, self.rope, self.v, self.rank = c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim, c.kv_lora_rank
        self.top_k = getattr(c, "index_topk", None)
        self.seen = {}

        # YaRN
        scaling = c.rope_scaling
        factor, trained, base = scaling["factor"], scaling["original_max_position_embeddings"], c.rope_theta
        theta = base ** (-2.0 * np.arange(self.rope // 2) / self.rope)

        def turns(beta):
            return self.rope * math.log(trained / (2 * math.pi * beta)) / (2 * math.log(base))

        low = max(math.floor(turns(scaling["beta_fast"])), 0)
        high = min(math.ceil(turns(scaling["beta_slow"])), self.rope - 1)
        ramp = np.clip((np.arange(self.rope // 2) - low) / max(high - low, 0.001), 0, 1)
        self.ramp = ramp
        self.theta = theta if "no-yarn" in self.broken else theta * (1 - ramp) + theta / factor * ramp
        mscale = 0.1 * scaling["mscale_all_dim"] * math.log(factor) + 1
        assert scaling["mscale"] == scaling["mscale_all_dim"]  # so that cos and sin are not scaled
        self.sigma = (self.nope + self.rope) ** -0.5 * (1 if "no-mscale" in self.broken else mscale**2)

    def matrix(self, layer, name):
        return self.w[f"model.layers.{layer}.{name}.weight"]

    def see(self, name, value):
        self.seen[name] = value

    def rotate_mla(self, x, position):
        angle = position * self.theta
        return rotate_halves(x, angle) if "mla-half-split" in self.broken else rotate_pairs(x, angle)

    def rotate_index(self, x, position):
        angle, x = position * self.theta, x.copy()
        part = slice(-self.rope, None) if "index-rope-last" in self.broken else slice(0, self.rope)
        turn = rotate_pairs if "index-interleaved" in self.broken else rotate_halves
        x[..., part] = turn(x[..., part], angle)
        return x

    # --- the parts of a layer ---

    def latents(self, layer, x, positions):
        """For rows of normed hidden states: cq, q_nope, q_pe, c, kr."""
        attention = lambda name: self.matrix(layer, "self_attn." + name)
        raw = x @ attention("q_a_proj").T
        cq = rms_norm(raw, attention("q_a_layernorm"))
        q = (cq @ attention("q_b_proj").T).reshape(len(x), self.heads, self.nope + self.rope)
        both = x @ attention("kv_a_proj_with_mqa").T
        c = rms_norm(both[:, : self.rank], attention("kv_a_layernorm"))
        q_pe = self.rotate_mla(q[..., self.nope :], positions[:, None, None])
        kr = self.rotate_mla(both[:, self.rank :], positions[:, None])
        return (raw if "index-raw-q" in self.broken else cq), cq, q[..., : self.nope], q_pe, c, kr

    def index_parts(self, layer, x, cq, positions):
        name = f"model.layers.{layer}.self_attn.indexer."
        heads, dim = self.c.index_n_heads, self.c.index_head_dim
        q = (cq @ self.w[name + "wq_b.weight"].T).reshape(len(x), heads, dim)
        k = x @ self.w[name + "wk.weight"].T
        weight, bias = self.w[name + "k_norm.weight"], self.w[name + "k_norm.bias"]
        if "index-rms" in self.broken:
            k = rms_norm(k, weight)
        else:
            k = layer_norm(k, weight, 0 if "index-no-bias" in self.broken else bias)
        w = x @ self.w[name + "weights_proj.weight"].T * heads**-0.5
        return self.rotate_index(q, positions[:, None, None]), self.rotate_index(k, positions[:, None]), w

    def index_scores(self, q, k, w):
        """q [heads, d], k [keys, d], w [heads] -> [keys]"""
        dots = q @ k.T
        if "index-no-relu" not in self.broken:
            dots = np.maximum(dots, 0)
        return self.c.index_head_dim**-0.5 * (w @ dots)

    def feed_forward(self, layer, x, note):
        def swiglu(name, x):
            gate, up = (x @ self.matrix(layer, f"{name}.{part}_proj").T for part in ("gate", "up"))
            return (gate * sigmoid(gate) * up) @ self.matrix(layer, f"{name}.down_proj").T

        if layer < self.c.first_k_dense_replace:
            return swiglu("mlp", x)
        c, rows = self.c, []
        s = sigmoid(x @ self.matrix(layer, "mlp.gate").T)
        bias = self.w[f"model.layers.{layer}.mlp.gate.e_score_correction_bias"]
        routed, experts, weights, outs = np.zeros_like(x), [], [], []
        for row, scores in enumerate(s):
            choice = scores + (0 if "no-bias" in self.broken else bias)
            groups = choice.reshape(c.n_group, -1)
            best = np.sort(groups, -1)[:, -1 if "group-max" in self.broken else -2 :].sum(-1)
            if "no-groups" not in self.broken:
                outside = np.ones(c.n_group, dtype=bool)
                outside[largest(best, c.topk_group)] = False
                choice = np.where(outside[:, None], -np.inf, groups).reshape(-1)
            chosen = largest(choice, c.num_experts_per_tok)
            weight = (scores + bias)[chosen] if "bias-weighs" in self.broken else scores[chosen]
            if "no-norm" not in self.broken:
                weight = weight / weight.sum()
            weight = weight * c.routed_scaling_factor
            out = np.stack([swiglu(f"mlp.experts.{expert}", x[row]) for expert in chosen])
            routed[row] = weight @ out
            experts.append(chosen), weights.append(weight), outs.append(out)
        shared = swiglu("mlp.shared_experts", x)
        for name, value in dict(
            router_scores=s, experts=np.stack(experts), expert_weights=np.stack(weights), expert_outs=np.stack(outs),
            routed=routed, shared=shared,
        ).items():  # fmt: skip
            note(name, value)
        return routed if "no-shared" in self.broken else routed + shared

    def layer(self, layer, h, attend, note):
        x = rms_norm(h, self.matrix(layer, "input_layernorm"))
        note("attn_norm", x)
        heads = attend(layer, x, note)
        note("attn_heads", heads)
        out = heads @ self.matrix(layer, "self_attn.o_proj").T
        note("attn_out", out)
        h = h + out
        x = rms_norm(h, self.matrix(layer, "post_attention_layernorm"))
        note("ffn_norm", x)
        out = self.feed_forward(layer, x, note)
        note("ffn_out", out)
        note("out", h + out)
        return h + out

    # --- whole sequence, keys and values expanded per head ---

    def attend_all(self, layer, x, note, first=0, sparse=True):
        n = len(x)
        positions = np.arange(first, first + n, dtype=np.float64)
        index_cq, cq, q_nope, q_pe, c, kr = self.latents(layer, x, positions)
        kv = (c @ self.matrix(layer, "self_attn.kv_b_proj").T).reshape(n, self.heads, self.nope + self.v)
        k_nope, v = kv[..., : self.nope], kv[..., self.nope :]
        visible = np.tri(n, dtype=bool)
        selected = visible.copy()
        if self.top_k is not None:
            iq, ik, iw = self.index_parts(layer, x, index_cq, positions)
            scores = np.stack([self.index_scores(iq[t], ik, iw[t]) for t in range(n)])
            scores = np.where(visible, scores, -np.inf)
            if sparse and "dense" not in self.broken:
                selected[:] = False
                for t in range(n):
                    selected[t, largest(scores[t, : t + 1], self.top_k)] = True
            for name, value in dict(index_q=iq, index_k=ik, index_w=iw, index_scores=scores, selected=selected).items():
                note(name, value)
        s = np.einsum("thd,jhd->htj", q_nope, k_nope) + np.einsum("thd,jd->htj", q_pe, kr)
        p = softmax(np.where(selected, self.sigma * s, -np.inf))
        absorbed = np.einsum("thd,hdc->thc", q_nope, self.split_kv_b(layer)[0])
        for name, value in dict(cq=cq, q_nope=q_nope, q_pe=q_pe, c=c, kr=kr, q_absorbed=absorbed).items():
            note(name, value)
        return np.einsum("htj,jhd->thd", p, v).reshape(n, -1)

    def prefill(self, tokens):
        self.see("embedding", h := self.w["model.embed_tokens.weight"][tokens])
        for layer in range(self.layers):
            h = self.layer(layer, h, self.attend_all, lambda name, value: self.see(f"layers.{layer}.{name}", value))
        n = rms_norm(h, self.w["model.norm.weight"])
        self.see("final_norm", n)
        return n @ self.w["lm_head.weight"].T, h if "mtp-raw-hidden" in self.broken else n

    # --- one token at a time, absorbed, from caches ---

    def split_kv_b(self, layer):
        kv_b = self.matrix(layer, "self_attn.kv_b_proj").reshape(self.heads, self.nope + self.v, self.rank)
        return kv_b[:, : self.nope], kv_b[:, self.nope :]

    def decode(self, tokens):
        caches = [dict(c=[], kr=[], k=[]) for _ in range(self.layers)]
        rows = []
        for position, token in enumerate(tokens):
            h = self.w["model.embed_tokens.weight"][token][None]

            def attend(layer, x, _note):
                cache, here = caches[layer], np.array([float(position)])
                index_cq, _, q_nope, q_pe, c, kr = self.latents(layer, x, here)
                cache["c"].append(c[0]), cache["kr"].append(kr[0])
                keep = np.arange(position + 1)
                if self.top_k is not None:
                    iq, ik, iw = self.index_parts(layer, x, index_cq, here)
                    cache["k"].append(ik[0])
                    keep = largest(self.index_scores(iq[0], np.stack(cache["k"]), iw[0]), self.top_k)
                c, kr = np.stack(cache["c"])[keep], np.stack(cache["kr"])[keep]
                w_uk, w_uv = self.split_kv_b(layer)
                absorbed = np.einsum("hd,hdc->hc", q_nope[0], w_uk)
                p = softmax(self.sigma * (absorbed @ c.T + q_pe[0] @ kr.T))
                return np.einsum("hc,hvc->hv", p @ c, w_uv).reshape(1, -1)

            for layer in range(self.layers):
                h = self.layer(layer, h, attend, lambda *_: None)
            rows.append(rms_norm(h[0], self.w["model.norm.weight"]) @ self.w["lm_head.weight"].T)
        return np.stack(rows)

    # --- the draft layer ---

    def mtp(self, tokens, hidden, sparse):
        layer = self.layers
        name = f"model.layers.{layer}."
        own = lambda key, main: self.w.get(name + key, self.w[main])
        shift = 0 if "mtp-same-token" in self.broken else 1
        following = tokens[shift : len(tokens) - 1 + shift]
        e = rms_norm(own("embed_tokens.weight", "model.embed_tokens.weight")[following], self.w[name + "enorm.weight"])
        g = rms_norm(hidden[:-1], self.w[name + "hnorm.weight"])
        halves = (g, e) if "mtp-swapped" in self.broken else (e, g)
        z = np.concatenate(halves, -1) @ self.w[name + "eh_proj.weight"].T
        kind = "sparse" if sparse else "dense"
        note = lambda key, value: self.see("mtp.selected", value) if sparse and key == "selected" else None
        attend = lambda layer, x, note: self.attend_all(layer, x, note, sparse=sparse)
        y = self.layer(layer, z, attend, note)
        self.see("mtp.input", z), self.see(f"mtp.out_{kind}", y)
        n = rms_norm(y, self.w[name + "shared_head.norm.weight"])
        return n @ own("shared_head.head.weight", "lm_head.weight").T


def distance(ours, theirs):
    """Largest difference relative to the largest magnitude; sets and ids must be equal."""
    if theirs.dtype.kind in "bi":
        return float((ours != theirs).sum())
    finite = np.isfinite(theirs)
    if not (np.isfinite(ours) == finite).all():
        return math.inf
    return float(np.abs(ours[finite] - theirs[finite]).max() / np.abs(theirs[finite]).max())


def checkpoints():
    return sorted(path.parent for path in HERE.glob("**/reference.safetensors"))


def stored_reference(folder):
    return {name: stored.array for name, stored in checkpoint.read(folder / "reference.safetensors").items()}


def logits_of(model, reference):
    """Each kind of logits at the rows the reference keeps."""
    tokens = reference["tokens"]
    logits, hidden = model.prefill(tokens)
    out = {"logits": logits[reference["logit_rows"]]}
    for kind in ("sparse", "dense"):
        if f"mtp_logits_{kind}" in reference:
            out[f"mtp_logits_{kind}"] = model.mtp(tokens, hidden, kind == "sparse")[reference["mtp_logit_rows"]]
    return out


def compare():
    worst, details = 0.0, []
    print(f"{'checkpoint':12} {'tokens':>6} {'prefill':>9} {'decode':>9} {'mtp sparse':>10} {'mtp dense':>10}  YaRN ramp")
    for folder in checkpoints():
        label, reference = str(folder.relative_to(HERE)), stored_reference(folder)
        model = Model(*load(folder))
        ours = logits_of(model, reference)
        ours["decode"] = model.decode(reference["tokens"])[reference["logit_rows"]]
        row = []
        for name, theirs in (
            ("logits", "logits"), ("decode", "logits"), ("mtp_logits_sparse",) * 2, ("mtp_logits_dense",) * 2,
        ):  # fmt: skip
            row.append(distance(ours[name], reference[theirs]) if name in ours else None)
        worst = max(worst, *(value for value in row if value is not None))
        cells = ["-" if value is None else f"{value:.1e}" for value in row]
        ramp = " ".join(f"{value:.2g}" for value in model.ramp)
        count = len(reference["tokens"])
        print(f"{label:12} {count:6} {cells[0]:>9} {cells[1]:>9} {cells[2]:>10} {cells[3]:>10}  {ramp}", flush=True)
        for name in sorted(reference):
            if name in model.seen:
                details.append((label, name, distance(model.seen[name], reference[name])))
            elif "tokens" not in name and "_rows" not in name and "logits" not in name:
                sys.exit(f"{label}: {name} is not checked")
    if details:
        by_kind = {}
        for label, name, value in details:
            kind = name.split(".")[-1] if name.startswith("layers.") else name
            by_kind[kind] = max(by_kind.get(kind, 0.0), value)
        print("\nactivations (worst over layers; sets and ids: number of differences)")
        for kind, value in by_kind.items():
            print(f"  {kind:16} {value:.1e}")
        worst = max(worst, *by_kind.values())
    print(f"\nworst {worst:.1e}, limit {LIMIT:.0e}")
    sys.exit(worst > LIMIT)


def mutations():
    folders = [folder for folder in checkpoints() if folder.parent == HERE]
    print(f"{'mutation':44}" + "".join(f"{folder.name:>18}" for folder in folders) + "   (main / draft logits)")
    loaded = [(load(folder), stored_reference(folder)) for folder in folders]
    for key, text in MUTATIONS.items():
        cells = []
        for (config, weights), reference in loaded:
            ours = logits_of(Model(config, weights, [key]), reference)
            main = distance(ours["logits"], reference["logits"])
            draft = distance(ours["mtp_logits_sparse"], reference["mtp_logits_sparse"]) if len(ours) > 1 else None
            cells.append(f"{main:.0e} / " + ("-" if draft is None else f"{draft:.0e}"))
        print(f"{text:44}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", action="store_true")
    mutations() if parser.parse_args().mutations else compare()
