"""Sampling: truncation in the order banned, temperature, top-k, top-p; errors."""

from __future__ import annotations

import pytest
import torch

from hdiff.errors import DataError
from hdiff.heads import AS_IT_IS, GREEDY, Sampling

PROBABILITY = torch.tensor([0.5, 0.2, 0.2, 0.1])


def frequencies(sampling: Sampling, generator: torch.Generator) -> torch.Tensor:
    logits = PROBABILITY.log().expand(40_000, -1)
    return torch.bincount(sampling.draw(logits, generator=generator), minlength=4) / 40_000


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [0.5, 0.2, 0.2, 0.1]),
        (Sampling(top_k=1), [1.0, 0.0, 0.0, 0.0]),
        (Sampling(top_k=3), [5 / 9, 2 / 9, 2 / 9, 0.0]),
        (Sampling(top_p=0.5), [1.0, 0.0, 0.0, 0.0]),
        (Sampling(top_p=0.85), [5 / 9, 2 / 9, 2 / 9, 0.0]),
        (Sampling(top_p=0.95), [0.5, 0.2, 0.2, 0.1]),
        (Sampling(banned=(0,)), [0.0, 0.4, 0.4, 0.2]),
        (Sampling(banned=(0,), top_k=2), [0.0, 0.5, 0.5, 0.0]),
        (Sampling(temperature=0.5), [25 / 34, 4 / 34, 4 / 34, 1 / 34]),
        (Sampling(temperature=0.5, top_p=0.8), [25 / 29, 4 / 29, 0.0, 0.0]),
    ],
)
def test_values_are_drawn_from_the_truncated_distribution(
    sampling: Sampling, expected: list[float], generator: torch.Generator
) -> None:
    found = frequencies(sampling, generator)
    if sampling.top_p == 0.8:  # either of two equally likely values may stay
        found = torch.tensor([found[0], found[1] + found[2], 0.0, found[3]])
    assert torch.allclose(found, torch.tensor(expected), atol=0.012)
    assert bool((found[torch.tensor(expected) == 0] == 0).all())


def test_only_the_model_itself_is_exact() -> None:
    assert AS_IT_IS.is_exact
    assert Sampling(top_p=1.0).is_exact
    for other in (GREEDY, Sampling(temperature=0.9), Sampling(top_p=0.9), Sampling(banned=(1,))):
        assert not other.is_exact


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"banned": (-1,)}, "banned holds -1"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Sampling(**options)  # type: ignore[arg-type]


def test_banning_everything_is_refused() -> None:
    with pytest.raises(DataError, match="leave one"):
        Sampling(banned=(0, 1, 2, 3)).draw(PROBABILITY.log())
    with pytest.raises(DataError, match="leave one"):
        Sampling(banned=(4,)).draw(PROBABILITY.log())
