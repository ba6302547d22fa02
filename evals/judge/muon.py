"""The Muon optimizer for kernels and matrices: half the steps of AdamW for these small networks.

Each update is the momentum with all its singular values brought near 1, so that no direction of a
layer learns much faster than another (Jordan 2024, https://kellerjordan.github.io/posts/muon/).
PyTorch's own takes matrices alone; here a convolution's kernel is a matrix too, one row for each
channel that it makes. What it measured here stands in docs/log.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def orthogonalised(matrix: Float[Tensor, "N M"], steps: int = 5) -> Float[Tensor, "N M"]:
    """A matrix with the same singular vectors, and singular values of about 0.7 to 1.2.

    Source: the quintic Newton-Schulz iteration of the post above, in bf16.
    """
    x = matrix.to(torch.bfloat16)
    x = x / (x.norm() + 1e-7)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if is_tall else x).float()


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    Args:
        params: Of two dimensions or more; those after the first are one.
        lr: Learning rate.
        momentum: Share of the old momentum kept in a step.
        weight_decay: Part of the weights, times `lr`, taken off in a step.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(state["momentum"], group["momentum"])
                rows = ahead.flatten(1)
                scale = max(1.0, rows.shape[0] / rows.shape[1]) ** 0.5
                update = orthogonalised(rows).view_as(parameter)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * scale)


def optimizers_of(model: nn.Module, lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for kernels and matrices, AdamW for embeddings and what has one dimension.

    Args:
        model: Whose parameters to train.
        lr: Muon's peak rate.
        adam_lr: AdamW's.
    """
    tables = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    sides: tuple[list, list] = ([], [])
    for parameter in model.parameters():
        sides[parameter.ndim > 1 and id(parameter) not in tables].append(parameter)
    adam = torch.optim.AdamW(sides[0], lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    made: list[torch.optim.Optimizer] = [adam, Muon(sides[1], lr)]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return made
