"""Muon orthogonalizes each matrix by itself, and every parameter has exactly one optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.training.losses import chunked_cross_entropy
from deltaloom_model.training.optimizers import Muon, build_optimizers, orthogonalize

CONFIG = HybridConfig(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2,
    num_key_value_heads=1, head_dim=16, linear_key_head_dim=8, linear_value_head_dim=8,
    linear_num_key_heads=2, linear_num_value_heads=4, moe_intermediate_size=16,
    shared_expert_intermediate_size=16, num_experts=4, num_experts_per_tok=2, mlp_only_layers=(0,),
)  # fmt: skip


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(24, 24), (16, 64), (64, 16)])
def test_singular_values_go_to_about_one_and_directions_stay(shape: tuple[int, int]) -> None:
    stack = random(1, 3, *shape) * torch.tensor([1.0, 1e-3, 50.0]).view(3, 1, 1)
    found = orthogonalize(stack).float()
    assert found.shape == stack.shape
    for matrix, original in zip(found, stack, strict=True):
        u, _, vh = torch.linalg.svd(original, full_matrices=False)
        turned = u.T @ matrix @ vh.T  # diagonal, if it has the original's directions
        values = turned.diagonal()
        assert values.min() > (0.5 if shape[0] != shape[1] else 0.0), "a square one has values near zero"
        assert values.max() < 1.4
        assert (turned - values.diag()).norm() < 0.1 * values.norm()


def test_matrices_of_a_stack_do_not_touch_one_another() -> None:
    stack = random(2, 4, 12, 20)
    alone = torch.stack([orthogonalize(matrix.unsqueeze(0))[0] for matrix in stack])
    assert (orthogonalize(stack).float() - alone.float()).abs().max() < 0.02  # bf16
    assert orthogonalize(torch.zeros(1, 4, 4)).isfinite().all()


def stepped(gradients: list[Tensor], start: Tensor, **options: float) -> Tensor:
    parameter = nn.Parameter(start.clone())
    optimizer = Muon([parameter], **({"lr": 0.1, "decay": 0.0} | options))
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def test_a_step_goes_against_the_gradient_with_adamws_update_size() -> None:
    gradient, start = random(3, 40, 24), random(4, 40, 24)
    moved = stepped([gradient], start) - start
    assert float((moved * gradient).sum()) < 0.0
    # 0.2 root mean square an element, as AdamW's updates have, whatever the gradient's size.
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.1 * 0.2, rel=0.25)
    again = stepped([1000.0 * gradient], start) - start
    assert (again - moved).norm() < 0.05 * moved.norm()


def test_stacked_experts_move_as_so_many_matrices() -> None:
    gradient, start = random(5, 3, 16, 24), random(6, 3, 16, 24)
    alone = torch.stack([stepped([g], s) for g, s in zip(gradient, start, strict=True)])
    assert (stepped([gradient], start) - alone).norm() < 0.05 * (alone - start).norm()


def test_momentum_remembers_and_decay_shrinks() -> None:
    first, second, start = random(7, 16, 16), random(8, 16, 16), random(9, 16, 16)
    fresh = stepped([second], start)
    after = stepped([first, second], start) - (stepped([first], start) - start)
    assert (after - fresh).abs().max() > 5e-3, "the first gradient still acts in the second step"
    kept = stepped([first], start, decay=0.5) - stepped([first], start)
    assert (kept + 0.1 * 0.5 * start).abs().max() < 1e-5


def test_parameters_without_gradient_stay() -> None:
    still, moving = nn.Parameter(random(1, 8, 8)), nn.Parameter(random(2, 8, 8))
    before = still.detach().clone()
    optimizer = Muon([still, moving], lr=0.1)
    moving.grad = random(3, 8, 8)
    optimizer.step()
    assert torch.equal(still, before)


def test_every_parameter_has_one_optimizer_and_only_projections_go_to_muon() -> None:
    model = HybridModel(CONFIG)
    muon, adam = build_optimizers(model, lr=0.02, embedding_lr=0.005)
    names = {id(p): name for name, p in model.named_parameters()}

    def of(groups: list[dict[str, object]]) -> list[str]:
        return [names[id(p)] for group in groups for p in group["params"]]  # type: ignore[attr-defined]

    assert sorted(of(muon.param_groups) + of(adam.param_groups)) == sorted(names.values())
    wanted = ("_proj.weight", "in_proj_qkvz.weight", "experts.gate_up_proj", "experts.down_proj")
    assert all(name.endswith(wanted) for name in of(muon.param_groups))
    assert not any(name.endswith(wanted) for name in of(adam.param_groups))
    embeddings, rest = adam.param_groups
    assert of([embeddings]) == ["model.embed_tokens.weight", "lm_head.weight"]
    assert (embeddings["lr"], rest["lr"]) == (0.005, 0.02)
    assert embeddings["weight_decay"] == rest["weight_decay"] == 0.0


def test_together_they_learn_a_sequence() -> None:
    torch.manual_seed(0)
    model = HybridModel(CONFIG)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim >= 2:
                p.normal_(0.0, 0.05)
    ids = torch.randint(0, 64, (2, 40), generator=torch.Generator().manual_seed(1))
    optimizers = build_optimizers(model, lr=0.01, embedding_lr=0.01)
    losses = []
    for _ in range(25):
        hidden = model(ids[:, :-1])
        loss = chunked_cross_entropy(hidden.flatten(0, 1), model.lm_head.weight, ids[:, 1:].flatten())
        loss.backward()
        losses.append(loss.item())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert losses[0] == pytest.approx(4.16, abs=0.2), "log 64: it begins by knowing nothing"
    assert losses[-1] < 1.0
