"""Muon for matrices, AdamW for the rest.

torch's own `Muon` takes single matrices only; here matrices of one shape are orthogonalized as one stack,
and stacked experts [E, rows, columns] are E matrices, so that a step costs a few batched products.

Source: Jordan et al., "Muon: an optimizer for hidden layers" (2024); the scale that matches AdamW's update
size is from Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982), section 2.2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_NOT_MATRICES = ("conv1d", "mlp.gate.", "_gate.", "in_proj_ba")
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalize(stack: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration on a stack [n, rows, columns] in bf16: singular values go to about 1."""
    a, b, c = _QUINTIC
    x = stack.bfloat16()
    turned = x.shape[-2] > x.shape[-1]
    if turned:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if turned else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized per matrix. Parameters are [rows, columns] or [n, rows, columns]."""

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.1
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(buffer, group["momentum"])  # Nesterov
                by_shape[p.shape[-2:]].append((p, update))
            for shape, pairs in by_shape.items():
                stack = torch.cat([update.reshape(-1, *shape) for _, update in pairs])
                stack = orthogonalize(stack).float() * (0.2 * max(shape) ** 0.5)
                parts = stack.split([p.numel() // shape.numel() for p, _ in pairs])
                for (p, _), part in zip(pairs, parts, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(part.view_as(p), alpha=-group["lr"])


def build_optimizers(model: nn.Module, lr: float, embedding_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for projections and experts; AdamW for embeddings, router, norms, convolution, decays."""
    matrices, embeddings, rest = [], [], []
    for name, p in model.named_parameters():
        if "embed_tokens" in name or "lm_head" in name:
            embeddings.append(p)
        elif p.ndim >= 2 and not any(part in name for part in _NOT_MATRICES):
            matrices.append(p)
        else:
            rest.append(p)
    adam = torch.optim.AdamW(
        [
            {"params": embeddings, "lr": embedding_lr, "weight_decay": 0.0},
            {"params": rest, "lr": lr, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    return [Muon(matrices, lr=lr), adam]
