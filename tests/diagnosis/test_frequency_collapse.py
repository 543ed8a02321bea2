"""Frequency collapse: figures of models whose predictions are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from toy_masked_models import Everywhere, subject_of

from hdiff.diagnosis import measure_frequency_collapse
from hdiff.errors import DataError

V = 20
UNIGRAM = torch.arange(1, V + 1, dtype=torch.float64).div(V * (V + 1) / 2).log()
ROWS = [[(7 * row + 3 * place) % V for place in range(12)] for row in range(5)]


@dataclass(frozen=True)
class Fading:
    """Behind text that ends in token k, k itself has a share that halves with every token of distance."""

    vocab_size: int = V
    mask_id: int = V

    def log_probs(self, x_t: Tensor, token_mask: Tensor) -> Tensor:
        found = UNIGRAM.exp().repeat(*x_t.shape, 1)
        for row, tokens in enumerate(x_t.tolist()):
            hidden = [place for place, token in enumerate(tokens) if token == V]
            for place in hidden:
                share = 0.5 ** (place - hidden[0] + 1)
                found[row, place] *= 1 - share
                found[row, place, tokens[hidden[0] - 1]] += share
        return found.log()


def test_a_model_that_predicts_the_unigram_distribution_has_no_distance_from_it() -> None:
    found = measure_frequency_collapse(subject_of(Everywhere(UNIGRAM)), ROWS, UNIGRAM, masks=8)
    assert found.distance == list(range(1, 9))
    assert (found.prefixes, found.prefix_tokens) == (5, 4)
    assert found.kl_to_unigram == pytest.approx([0] * 8, abs=1e-12)
    assert found.half_distance is None
    assert found.prefix_information == pytest.approx([0] * 8, abs=1e-12)
    assert found.entropy == pytest.approx([found.unigram_entropy] * 8)
    assert found.true_nats == pytest.approx(found.unigram_nats)
    assert found.top10_share == [1.0] * 8


def test_a_model_that_knows_nothing_is_as_far_as_the_uniform_distribution() -> None:
    uniform = torch.full((V,), -math.log(V), dtype=torch.float64)
    found = measure_frequency_collapse(subject_of(Everywhere(uniform)), ROWS, UNIGRAM, masks=8)
    expected = -math.log(V) - float(UNIGRAM.mean())
    assert found.kl_to_unigram == pytest.approx([expected] * 8)
    assert found.kl_stderr == pytest.approx([0] * 8, abs=1e-9)
    assert found.half_distance is None
    assert (found.kl_near, found.kl_far) == pytest.approx((expected, expected))
    assert found.prefix_information == pytest.approx([0] * 8, abs=1e-9)
    assert found.mean_to_unigram == pytest.approx([expected] * 8)


def test_fading_predictions_collapse_at_the_known_rate() -> None:
    found = measure_frequency_collapse(subject_of(Fading()), ROWS, UNIGRAM, masks=8)
    u = UNIGRAM.exp()
    ends = [row[3] for row in ROWS]
    for distance in found.distance:
        share = 0.5**distance
        kl = []
        for end in ends:
            p = (1 - share) * u
            p[end] += share
            kl.append(float((p * (p / u).log()).sum()))
        assert found.kl_to_unigram[distance - 1] == pytest.approx(sum(kl) / 5)
        assert found.kl_stderr[distance - 1] == pytest.approx(
            float(torch.tensor(kl, dtype=torch.float64).std() / math.sqrt(5))
        )
    assert found.kl_to_unigram == sorted(found.kl_to_unigram, reverse=True)
    first = next(d for d in found.distance if found.kl_to_unigram[d - 1] <= found.kl_near / 2)
    assert found.half_distance == first
    assert 1 < first < 8


def test_distance_is_what_the_prefix_tells_and_what_the_mean_keeps() -> None:
    """KL(p_n || u) averaged over n = H(mean) - mean H + KL(mean || u)."""
    found = measure_frequency_collapse(subject_of(Fading()), ROWS, UNIGRAM, masks=8)
    parts = zip(found.prefix_information, found.mean_to_unigram, strict=True)
    assert found.kl_to_unigram == pytest.approx([tells + rest for tells, rest in parts])
    assert found.prefix_information[0] > 10 * found.prefix_information[-1] > 0


def test_a_value_without_probability_counts_nothing() -> None:
    """Models of transformers give their mask token none."""
    log_p = UNIGRAM.clone()
    log_p[0] = -torch.inf
    log_p = log_p.log_softmax(-1)
    found = measure_frequency_collapse(subject_of(Everywhere(log_p)), ROWS, UNIGRAM, masks=8)
    assert found.kl_to_unigram == pytest.approx([-math.log1p(-float(UNIGRAM[0].exp()))] * 8)


@pytest.mark.parametrize(("count", "masks"), [(1, 4), (0, 4), (5, 0), (5, 12)])
def test_impossible_numbers_are_refused(count: int, masks: int) -> None:
    with pytest.raises(DataError, match="standard errors need 2 prefixes"):
        measure_frequency_collapse(subject_of(Everywhere(UNIGRAM)), ROWS[:count], UNIGRAM, masks=masks)
