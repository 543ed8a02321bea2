"""TokenRates: one learned masking speed per entry of the vocabulary.

Dimensions: V vocabulary, P positions.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from hdiff.errors import DataError


@final
class TokenRates(nn.Module):
    """Speeds k_v > 0 of the tokens v, parameters of the model they belong to.

    `log k_v = R tanh(theta_v / R)` less its mean over the vocabulary, with R half of log `max_ratio`: no two
    speeds are further apart than `max_ratio`, however long the training, and a common factor, which would
    change nothing but the clock, does not exist. All are 1 at first.

    Args:
        vocab_size: Vocabulary V.
        max_ratio: Fastest over slowest speed, at most; > 1.
    """

    def __init__(self, vocab_size: int, *, max_ratio: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(vocab_size))
        self.reach = 0.5 * math.log(check_max_ratio(max_ratio))

    @property
    def log_speed(self) -> Tensor:
        """log k of every token, float64 (V,)."""
        bounded = self.reach * torch.tanh(self.theta.double() / self.reach)
        # The bound is the same for all common factors, so the mean needs no gradient; with one, rounding
        # errors would move the tokens a batch does not hold.
        return bounded - bounded.mean().detach()

    @torch.no_grad()
    def set_speeds(self, k: Tensor) -> None:
        """Sets the speeds, > 0, float (V,), up to a common factor."""
        log_k = k.double().log()
        centred = log_k - 0.5 * (log_k.max() + log_k.min())
        if k.shape != self.theta.shape or not bool((centred.abs() < self.reach).all()):
            raise DataError(
                f"k has shape {tuple(k.shape)} and a ratio of {float(k.max() / k.min()):g}; give "
                f"{len(self.theta)} speeds > 0 with a ratio below {math.exp(2 * self.reach):g}"
            )
        self.theta.copy_(self.reach * torch.atanh(centred / self.reach))

    def next_token(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Which token comes next, from what a hidden one may be.

        With mu the softmax of the scores, position i is revealed as v at a rate that is `k_v mu_i(v) / t`.
        Source: arXiv:2406.04329 (GenMD4); docs/concepts.md, "learned speeds".

        Args:
            scores: Scores of hidden tokens, float (..., V).

        Returns:
            Scores of the tokens if their position is the next one, (..., V), and the log of its expected
            speed `sum_v k_v mu_i(v)`, (...).
        """
        scores = scores.float()
        tilted = scores + self.log_speed.to(scores.dtype)
        return tilted, tilted.logsumexp(-1) - scores.logsumexp(-1)


def check_max_ratio(max_ratio: float) -> float:
    """Returns `max_ratio`, or raises DataError if it is not a number > 1."""
    if not 1 < max_ratio < float("inf"):
        raise DataError(
            f"max_ratio is {max_ratio}; it is the fastest over the slowest speed at most, a number > 1"
        )
    return float(max_ratio)
