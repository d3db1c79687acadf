"""Muon for the matrices inside the layers, AdamW for everything else."""

import torch

# Five steps of Newton and Schulz's iteration towards the nearest orthogonal matrix, coefficients of Jordan et al. 2024.
STEPS, A, B, C = 5, 3.4445, -4.7750, 2.0315


@torch.no_grad()
def orthogonal(g):
    """g [n, rows, columns] -> matrices of the same singular vectors, singular values near 1."""
    x = g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(STEPS):
        square = x @ x.mT
        x = A * x + (B * square + C * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Parameters of one shape are taken together, so that a step is few large products."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.01, bf16=False):
        self.bf16 = bf16
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape[-2:], []).append(p)
            for shape, params in shapes.items():
                self.update(group, shape, params)

    def update(self, group, shape, params):
        beta, directions = group["momentum"], []
        for p in params:
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - beta)
            directions.append(p.grad.lerp(state["momentum"], beta).reshape(-1, *shape))
        whole = torch.cat(directions)
        if self.bf16:
            whole = whole.bfloat16()
        # A tall matrix needs a longer step for the same change of its output.
        lr = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
        for p, direction in zip(params, orthogonal(whole).split([len(d) for d in directions])):
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction.view(p.shape).to(p.dtype), alpha=-lr)


def build(model, rates, bf16=False):
    """[Muon, AdamW]; each group knows its rate at full speed as `base`."""
    matrices, embedding, indexer, rest = [], [], [], []
    for name, p in model.named_parameters():
        if ".indexer." in name:
            indexer.append(p)
        elif name == "embed_tokens.weight":
            embedding.append(p)
        elif p.dim() >= 2 and name != "lm_head.weight" and not name.endswith("mlp.gate.weight"):
            matrices.append(p)
        else:
            rest.append(p)
    muon = Muon([dict(params=matrices, name="matrices")], lr=rates["matrices"], bf16=bf16)
    adam = torch.optim.AdamW(
        [
            dict(params=embedding, lr=rates["embedding"], name="embedding"),
            dict(params=rest, lr=rates["rest"], name="rest"),
            dict(params=indexer, lr=rates["indexer"], name="indexer"),
        ],
        betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0,
    )  # fmt: skip
    for optimiser in (muon, adam):
        for group in optimiser.param_groups:
            group["base"] = group["lr"]
    return [muon, adam]


def set_rate(optimisers, factor):
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * factor
