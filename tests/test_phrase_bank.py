"""The phrase bank's known answers, checked by enumeration and simulation."""

from __future__ import annotations

import math
import random

import pytest

from hdiff.data.sources.builtin import PHRASES
from hdiff.languages.phrase_bank import entropy_per_token, factorised_ceiling, valid_phrase_rate

PAIRS = (("a", "x"), ("b", "y"))


def test_entropy_of_the_bank() -> None:
    assert entropy_per_token(PHRASES) == pytest.approx(math.log(16) / 4)
    assert len({word for phrase in PHRASES for word in phrase}) == 32


def test_valid_rate_counts_aligned_groups() -> None:
    assert valid_phrase_rate(["a x b y", "a y"], PAIRS) == pytest.approx(2 / 3)
    assert valid_phrase_rate(["a x b"], PAIRS) == 0.5
    assert valid_phrase_rate([], PAIRS) == 0.0


def test_ceiling_of_two_word_phrases_is_known_in_closed_form() -> None:
    """At one step both words are drawn alone: right with 1/2. At N steps the second follows the first."""
    assert factorised_ceiling(PAIRS, 4, 1) == pytest.approx(0.5)
    assert factorised_ceiling(PAIRS, 4, 4) == pytest.approx(1.0)
    # Two steps of two of four tokens: the partner falls into the same step with probability 1/3.
    assert factorised_ceiling(PAIRS, 4, 2) == pytest.approx(1 / 3 * 0.5 + 2 / 3)


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_ceiling_agrees_with_simulating_the_oracle(num_steps: int) -> None:
    generator = random.Random(0)
    num_tokens, trials, valid = 32, 1500, 0
    for _ in range(trials):
        order = list(range(num_tokens))
        generator.shuffle(order)
        step_of = {token: rank * num_steps // num_tokens for rank, token in enumerate(order)}
        drawn: dict[int, str] = {}
        for step in range(num_steps):
            here = [i for i in range(4) if step_of[i] == step]
            consistent = [p for p in PHRASES if all(p[i] == word for i, word in drawn.items())]
            if not consistent:
                break
            drawn.update({i: generator.choice(consistent)[i] for i in here})
        valid += tuple(drawn.get(i) for i in range(4)) in PHRASES
    ceiling = factorised_ceiling(PHRASES, num_tokens, num_steps)
    spread = math.sqrt(max(ceiling * (1 - ceiling), 1e-3) / trials)
    assert abs(valid / trials - ceiling) < 4 * spread


def test_ceiling_rises_with_the_number_of_steps() -> None:
    ceilings = [factorised_ceiling(PHRASES, 32, steps) for steps in (1, 2, 4, 8, 16, 32, 64)]
    assert ceilings == sorted(ceilings)
    assert ceilings[0] < 0.002
    assert ceilings[-1] == pytest.approx(1.0)
