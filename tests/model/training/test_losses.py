"""The chunked loss and its gradients equal torch's; load balance says what the paper's formula says."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deltaloom_model.training.losses import chunked_cross_entropy, load_balance

VOCABULARY, WIDTH = 300, 32


def inputs(rows: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states and head that bf16 holds exactly, so only products round; every fifth target is -1."""
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, WIDTH, generator=generator).mul(scale).bfloat16().float()
    head = torch.randn(VOCABULARY, WIDTH, generator=generator).mul(0.3).bfloat16().float()
    targets = torch.randint(0, VOCABULARY, (rows,), generator=generator)
    targets[::5] = -1
    return hidden.requires_grad_(), head.requires_grad_(), targets


def relative(found: Tensor | None, expected: Tensor | None) -> float:
    assert found is not None
    assert expected is not None
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("rows", [40, 511, 512, 513, 1300])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_loss_and_gradients_equal_torchs(rows: int, scale: float) -> None:
    hidden, head, targets = inputs(rows, scale)
    loss = chunked_cross_entropy(hidden, head, targets)
    (3.0 * loss).backward()

    exact_hidden, exact_head = (x.detach().double().requires_grad_() for x in (hidden, head))
    exact = F.cross_entropy(exact_hidden @ exact_head.T, targets, ignore_index=-1)
    (3.0 * exact).backward()
    # Logits are rounded to bf16's 8 bits: by up to 0.03 where they reach 10, by up to 0.2 where 80.
    assert loss.item() == pytest.approx(exact.item(), rel=5e-3)
    assert relative(hidden.grad, exact_hidden.grad) < (1e-2 if scale == 1.0 else 3e-2)
    assert relative(head.grad, exact_head.grad) < (1e-2 if scale == 1.0 else 3e-2)


def test_rows_left_out_get_no_gradient_and_do_not_count() -> None:
    hidden, head, targets = inputs(600)
    loss = chunked_cross_entropy(hidden, head, targets)
    loss.backward()
    assert hidden.grad is not None
    assert not hidden.grad[targets < 0].any()
    assert hidden.grad[targets >= 0].any(1).all()
    kept = targets >= 0
    only = chunked_cross_entropy(hidden.detach()[kept], head.detach(), targets[kept])
    assert loss.item() == pytest.approx(only.item(), rel=1e-4)


def test_no_target_at_all_is_a_loss_of_zero() -> None:
    hidden, head, targets = inputs(10)
    loss = chunked_cross_entropy(hidden, head, torch.full_like(targets, -1))
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_large_logits_do_not_overflow() -> None:
    hidden, head, targets = inputs(40, scale=1000.0)
    loss = chunked_cross_entropy(hidden, head, targets)
    loss.backward()
    exact = F.cross_entropy(hidden.double() @ head.double().T, targets, ignore_index=-1)
    assert loss.item() == pytest.approx(exact.item(), rel=5e-3)
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()


def routing(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return logits, logits.topk(count, -1).indices


@pytest.mark.parametrize("count", [1, 2, 3])
def test_even_routing_balances_at_one(count: int) -> None:
    tokens, experts = 120, 6
    chosen = torch.arange(tokens * count).reshape(tokens, count) % experts
    assert float(load_balance([(torch.zeros(tokens, experts), chosen)])) == pytest.approx(1.0)


def test_routing_all_to_one_expert_costs_the_number_of_experts() -> None:
    logits = torch.zeros(50, 4)
    logits[:, 2] = 100.0
    assert float(load_balance([routing(logits, 1)])) == pytest.approx(4.0)
    even = torch.arange(50).unsqueeze(1) % 4
    mean = load_balance([routing(logits, 1), (torch.zeros(48, 4), even[:48])])
    assert mean.item() == pytest.approx(2.5), "the mean over layers"


def test_equals_the_papers_formula_and_pushes_towards_balance() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(200, 5, generator=generator) + torch.tensor([2.0, 0.0, 0.0, 0.0, -1.0])
    logits.requires_grad_()
    given = routing(logits, 2)
    loss = load_balance([given])
    shares = [float((given[1] == expert).any(1).float().mean()) for expert in range(5)]
    means = logits.softmax(-1).mean(0).tolist()
    expected = 5 * sum(share * mean for share, mean in zip(shares, means, strict=True)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() > 1.2
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[:, 0].mean() > 0 > logits.grad[:, 4].mean(), "the crowded expert's logit goes down"
