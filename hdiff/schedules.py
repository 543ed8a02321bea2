"""Schedules: the probability p_mask(t) = 1 - alpha(t) that a unit is masked at time t.

All run from p_mask(0) = 0 to p_mask(1) = 1 exactly, so the weights below give a bound without a
left-over prior or reconstruction term; `log_linear` ends at 1 - eps (see there).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from hdiff.errors import RecipeError


class Schedule(ABC):
    """Monotone map of time to masking probability."""

    @abstractmethod
    def p_mask(self, t: Tensor) -> Tensor:
        """Masking probability.

        Args:
            t: Times in [0, 1], float, any shape.

        Returns:
            p_mask(t) in [0, 1], same shape.
        """

    @abstractmethod
    def derivative(self, t: Tensor) -> Tensor:
        """d p_mask / dt at times t in (0, 1], same shape."""

    @abstractmethod
    def time(self, p_mask: Tensor) -> Tensor:
        """Inverse of `p_mask`: the time at which a probability is reached, same shape."""

    @property
    def end(self) -> float:
        """p_mask(1): below 1, some units are never masked."""
        return float(self.p_mask(torch.ones((), dtype=torch.float64)))

    def reverse_hazard(self, t: Tensor) -> Tensor:
        """p_mask'(t) / p_mask(t): the weight of a unit masked at time t.

        Source: arXiv:2406.07524, eq. 10, where it reads -alpha'(t) / (1 - alpha(t)).
        """
        return self.derivative(t) / self.p_mask(t)


@final
class LinearSchedule(Schedule):
    """alpha(t) = 1 - t. Source: arXiv:2406.07524 (log-linear noise with eps = 0)."""

    def p_mask(self, t: Tensor) -> Tensor:
        return t

    def derivative(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def time(self, p_mask: Tensor) -> Tensor:
        return p_mask


@final
class CosineSchedule(Schedule):
    """alpha(t) = 1 - cos(pi/2 (1 - t)). Source: arXiv:2406.04329, table 4 (MD4)."""

    def p_mask(self, t: Tensor) -> Tensor:
        return torch.cos(math.pi / 2 * (1 - t))

    def derivative(self, t: Tensor) -> Tensor:
        return math.pi / 2 * torch.sin(math.pi / 2 * (1 - t))

    def time(self, p_mask: Tensor) -> Tensor:
        return 1 - 2 / math.pi * torch.arccos(p_mask)


@final
class PolynomialSchedule(Schedule):
    """alpha(t) = 1 - t^k, reverse hazard k / t. Source: arXiv:2406.04329, table 4.

    Args:
        k: Exponent, > 0; 1 is linear.
    """

    def __init__(self, k: float = 2.0) -> None:
        if not 0.001 <= k < float("inf"):
            raise RecipeError(
                f"polynomial schedule has k = {k}; give a number of at least 0.001 (1 is linear)"
            )
        self.k = k

    def p_mask(self, t: Tensor) -> Tensor:
        return t**self.k

    def derivative(self, t: Tensor) -> Tensor:
        return self.k * t ** (self.k - 1)

    def time(self, p_mask: Tensor) -> Tensor:
        return p_mask ** (1 / self.k)


@final
class LogLinearSchedule(Schedule):
    """alpha(t) = 1 - (1 - eps) t, noise -log(1 - (1 - eps) t). Source: arXiv:2406.07524, eps = 1e-3.

    It ends at p_mask(1) = 1 - eps. With exact counts that is still a bound as long as a row has fewer than
    1 / eps units (then all counts up to N occur, and are weighed by how often they do); independent times
    would leave out the units that are never masked, so they refuse it unless eps = 0.

    Args:
        eps: Probability of still being clean at t = 1, in [0, 1).
    """

    def __init__(self, eps: float = 1e-3) -> None:
        if not 0 <= eps < 1:
            raise RecipeError(f"log-linear schedule has eps = {eps}; eps lies in [0, 1)")
        self.eps = eps

    def p_mask(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * t

    def derivative(self, t: Tensor) -> Tensor:
        return torch.full_like(t, 1 - self.eps)

    def time(self, p_mask: Tensor) -> Tensor:
        return (p_mask / (1 - self.eps)).clamp(max=1.0)


SCHEDULES: dict[str, type[Schedule]] = {
    "linear": LinearSchedule,
    "cosine": CosineSchedule,
    "polynomial": PolynomialSchedule,
    "log_linear": LogLinearSchedule,
}
