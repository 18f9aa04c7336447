"""The training loss: cross-entropy over the vocabulary in row chunks, and load balance over experts.

Invariant: the full [tokens, vocabulary] logits never exist at once; gradients are made with the loss, chunk
by chunk, and equal those of `F.cross_entropy` up to bf16 rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ROWS = 512


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        low = head.detach().bfloat16()
        count = (targets >= 0).sum().clamp(min=1)
        grad_hidden = torch.empty_like(hidden)
        grad_head = torch.zeros_like(head, dtype=torch.float32)
        total = hidden.new_zeros((), dtype=torch.float32)
        # Buffers of one chunk, reused: fresh pages for every chunk cost more than the products.
        probs = hidden.new_empty((min(_ROWS, hidden.shape[0]), head.shape[0]), dtype=torch.float32)
        narrow = torch.empty_like(probs, dtype=torch.bfloat16)
        for start in range(0, hidden.shape[0], _ROWS):
            rows, target = hidden[start : start + _ROWS].bfloat16(), targets[start : start + _ROWS]
            keep = (target >= 0).unsqueeze(-1)
            index = target.clamp(min=0).unsqueeze(-1)
            size = rows.shape[0]
            torch.mm(rows, low.t(), out=narrow[:size])
            p = probs[:size].copy_(narrow[:size])
            p -= p.amax(-1, keepdim=True)
            chosen = p.gather(1, index)
            mass = p.exp_().sum(-1, keepdim=True)
            total += ((mass.log() - chosen) * keep).sum()
            p *= keep / (mass * count)
            p.scatter_add_(1, index, -(keep / count).to(p.dtype))
            grad = narrow[:size].copy_(p)
            grad_hidden[start : start + _ROWS] = (grad @ low).to(hidden.dtype)
            grad_head += (grad.t() @ rows).float()
        ctx.save_for_backward(grad_hidden, grad_head)
        return total / count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        return grad_hidden * grads[0], grad_head * grads[0], None


def chunked_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of hidden [N, hidden] x head [vocabulary, hidden] at targets [N]; -1 is left out."""
    out: Tensor = _ChunkedCrossEntropy.apply(hidden, head, targets)
    return out


def load_balance(routing: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Experts * sum of (share of tokens chosen * mean probability), mean over layers; 1 per choice is even.

    Source: Fedus et al., "Switch Transformers" (arXiv 2101.03961), section 2.2.
    """
    losses = []
    for logits, chosen in routing:
        experts = logits.shape[-1]
        share = torch.bincount(chosen.flatten(), minlength=experts).float() / chosen.shape[0]
        losses.append(experts * (share * logits.float().softmax(-1).mean(0)).sum() / chosen.shape[1])
    return torch.stack(losses).mean()
