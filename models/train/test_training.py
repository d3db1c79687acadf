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
import finish
import indexer
import optim
import recipe
import rounding
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

    def test_after_a_warmup_of_indexers_the_rate_rises_once_more(self):
        rule = dataclasses.replace(
            recipe.PRESETS["tiny"], steps=dict(dense=0, warmup=4, sparse=9), rise=2, cooldown=3, warmup_lengths={8192: 1}
        )
        self.assertEqual([rule.rate("warmup", step) for step in range(4)], [0.5, 1, 1, 1])
        self.assertEqual([rule.rate("sparse", step) for step in range(3)], [0.5, 1, 1])
        self.assertEqual(rule.length(1, "warmup", 0), 8192)
        self.assertIn(rule.length(1, "sparse", 0), (64, 128))

    def test_every_so_many_steps_see_weights_coarser(self):
        with tempfile.TemporaryDirectory() as folder:
            run = self.beginning(pathlib.Path(folder))
            run.recipe = dataclasses.replace(run.recipe, coarse_every=6)
            seen = []
            with unittest.mock.patch("model.fake_bits", lambda weight, bits: seen.append((run.step, bits, len(weight))) or weight):
                while run.settle():
                    run.one()
            self.assertEqual({step for step, _, _ in seen}, {3})
            # The embedding and the head, too.
            self.assertEqual([bits for _, bits, rows in seen if rows == run.recipe.config.vocab_size], [4, 4])
            self.assertFalse(any(m.coarse for m in run.model.modules() if hasattr(m, "coarse")))
            self.assertEqual({bits for _, bits, _ in seen}, {2, 3, 4})

    def test_the_model_seen_coarser_is_held_to_itself(self):
        def same(bits):
            with tempfile.TemporaryDirectory() as folder, unittest.mock.patch("model.fake_bits", bits):
                run = self.beginning(pathlib.Path(folder))
                run.recipe = dataclasses.replace(run.recipe, coarse_every=6, same_weight=1.0)
                records = []
                while run.settle():
                    records.append(run.one())
            self.assertEqual([record["step"] for record in records if "same" in record], [4])
            return next(record["same"] for record in records if "same" in record)

        self.assertGreater(same(rounding.fake_bits), 0.001)
        self.assertEqual(same(lambda weight, bits: weight), 0)


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

    def test_mass_on_keys_that_are_not_chosen_teaches_the_attention_only(self):
        model, ids = small_model(), torch.randint(4096, (2, 40))
        run = model.run(ids, sparse=True, index_loss=True, lost_mass=True)
        model.trunk(ids, run)
        self.assertEqual(len(run.lost), model.c.num_hidden_layers)
        self.assertTrue(all(0 < float(share.detach()) < 1 for share in run.lost))
        torch.stack(run.lost).sum().backward()
        moved = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        self.assertFalse([name for name in moved if ".indexer." in name])
        self.assertIn("layers.1.self_attn.q_b_proj.weight", moved)
        # Where all is chosen, nothing is lost.
        run = model.run(ids[:, : TINY.index_topk], sparse=True, index_loss=True, lost_mass=True)
        model.trunk(ids[:, : TINY.index_topk], run)
        self.assertEqual(run.lost, [])

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
            np.testing.assert_array_equal(rounding.rounded(weight).numpy(), exported)

    def test_few_bits_keep_the_ends_of_each_sixteen_and_gradients_pass(self):
        torch.manual_seed(3)
        weight = torch.randn(3, 5, 32, requires_grad=True)
        seen = rounding.fake_bits(weight, 2)
        blocks, before = seen.detach().unflatten(-1, (-1, 16)), weight.detach().unflatten(-1, (-1, 16))
        for ours, theirs in zip(blocks.flatten(0, -2), before.flatten(0, -2), strict=True):
            self.assertLessEqual(len(ours.mul(1e4).round().unique()), 4)
            torch.testing.assert_close(torch.stack((ours.min(), ours.max())), torch.stack((theirs.min(), theirs.max())))
            self.assertLessEqual(float((ours - theirs).abs().max()), float(theirs.max() - theirs.min()) / 6 * 1.001)
        seen.sum().backward()
        torch.testing.assert_close(weight.grad, torch.ones_like(weight))

    def test_the_mean_of_two_states_lies_between_them(self):
        first, last = (dict(weight=torch.full((2, 3), value), count=torch.tensor(step)) for value, step in ((1.0, 7), (2.0, 9)))
        between = finish.mean(first, last, 0.25)
        torch.testing.assert_close(between["weight"], torch.full((2, 3), 1.25))
        self.assertEqual(int(between["count"]), 9)

    def test_a_folded_temperature_divides_the_logits_and_no_more(self):
        model, ids = small_model(), torch.randint(4096, (1, 20))
        logits = lambda: (model.lm_head(model.trunk(ids, run := model.run(ids))), model.lm_head(model.drafted(ids, model.trunk(ids, run), run)))
        with torch.no_grad():
            before = logits()
            numbers = model.state_dict()
            self.assertLessEqual(set(finish.LAST_NORMS), set(numbers))
            model.load_state_dict(finish.at_temperature(numbers, 0.5))
            for ours, theirs in zip(logits(), before, strict=True):
                torch.testing.assert_close(ours, 2 * theirs, rtol=1e-4, atol=1e-5)

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
