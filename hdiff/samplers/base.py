"""Sampler: from all-masked rows to text, and a record of what was filled when. Torch only.

Dimensions: B samples, L tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.models.denoiser import Denoiser


@dataclass(frozen=True)
class Samples:
    """Generated rows and how they came about.

    Attributes:
        tokens: Generated tokens, long (B, L).
        steps: Step in which each token was filled, from 0, long (B, L).
        units: Unit each token was filled with, long (B, L).
        nfe: Trunk evaluations per sample.
    """

    tokens: Tensor
    steps: Tensor
    units: Tensor
    nfe: int


class Sampler(ABC):
    """Fills masked rows in a number of steps."""

    @abstractmethod
    def sample(
        self,
        denoiser: Denoiser,
        corruption: Corruption,
        *,
        num_samples: int,
        length: int,
        generator: torch.Generator | None = None,
    ) -> Samples:
        """Draws samples.

        Args:
            denoiser: The model.
            corruption: Says what the units are; must not be conditional on structure.
            num_samples: Rows B.
            length: Tokens per row L.
            generator: Source of randomness, on the model's device.

        Returns:
            The samples and their history.
        """
