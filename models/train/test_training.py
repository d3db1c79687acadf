"""Module, stages, state and export, on a very small model. Needs torch; test_data.py and test_chat.py do not."""

import dataclasses
import json
import pathlib
import tempfile
import unittest
import unittest.mock

import numpy as np
import torch

import data
import export
import fp8
import indexer
import optim
import recipe
import train
from config import TINY, Config
from export import INDEX_HEAD_DIM
from model import Gate, Linear, Model
from test_data import small_world

torch.set_num_threads(1)


class Inline:
    """A feeder over the made-up corpora."""

    def __init__(self):
        self.maker = data.Maker(small_world())

    def get(self, order, following):
        return self.maker.batch(*order)


def training(bf16=False):
    return train.Training(recipe.PRESETS["tiny"], 1, torch.device("cpu"), Inline(), bf16)


def steps(run, number):
    records = []
    while number and run.settle():
        records.append(run.one())
        number -= 1
    return records


def small_model(seed=3):
    torch.manual_seed(seed)
    model = Model(TINY).initialise(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


class Beginning(unittest.TestCase):
    def test_the_first_heads_look_1_to_4_tokens_back(self):
        model, seen = Model(Config()).initialise(1), []
        attend = torch.nn.functional.scaled_dot_product_attention

        def spy(q, k, v, scale, **rest):
            hidden = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
            seen.append(((q @ k.mT) * scale).masked_fill(hidden, -torch.inf).softmax(-1))
            return attend(q, k, v, scale=scale, **rest)

        tokens = torch.randint(3, 4000, (1, 200), generator=torch.Generator().manual_seed(1))
        with unittest.mock.patch("torch.nn.functional.scaled_dot_product_attention", spy), torch.no_grad():
            model.trunk(tokens, model.run(tokens))
        for back in range(1, 9):
            mass = seen[0][0, back - 1].diagonal(-back)[20:].mean().item()
            (self.assertGreater if back <= 4 else self.assertLess)(mass, 0.6 if back <= 4 else 0.1)


class Stages(unittest.TestCase):
    def test_interrupted_is_uninterrupted_bit_for_bit(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            whole = training()
            records = steps(whole, 100)
            self.assertEqual(len(records), sum(recipe.PRESETS["tiny"].steps.values()))
            again = []
            # Stops inside each of the three stages and between two of them.
            for number in (4, 2, 2, 3, 100):
                part = training()
                if (folder / train.FILE).exists():
                    part.load(folder)
                again += steps(part, number)
                part.save(folder)
            for ours, theirs in zip(records, again, strict=True):
                self.assertEqual(ours | dict(tokens_per_second=0), theirs | dict(tokens_per_second=0))
            for name, value in whole.model.state_dict().items():
                self.assertTrue(torch.equal(value, part.model.state_dict()[name]), name)

    def test_warmup_moves_nothing_but_the_indexer(self):
        run = training()
        steps(run, recipe.PRESETS["tiny"].steps["dense"])
        before = {name: value.clone() for name, value in run.model.state_dict().items()}
        records = steps(run, recipe.PRESETS["tiny"].steps["warmup"])
        self.assertEqual({record["stage"] for record in records}, {"warmup"})
        for name, value in run.model.state_dict().items():
            self.assertEqual(torch.equal(value, before[name]), ".indexer." not in name, name)

    def test_loss_falls(self):
        run = training()
        run.recipe = dataclasses.replace(run.recipe, steps=dict(dense=40, warmup=0, sparse=0))
        records = steps(run, 40)
        self.assertLess(records[-1]["lm"], records[0]["lm"] - 1.0)

    def test_bfloat16_goes_through_all_stages(self):
        run, plain = training(bf16=True), training()
        for ours, theirs in zip(steps(run, 100), steps(plain, 100), strict=True):
            for loss in ("lm", "mtp", "kl"):
                self.assertEqual(loss in ours, loss in theirs)
                if loss in ours:
                    self.assertAlmostEqual(ours[loss], theirs[loss], delta=0.05)

    def test_state_of_another_model_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            run = training()
            run.save(folder)
            run.seed = 2
            with self.assertRaises(SystemExit):
                run.load(folder)


class Refresh(unittest.TestCase):
    """From a shipped checkpoint on."""

    def beginning(self, folder):
        model = small_model()
        torch.nn.init.normal_(model.layers[1].self_attn.indexer.k_norm.bias)
        model.layers[1].mlp.gate.e_score_correction_bias.normal_(std=0.1)
        export.write(model, folder, "fp8", copies=False)
        run = training()
        run.recipe = dataclasses.replace(run.recipe, steps=dict(dense=0, warmup=0, sparse=6), rise=2, cooldown=3)
        run.start_from(folder)
        return run

    def test_begins_with_the_shipped_numbers(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            run = self.beginning(folder)
            stored = {}
            for file in folder.glob("*.safetensors"):
                stored |= export.checkpoint.plain(export.checkpoint.read(file))
            again = export.checkpoint.plain(export.widened(export.stored(export.named_tensors(run.model), "fp8"), TINY)[0])
            self.assertEqual(set(stored), set(again))
            for name, value in stored.items():
                np.testing.assert_array_equal(value, again[name], name)

    def test_goes_straight_to_the_sparse_stage_and_rises(self):
        with tempfile.TemporaryDirectory() as folder:
            run = self.beginning(pathlib.Path(folder))
            records, rates = [], []
            while run.settle():
                rates.append(run.recipe.rate(run.stage, run.step))
                self.assertTrue(run.recipe.rounded(run.stage, run.step))
                records.append(run.one())
            self.assertEqual({record["stage"] for record in records}, {"sparse"})
            np.testing.assert_allclose(rates, [0.5, 1, 1, 1, 2 / 3, 1 / 3])


class Sparse(unittest.TestCase):
    def test_rows_choose_top_k_earlier_keys(self):
        model, ids = small_model(), torch.randint(4096, (2, 50))
        run = model.run(ids, sparse=True)
        model.trunk(ids, run)
        for mask in run.masks:
            expected = torch.arange(1, 51).clamp_max(TINY.index_topk)
            self.assertTrue((mask.sum(-1) == expected).all())
            self.assertFalse(mask.triu(1).any())

    def test_dense_and_sparse_agree_up_to_top_k(self):
        model, ids = small_model(), torch.randint(4096, (1, 60))
        with torch.no_grad():
            dense, sparse = (model.trunk(ids, model.run(ids, sparse=kind)) for kind in (False, True))
        gap = (dense - sparse).abs().amax(-1)[0]
        self.assertLess(float(gap[: TINY.index_topk].max()), 1e-5)
        self.assertGreater(float(gap[TINY.index_topk :].max()), 1e-3)

    def test_index_loss_teaches_the_indexer_only(self):
        model, ids = small_model(), torch.randint(4096, (2, 40))
        for sparse in (False, True):
            model.zero_grad()
            run = model.run(ids, sparse=sparse, index_loss=True)
            model.trunk(ids, run)
            loss = torch.stack(run.kl).sum()
            self.assertGreater(float(loss.detach()), 0)
            loss.backward()
            for name, p in model.named_parameters():
                if not name.startswith("draft."):
                    moved = p.grad is not None and bool(p.grad.any())
                    self.assertEqual(moved, ".indexer." in name, name)

    def test_many_rows_at_once_or_few(self):
        model, ids = small_model(), torch.randint(4096, (1, 90))
        masks = []
        for rows in (7, 128):
            before, indexer.ROWS = indexer.ROWS, rows
            run = model.run(ids, sparse=True)
            model.trunk(ids, run)
            masks.append(run.masks)
            indexer.ROWS = before
        for one, other in zip(*masks):
            self.assertTrue(torch.equal(one, other))


class Routing(unittest.TestCase):
    def test_bias_moves_against_the_load(self):
        gate = Gate(TINY)
        gate.load.copy_(torch.tensor([9.0, 1, 5, 5, 5, 5]))
        gate.rebalance(0.5)
        self.assertEqual(gate.e_score_correction_bias.tolist(), [-0.5, 0.5, 0, 0, 0, 0])
        self.assertEqual(float(gate.load.sum()), 0)

    def test_choice_and_weights_by_the_rule(self):
        torch.manual_seed(1)
        c, gate, x = Config(), Gate(Config()), torch.randn(300, 256)
        torch.nn.init.normal_(gate.weight, std=0.1)
        gate.e_score_correction_bias.normal_(std=0.3)
        chosen, weights = gate(x)
        for row, scores in enumerate(torch.sigmoid(x @ gate.weight.T).tolist()):
            biased = [score + bias for score, bias in zip(scores, gate.e_score_correction_bias.tolist())]
            groups = sorted(range(c.n_group), key=lambda g: -sum(biased[2 * g : 2 * g + 2]))[: c.topk_group]
            experts = sorted((e for e in range(6) if e // 2 in groups), key=lambda e: -biased[e])[:2]
            self.assertEqual(set(experts), set(chosen[row].tolist()))
            total = sum(scores[e] for e in experts)
            for expert, weight in zip(chosen[row].tolist(), weights[row].tolist()):
                self.assertAlmostEqual(weight, 2.5 * scores[expert] / total, places=5)
        self.assertEqual(float(gate.load.sum()), 600)


class Shipping(unittest.TestCase):
    def test_rounding_in_training_is_that_of_the_export(self):
        torch.manual_seed(2)
        for shape in ((256, 256), (272, 130), (5, 7)):
            weight = torch.randn(shape) * torch.logspace(-4, 3, shape[1])
            codes, scales = export.checkpoint.to_fp8(weight.numpy())
            exported = export.checkpoint.from_fp8(codes.array, scales)
            np.testing.assert_array_equal(fp8.rounded(weight).numpy(), exported)

    def test_checkpoint_is_the_model(self):
        model = small_model()
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            export.write(model, folder, "f32", copies=False)
            index = json.loads((folder / "model.safetensors.index.json").read_text())
            stored = {}
            for file in sorted(set(index["weight_map"].values())):
                stored |= export.checkpoint.plain(export.checkpoint.read(folder / file))
            self.assertEqual(set(stored), set(index["weight_map"]))
            gate_up = model.layers[1].mlp.experts.gate_up.detach().numpy()
            np.testing.assert_array_equal(stored["model.layers.1.mlp.experts.3.up_proj.weight"], gate_up[3, 32:])
            self.assertIn("model.layers.2.self_attn.indexer.k_norm.bias", stored)
            self.assertIn("model.layers.2.shared_head.norm.weight", stored)
            wider = INDEX_HEAD_DIM - TINY.index_head_dim
            added = wider * (TINY.index_n_heads * TINY.q_lora_rank + TINY.hidden_size + 2) * 3
            whole = sum(v.numel() for v in model.state_dict().values())
            self.assertEqual(sum(v.size for v in stored.values()), whole + added)

    def test_wide_index_heads_choose_the_same(self):
        torch.manual_seed(5)
        model = small_model()
        narrow = model.layers[1].self_attn.indexer
        torch.nn.init.normal_(narrow.k_norm.bias)
        name = "model.layers.1.self_attn.indexer."
        tensors, config = export.widened(export.stored(export.named_tensors(model), "fp8"), model.c)
        plain = export.checkpoint.plain(tensors)
        wide = indexer.Indexer(config, Linear)
        wide.load_state_dict({key[len(name) :]: torch.from_numpy(v) for key, v in plain.items() if key.startswith(name)})
        x, cq = torch.randn(1, 50, TINY.hidden_size), torch.randn(1, 50, TINY.q_lora_rank)
        narrow.weights_proj.weight.data = narrow.weights_proj.weight.data.bfloat16().float()
        narrow.wq_b.fake = narrow.wk.fake = True
        with torch.no_grad():
            ours, theirs = (indexer.index_scores(m(x, cq, *model.rope(50, x.device)), 0, 50) for m in (narrow, wide))
        # The one factor: scores are divided by the square root of the width.
        np.testing.assert_allclose(theirs * (config.index_head_dim / TINY.index_head_dim) ** 0.5, ours, rtol=1e-4, atol=1e-5)


class Muon(unittest.TestCase):
    def test_directions_are_nearly_orthogonal(self):
        torch.manual_seed(4)
        for shape in ((3, 40, 64), (2, 64, 40)):
            values = torch.linalg.svdvals(optim.orthogonal(torch.randn(shape)))
            self.assertGreater(float(values.min()), 0.4)
            self.assertLess(float(values.max()), 1.4)


if __name__ == "__main__":
    unittest.main()
