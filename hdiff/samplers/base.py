"""Sampler: from hidden tokens to text, and the bound of exactly that way of filling. Torch only.

Dimensions: B rows, L tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS, Sampling


class FillsMasks(Protocol):
    """What samplers ask of a model: `Denoiser`, `BlockDenoiser`, or a network of yours with a head.

    Attributes:
        head: Scores and draws spans; it owns the token table.
    """

    head: Head

    @property
    def mask_id(self) -> int:
        """Id of a hidden token."""

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Output of the trunk.

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.

        Returns:
            float (B, L, D), D as the head reads it.
        """


@dataclass(frozen=True)
class Samples:
    """Generated rows and how they came about.

    Attributes:
        tokens: Generated tokens, long (B, L).
        steps: Step in which each token was filled, from 0; -1 where it was given; long (B, L).
        units: Unit each token was filled with, long (B, L); different units of a row have different numbers.
        nfe: Trunk evaluations of the row that took most.
        calls: Trunk evaluations of each row, long (B,).
    """

    tokens: Tensor
    steps: Tensor
    units: Tensor
    nfe: int
    calls: Tensor


@dataclass(frozen=True)
class Score:
    """What a sampler's own way of filling says of given texts.

    Attributes:
        nats: -log p of the hidden tokens of each row along one simulated run, float64 (B,). Its mean over
            runs is an upper bound on -log p(hidden tokens | given tokens).
        calls: Trunk evaluations of each row, long (B,).
        structure: The part of `nats` that pays for types, float64 (B,); None where none are generated.
    """

    nats: Tensor
    calls: Tensor
    structure: Tensor | None = None


class Sampler(ABC):
    """Fills hidden tokens in a number of steps.

    Args:
        sampling: Temperature and truncation of every draw.
    """

    def __init__(self, *, sampling: Sampling = AS_IT_IS) -> None:
        self.sampling = sampling

    @property
    def has_bound(self) -> bool:
        """Whether `score` bounds -log p of what `sample` draws from."""
        return self.sampling.is_exact

    @abstractmethod
    def sample(
        self,
        denoiser: FillsMasks,
        corruption: Corruption,
        *,
        num_samples: int | None = None,
        length: int | None = None,
        text: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Samples:
        """Draws samples.

        Args:
            denoiser: The model.
            corruption: Says what the units are; must not be conditional on structure.
            num_samples: Rows B.
            length: Tokens per row L.
            text: Instead of both: tokens, `mask_id` where they are to be filled, long (B, L).
            generator: Source of randomness, on the model's device.

        Returns:
            The samples and their history.

        Raises:
            DataError: If there is nothing to fill, or model, corruption and sampler do not belong together.
        """

    @abstractmethod
    def score(
        self,
        denoiser: FillsMasks,
        corruption: Corruption,
        batch: Batch,
        *,
        is_hidden: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Score:
        """Runs the sampler with the true tokens revealed in place of draws (DESIGN 4.3.5).

        Args:
            denoiser: The model.
            corruption: Says what the units are; must not be conditional on structure.
            batch: The texts.
            is_hidden: Tokens to score given the others, bool (B, L); None scores all real tokens.
            generator: Source of randomness, on the model's device.

        Returns:
            One estimate per row of the bound of this sampler.

        Raises:
            DataError: If the sampler has no bound, or as `sample`.
        """


def starting_tokens(
    mask_id: int, num_samples: int | None, length: int | None, text: Tensor | None, device: torch.device
) -> Tensor:
    """Rows to fill: all hidden, or a text with gaps.

    Args:
        mask_id: Id of a hidden token.
        num_samples: Rows B; with `length`.
        length: Tokens per row L.
        text: Instead of both, long (B, L).
        device: Where the rows should be.

    Returns:
        long (B, L).

    Raises:
        DataError: If there is not at least one token to fill.
    """
    if text is None:
        if num_samples is None or length is None:
            raise DataError("give num_samples and length, or a text with hidden tokens")
        if num_samples < 1 or length < 1:
            raise DataError(f"{num_samples} samples of {length} tokens; both must be at least 1")
        return torch.full((num_samples, length), mask_id, device=device)
    if num_samples is not None or length is not None:
        raise DataError("give either num_samples and length, or a text with hidden tokens, not both")
    if text.ndim != 2 or not text.numel():
        raise DataError(f"the text has shape {tuple(text.shape)}; give at least one row of tokens, (B, L)")
    if not bool((text == mask_id).any()):
        raise DataError(
            f"no token of the text is hidden; put mask_id ({mask_id}) where tokens are to be filled"
        )
    return text.to(device)
