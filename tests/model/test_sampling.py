"""Greedy and sampled choice, and the digest that shows whether a change reached the model."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from deltaloom_model.sampling import choose, logits_digest, top_tokens

LOGITS = torch.tensor([0.0, 2.0, -1.0, 2.0, 1.0])
MASS = sum(math.exp(x) for x in LOGITS.tolist())


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(temperature: float, seed: int, count: int = 400) -> list[int]:
    generator = seeded(seed)
    return [choose(LOGITS, temperature, generator)[0] for _ in range(count)]


def test_temperature_zero_is_the_largest_logit_and_ties_go_to_the_lowest_id() -> None:
    token, logprob = choose(LOGITS, 0.0, None)
    assert token == 1
    assert logprob == pytest.approx(2.0 - math.log(MASS), abs=1e-6)
    assert choose(LOGITS, 0.0, seeded(1))[0] == 1


def test_a_seed_makes_sampling_reproducible() -> None:
    assert drawn(1.0, 3) == drawn(1.0, 3)
    assert drawn(1.0, 3) != drawn(1.0, 4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_tokens_come_as_often_as_their_probability_at_that_temperature(temperature: float) -> None:
    count = 4000
    counts = Counter(drawn(temperature, 7, count))
    expected = torch.softmax(LOGITS / temperature, 0)
    for token, probability in enumerate(expected.tolist()):
        assert counts[token] / count == pytest.approx(probability, abs=0.03)


def test_logprob_is_at_temperature_one_whatever_was_sampled_with() -> None:
    generator = seeded(5)
    for _ in range(20):
        token, logprob = choose(LOGITS, 4.0, generator)
        assert logprob == pytest.approx(float(LOGITS[token]) - math.log(MASS), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_candidates_are_chosen_with_their_probability_among_them(temperature: float) -> None:
    candidates = torch.tensor([0, 2, 4])
    mass = sum(math.exp(LOGITS[token]) for token in (0, 2, 4))
    generator = seeded(1)
    for _ in range(50):
        token, logprob = choose(LOGITS, temperature, generator, candidates)
        assert token in {0, 2, 4}
        assert logprob == pytest.approx(float(LOGITS[token]) - math.log(mass), abs=1e-6)
    assert choose(LOGITS, 0.0, None, candidates)[0] == 4


def test_top_tokens_come_best_first_with_their_logprobs() -> None:
    found = top_tokens(torch.tensor([0.0, 3.0, 1.0, 2.0]), 3)
    assert [token for token, _ in found] == [1, 3, 2]
    mass = math.log(sum(math.exp(x) for x in (0.0, 3.0, 1.0, 2.0)))
    assert [logprob for _, logprob in found] == pytest.approx([3.0 - mass, 2.0 - mass, 1.0 - mass], abs=1e-6)


def test_the_digest_is_equal_exactly_when_the_logits_are() -> None:
    assert logits_digest(LOGITS) == logits_digest(LOGITS.clone())
    moved = LOGITS.clone()
    moved[2] = torch.nextafter(moved[2], torch.tensor(0.0))
    assert logits_digest(moved) != logits_digest(LOGITS)
    strided = torch.stack([LOGITS, moved], 1)[:, 0]
    assert not strided.is_contiguous()
    assert logits_digest(strided) == logits_digest(LOGITS)
    assert logits_digest(LOGITS.double()) == logits_digest(LOGITS), "of the fp32 values"
    assert len(logits_digest(LOGITS)) == 32
