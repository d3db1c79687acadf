#!/usr/bin/env python3
"""Makes the tiny checkpoints and their reference numbers. README.md says what is in the files.

    python generate.py              all shapes
    python generate.py base odd     these only
    python generate.py --search odd find the first seed without near-ties (then write it into shapes.py)

The numbers come from transformers' own DeepseekV32ForCausalLM and DeepseekV3ForCausalLM on the CPU with eager
attention, from the very files written here. Its code runs twice: as it is, in f32, and with every f32 in it read as
f64. The second run is what is stored (rounded to f32), so that a comparison sees the engine's rounding and not the
oracle's; the first must agree with it. Hooks read the intermediate values; the two RoPE functions are wrapped so that
their results are seen.
"""

import os

# One thread and MKL's reproducible mode: the order of every sum is then fixed.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("MKL_CBWR", "COMPATIBLE")
os.environ["HF_HUB_OFFLINE"] = "1"

import argparse
import contextlib
import json
import logging
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import safetensors.torch
import torch
import transformers
from transformers import modeling_rope_utils
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as v3
from transformers.models.deepseek_v32 import modeling_deepseek_v32 as v32

import checkpoint
import shapes
import tiny_tokenizer
from random_model import random_weights, store, write_checkpoint, write_json

HERE = pathlib.Path(__file__).resolve().parent
torch.set_num_threads(1)
torch.set_grad_enabled(False)
logging.getLogger("transformers").setLevel(logging.ERROR)
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


# --- transformers in f64 -----------------------------------------------------------------------------------


class DoubleTorch:
    """torch, as a module of transformers sees it, where f32 means f64."""

    float32 = float = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@contextlib.contextmanager
def doubled(model):
    """The model in f64, and no step of its code going back to f32."""
    modules, single = (v32, v3, modeling_rope_utils), torch.Tensor.float
    for module in modules:
        module.torch = DoubleTorch()
    torch.Tensor.float = torch.Tensor.double
    try:
        model.double()
        model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
        yield
    finally:
        torch.Tensor.float = single
        for module in modules:
            module.torch = torch


# --- transformers --------------------------------------------------------------------------------------------


def load(folder):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True,
    )  # fmt: skip
    assert not report["missing_keys"] and not report["mismatched_keys"], report
    layers = model.config.num_hidden_layers
    unexpected = [key for key in report["unexpected_keys"] if not key.startswith(f"model.layers.{layers}.")]
    assert not unexpected, unexpected
    return model.eval()


def load_fp8(folder):
    """transformers 5.23 guesses the block size as rows / scale rows, which is wrong when the last block is partial
    (and refuses the published 576-row kv_a_proj_with_mqa). So torch dequantises here, and transformers loads that."""
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= safetensors.torch.load_file(file)
    for name in [name for name in tensors if name.endswith("_scale_inv")]:
        weight_name, scale = name.removesuffix("_scale_inv"), tensors.pop(name)
        weight = tensors[weight_name].float()
        scale = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)[: weight.shape[0], : weight.shape[1]]
        tensors[weight_name] = weight * scale
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        write_json(scratch / "config.json", config)
        safetensors.torch.save_file(tensors, scratch / "model.safetensors", {"format": "pt"})
        return load(scratch)


def interleaved(x):
    """transformers leaves rotated MLA vectors as evens then odds; put the pairs (2i, 2i+1) back together."""
    half = x.shape[-1] // 2
    return torch.stack((x[..., :half], x[..., half:]), dim=-1).flatten(-2)


class Recorder:
    """Reads the intermediate values of a list of decoder layers (batch 1, whole sequence)."""

    def __init__(self, module, layers):
        self.module, self.layers = module, layers
        self.values = [{} for _ in layers]
        self.handles, self.current = [], None

    def __enter__(self):
        for values, layer in zip(self.values, self.layers):
            self.watch(values, layer)
        self.originals = (self.module.apply_rotary_pos_emb_interleave, self.module.apply_rotary_pos_emb)

        def mla(*args, **kwargs):
            q, k = self.originals[0](*args, **kwargs)
            self.current["q_pe"] = interleaved(q)[0].transpose(0, 1)  # [n, heads, rope]
            self.current["kr"] = interleaved(k)[0, 0]
            return q, k

        def index(*args, **kwargs):
            q, k = self.originals[1](*args, **kwargs)
            self.current["index_q_rope"], self.current["index_k_rope"] = q[0], k[0, :, 0]
            return q, k

        self.module.apply_rotary_pos_emb_interleave, self.module.apply_rotary_pos_emb = mla, index
        return self

    def __exit__(self, *_):
        self.module.apply_rotary_pos_emb_interleave, self.module.apply_rotary_pos_emb = self.originals
        for handle in self.handles:
            handle.remove()
        for values, layer in zip(self.values, self.layers):
            self.finish(values, layer)

    def watch(self, values, layer):
        def output(module, name, read=lambda out: out[0]):
            self.handles.append(module.register_forward_hook(lambda _m, _i, out: values.__setitem__(name, read(out))))

        def input_of(module, name):
            self.handles.append(module.register_forward_pre_hook(lambda _m, args: values.__setitem__(name, args[0][0])))

        def enter(_module, _args, _kwargs):
            self.current = values

        attention, mlp = layer.self_attn, layer.mlp
        self.handles.append(attention.register_forward_pre_hook(enter, with_kwargs=True))
        output(layer.input_layernorm, "attn_norm")
        output(attention.q_a_layernorm, "cq")
        output(attention.q_b_proj, "q")
        output(attention.kv_a_layernorm, "c")
        input_of(attention.o_proj, "attn_heads")
        output(attention.o_proj, "attn_out")
        output(layer.post_attention_layernorm, "ffn_norm")
        output(mlp, "ffn_out")
        output(layer, "out")
        if hasattr(attention, "indexer"):
            output(attention.indexer.wq_b, "index_q_raw")
            output(attention.indexer.k_norm, "index_k_raw")
            output(attention.indexer.weights_proj, "index_w_raw")
            output(attention.indexer, "index_topk")
        if hasattr(mlp, "gate"):
            output(mlp.gate, "router", lambda out: out)
            output(mlp.experts, "routed", lambda out: out)
            output(mlp.shared_experts, "shared")

    @staticmethod
    def finish(values, layer):
        attention, mlp = layer.self_attn, layer.mlp
        n = values["out"].shape[0]
        q = values.pop("q").view(n, attention.num_heads, attention.qk_head_dim)
        values["q_nope"] = q[..., : attention.qk_nope_head_dim]
        w_uk = attention.kv_b_proj.weight.view(attention.num_heads, -1, attention.kv_lora_rank)
        w_uk = w_uk[:, : attention.qk_nope_head_dim]
        # Not a value transformers forms; the product of two it does, in f64.
        values["q_absorbed"] = torch.einsum("nhd,hdc->nhc", values["q_nope"].double(), w_uk.double())
        if hasattr(attention, "indexer"):
            indexer = attention.indexer
            q = values.pop("index_q_raw").view(n, indexer.n_heads, indexer.head_dim)
            rope = indexer.qk_rope_head_dim
            values["index_q"] = torch.cat((values.pop("index_q_rope"), q[..., rope:]), dim=-1)
            values["index_k"] = torch.cat((values.pop("index_k_rope"), values.pop("index_k_raw")[..., rope:]), dim=-1)
            values["index_w"] = values.pop("index_w_raw").float() * indexer.n_heads**-0.5
            # The indexer's own expression on its own operands.
            dots = torch.matmul(values["index_q"], values["index_k"].T.unsqueeze(0)) * indexer.softmax_scale
            scores = torch.matmul(values["index_w"].unsqueeze(-2), torch.relu(dots)).squeeze(-2)
            visible = torch.ones(n, n, dtype=torch.bool).tril()
            values["index_scores"] = scores.masked_fill(~visible, float("-inf"))
            chosen = torch.zeros(n, n, dtype=torch.bool).scatter(-1, values.pop("index_topk").long(), True)
            values["selected"] = chosen & visible
        if hasattr(mlp, "gate"):
            logits, weights, experts = values.pop("router")
            order = experts.argsort(dim=-1)
            experts = experts.gather(-1, order)
            values["router_scores"] = logits.sigmoid()
            values["experts"] = experts.int()
            values["expert_weights"] = weights.gather(-1, order)
            x, bank = values["ffn_norm"], mlp.experts
            gate, up = torch.einsum("nkoi,ni->nko", bank.gate_up_proj[experts], x).chunk(2, dim=-1)
            values["expert_outs"] = torch.einsum("nkoi,nki->nko", bank.down_proj[experts], bank.act_fn(gate) * up)


def mtp_layer(model, weights):
    """Layer L as one of transformers' decoder layers, and the four tensors around it."""
    config = type(model.config).from_dict(model.config.to_dict())
    layers = config.num_hidden_layers
    config.num_hidden_layers = layers + 1
    config.mlp_layer_types = [*config.mlp_layer_types, "sparse"]
    config.layer_types = [*config.layer_types, config.layer_types[-1]]
    config._attn_implementation, config._experts_implementation = "eager", "eager"
    layer = v32.DeepseekV32DecoderLayer(config, layers).eval()
    prefix = f"model.layers.{layers}."
    dtype = model.dtype
    names = [name for name in weights if name.startswith(prefix)]
    own = {name.removeprefix(prefix): torch.tensor(weights[name]).to(dtype) for name in names}
    around = {name: own.pop(name) for name in list(own) if not name.startswith(("self_attn", "mlp", "input", "post"))}
    experts = range(config.n_routed_experts)

    def stack(kind):
        return torch.stack([own.pop(f"mlp.experts.{expert}.{kind}_proj.weight") for expert in experts])

    own["mlp.experts.gate_up_proj"] = torch.cat((stack("gate"), stack("up")), dim=1)
    own["mlp.experts.down_proj"] = stack("down")
    layer.to(dtype).load_state_dict(own, strict=True)
    return layer, around


def rms_norm(x, weight):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def run_mtp(model, weights, tokens, hidden):
    """Draft logits for x[j+2] from the main model's normed hidden state h[j] and token x[j+1], j = 0..n-2."""
    layer, around = mtp_layer(model, weights)
    embedding = around.get("embed_tokens.weight", model.model.embed_tokens.weight)
    head = around.get("shared_head.head.weight", model.lm_head.weight)
    e = rms_norm(embedding[tokens[0, 1:]], around["enorm.weight"])
    g = rms_norm(hidden[:-1], around["hnorm.weight"])
    z = torch.cat((e, g), dim=-1) @ around["eh_proj.weight"].T
    count = z.shape[0]
    positions = torch.arange(1, count + 1)[None]
    mask = torch.full((count, count), torch.finfo(z.dtype).min, dtype=z.dtype).triu(1)[None, None]
    out, top_k = {"mtp.input": z}, layer.self_attn.indexer.index_topk
    for kind, limit in (("sparse", top_k), ("dense", count)):
        layer.self_attn.indexer.index_topk = limit
        with Recorder(v32, [layer]) as recorder:
            y = layer(
                z[None], attention_mask=mask, position_ids=positions,
                position_embeddings=model.model.rotary_emb(z[None], positions),
            )[0]  # fmt: skip
        n = rms_norm(y, around["shared_head.norm.weight"])
        out[f"mtp_logits_{kind}"] = n @ head.T
        out[f"mtp.out_{kind}"] = y
        if kind == "sparse":
            out["mtp.selected"] = recorder.values[0]["selected"]
        out[f"values_{kind}"] = (recorder.values[0], layer)
    return out


# --- near-ties -----------------------------------------------------------------------------------------------


def gap(sorted_scores, k, scale):
    return float(((sorted_scores[..., k - 1] - sorted_scores[..., k]) / scale).min())


def choice_gaps(values, layer):
    """The smallest relative distance of each kind of choice in one layer from going the other way."""
    gaps = {}
    if "index_scores" in values and layer.self_attn.indexer.index_topk < values["index_scores"].shape[0]:
        k, scores = layer.self_attn.indexer.index_topk, values["index_scores"]
        rows = scores[k:]
        scale = rows.masked_fill(rows.isinf(), 0).abs().amax(-1)
        gaps["index"] = gap(rows.sort(-1, descending=True).values, k, scale)
    if "router_scores" in values:
        gate = layer.mlp.gate
        biased = values["router_scores"] + gate.e_score_correction_bias
        scale = biased.abs().amax(-1)
        groups = biased.view(len(biased), gate.num_group, -1)
        if gate.topk_group < gate.num_group:
            best = groups.topk(2, dim=-1).values.sum(-1)
            gaps["group"] = gap(best.sort(-1, descending=True).values, gate.topk_group, scale)
            keep = torch.zeros_like(best, dtype=torch.bool).scatter(-1, best.topk(gate.topk_group, -1).indices, True)
            biased = groups.masked_fill(~keep.unsqueeze(-1), float("-inf")).flatten(1)
        gaps["expert"] = gap(biased.sort(-1, descending=True).values, gate.top_k, scale)
    return gaps


def logit_gap(logits):
    return {"greedy": gap(logits.sort(-1, descending=True).values, 1, logits.abs().amax(-1))}


def merge_gaps(*parts):
    out = {}
    for part in parts:
        for kind, value in part.items():
            out[kind] = min(value, out.get(kind, 1.0))
    return out


# --- the reference -------------------------------------------------------------------------------------------

PER_LAYER = (
    "attn_norm cq c q_nope q_pe kr index_q index_k index_w index_scores selected attn_heads attn_out ffn_norm "
    "router_scores experts expert_weights routed shared ffn_out out"
).split()
ONE_LAYER = "q_absorbed expert_outs".split()  # large, and enough once


def make_tokens(shape):
    random = np.random.Generator(np.random.PCG64([shape["seed"], 7]))
    tokens = random.integers(0, shape["config"]["vocab_size"], shape["n"])
    tokens[0] = 0
    return torch.tensor(tokens)[None]


def run(model, shape, weights, tokens, full):
    """One pass over the sequence: (numbers, smallest gaps)."""
    module = v32 if shape.get("indexer", True) else v3
    with Recorder(module, model.model.layers) as recorder:
        result = model(tokens, output_hidden_states=True, use_cache=False)
    logits, hidden = result.logits[0], result.hidden_states[-1][0]
    gaps = [choice_gaps(values, layer) for values, layer in zip(recorder.values, model.model.layers)]
    gaps.append(logit_gap(logits))
    out = {"logits": logits}
    if shape["mtp"]:
        draft = run_mtp(model, weights, tokens, hidden)
        for kind in ("sparse", "dense"):
            gaps.append(choice_gaps(*draft.pop(f"values_{kind}")))
            out[f"mtp_logits_{kind}"] = draft.pop(f"mtp_logits_{kind}")
            gaps.append(logit_gap(out[f"mtp_logits_{kind}"]))
        if full:
            out |= draft
    if full:
        out["embedding"] = result.hidden_states[0][0]
        out["final_norm"] = hidden
        first_sparse = shape["config"]["first_k_dense_replace"]
        for index, values in enumerate(recorder.values):
            for name in PER_LAYER + (ONE_LAYER if index == first_sparse else []):
                if name in values:
                    out[f"layers.{index}.{name}"] = values[name]
    return out, merge_gaps(*gaps)


def decode(model, tokens):
    cache, rows = None, []
    for position in range(tokens.shape[1]):
        step = model(tokens[:, position : position + 1], past_key_values=cache, use_cache=True)
        cache = step.past_key_values
        rows.append(step.logits[0, 0])
    return torch.stack(rows)


def distance(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


def reference(shape, folder, weights, fp8, full):
    """All numbers of one checkpoint folder, the smallest gaps, and how far the plain f32 run is from them."""
    model = load_fp8(folder) if fp8 else load(folder)
    for name, value in model.state_dict().items():  # the files say what we think they say
        if "mlp.experts." not in name:
            assert torch.equal(value, torch.tensor(weights[name])), name
    tokens = make_tokens(shape)
    plain, gaps = run(model, shape, weights, tokens, full)
    apart = {"decode": distance(decode(model, tokens), plain["logits"])}
    with doubled(model):
        out, exact_gaps = run(model, shape, weights, tokens, full)
        assert all(value.dtype == torch.float64 for value in out.values() if value.is_floating_point())
        assert distance(decode(model, tokens), out["logits"]) < 1e-12, "decode differs from prefill: a tie?"
    gaps = merge_gaps(gaps, exact_gaps)
    apart["f32"] = max(distance(plain[name], value) for name, value in out.items() if "logits" in name)
    if near_tie(gaps):
        return None, gaps, apart
    assert max(apart.values()) < 5e-6, apart
    for name, value in out.items():
        if not value.is_floating_point():
            assert torch.equal(value, plain[name]), name

    rows = torch.arange(0, shape["n"], shape["every"])
    out["logits"] = out["logits"][rows]
    numbers = {"tokens": tokens[0].int(), "logit_rows": rows.int(), **out}
    if shape["mtp"]:
        rows = rows[rows < shape["n"] - 1]
        numbers["mtp_logit_rows"] = rows.int()
        for kind in ("sparse", "dense"):
            numbers[f"mtp_logits_{kind}"] = out[f"mtp_logits_{kind}"][rows]
    numbers = {name: value.float() if value.is_floating_point() else value for name, value in numbers.items()}
    return {name: value.contiguous().numpy() for name, value in numbers.items()}, gaps, apart


def metadata(name, shape, gaps):
    return {
        "shape": name,
        "seed": str(shape["seed"]),
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "smallest_gaps": json.dumps({kind: float(f"{value:.3g}") for kind, value in gaps.items()}),
    }


def near_tie(gaps):
    return min(gaps.values()) < shapes.NEAR_TIE


def build(name, shape, root):
    """Writes one shape below `root`; stops at the first storage form with a near-tie and returns False."""
    folder = root / name
    folder.mkdir(parents=True)
    weights = random_weights(shape)
    for variant in (None, *shape.get("variants", ())):
        place = folder / variant if variant else folder
        place.mkdir(exist_ok=True)
        form = {None: shape["store"], "bf16": "BF16", "fp8": "fp8"}[variant]
        # The BF16 twin is a trunk without its MTP layer, as re-saved checkpoints are.
        held = shape if variant != "bf16" else {**shape, "mtp": None}
        names = shapes.checkpoint_shapes(held)
        tensors = store({key: weights[key] for key in names}, form)
        write_checkpoint(place, held, tensors)
        write_json(place / "config.json", shapes.official_config(held, variant))
        values = checkpoint.plain({key: checkpoint.as_stored(value) for key, value in tensors.items()})
        full = shape["full"] and variant is None
        numbers, gaps, apart = reference(held, place, values, variant == "fp8", full)
        label = f"{name}/{variant}" if variant else name
        listed = "  ".join(f"{kind} {value:.1e}" for kind, value in gaps.items())
        print(f"{label:10} seed {shape['seed']:<2} gaps: {listed}", end="", flush=True)
        print("   f32: " + "  ".join(f"{kind} {value:.1e}" for kind, value in apart.items()), flush=True)
        if numbers is None:
            return False
        checkpoint.write(place / "reference.safetensors", numbers, metadata(label, shape, gaps))
        if variant is None and shape.get("transformers_config"):
            resaved_config(place)
        if variant is None and shape.get("tokenizer"):
            tiny_tokenizer.write(place, shape["config"]["vocab_size"])
    return True


def resaved_config(folder):
    """config.transformers.json: what transformers 5 writes for this model; it must load to the same logits."""
    tokens, model = torch.arange(100)[None], load(folder)
    config = model.config.to_diff_dict()
    for absent in ("scoring_func", "topk_method", "num_nextn_predict_layers", "moe_layer_freq", "ep_size"):
        config.pop(absent, None)
    del config["rope_parameters"]["type"]  # the old name of rope_type
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        write_json(scratch / "config.json", config)
        shutil.copy(folder / "model.safetensors", scratch)
        assert torch.equal(load(scratch)(tokens).logits, model(tokens).logits)
    write_json(folder / "config.transformers.json", config)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=list(shapes.SHAPES))
    parser.add_argument("--search", action="store_true", help="find seeds; writes nothing")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="where the shape folders go")
    options = parser.parse_args()
    for name in options.shapes:
        shape = shapes.SHAPES[name]
        for seed in range(1, 1000) if options.search else [shape["seed"]]:
            with tempfile.TemporaryDirectory() as scratch:
                scratch = pathlib.Path(scratch)
                good = build(name, {**shape, "seed": seed}, scratch)
                if good and not options.search:
                    shutil.rmtree(options.out / name, ignore_errors=True)
                    shutil.copytree(scratch / name, options.out / name)
            if good:
                break
        if not good:
            sys.exit(f"{name}: near-tie; choose another seed with --search")


if __name__ == "__main__":
    main()
