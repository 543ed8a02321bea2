"""RowScorer: -log p of some tokens of a row given the others, by a likelihood that may be compared.

Every figure is a likelihood or a true bound on one: the way of filling that is scored is the one that
samples.
Dimensions: B rows of one call, L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from hdiff.corruption import Corruption
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.models.wrapped import unwrapped
from hdiff.objectives import nelbo
from hdiff.samplers import AncestralSampler, FillsMasks, Sampler


@dataclass(frozen=True)
class RowScorer:
    """Scores tokens of rows that nobody parsed.

    Masked units have the bound of the sampler that fills the scored tokens, given the others on both sides;
    an estimate is one order. Autoregressive models are exact, in their one order. All other families cannot
    be given words: their bound is the continuous-time one of a whole text, its ends among it. A draw is then
    as many states, at stratified times, as the row has tokens, and costs what an order costs.

    Args:
        model: The model, in evaluation mode.
        corruption: What a diffusion model is scored with; None for an autoregressive one.
        draws: Orders or states per token that are averaged.
        sampler: Scores masked units; None: `AncestralSampler`, unit by unit.

    Raises:
        DataError: If a text that nobody parsed has no bound on -log p(x_0), or the parts do not belong
            together.
    """

    model: DiffusionModel | Autoregressive
    corruption: Corruption | None
    draws: int = 4
    sampler: Sampler | None = None

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise DataError(f"draws is {self.draws}; a score is a mean of at least 1")
        object.__setattr__(self, "model", unwrapped(self.model))
        if as_autoregressive(self.model) is not None:
            if self.sampler is not None:
                raise DataError(
                    f"an autoregressive model has no use for {type(self.sampler).__name__}; give sampler=None"
                )
            return
        _check(self.corruption)
        if not self.fills_units and self.sampler is None:
            return
        if not hasattr(self.model, "hidden"):
            raise DataError(
                f"samplers score masked units; {type(self.model).__name__} has none, so give sampler=None "
                f"and the corruption it was trained with"
            )

    @property
    def is_exact(self) -> bool:
        """Whether a score is a likelihood and no bound."""
        return as_autoregressive(self.model) is not None

    @property
    def fills_units(self) -> bool:
        """Whether words may be given to it on all sides."""
        return self.corruption is not None and self.corruption.masked_units() is not None

    def copies(self, length: int) -> int:
        """Estimates that are averaged for a row."""
        if self.is_exact:
            return 1
        return self.draws if self.fills_units or self.sampler is not None else self.draws * length

    def means(self, rows: Batch, is_scored: Tensor, generator: torch.Generator) -> Tensor:
        """Scores rows.

        Args:
            rows: The rows; those of one call have one length.
            is_scored: Tokens to score, bool (B, L); families that cannot be given words score all.
            generator: Source of orders, times and noise: in the same state it gives rows of the same shape
                the same.

        Returns:
            Nats of each row, the mean of its estimates, float64 (B,).
        """
        copies = self.copies(rows.input_ids.shape[1])
        tokens, mask, is_scored = (
            tensor.repeat_interleave(copies, 0) for tensor in (rows.input_ids, rows.token_mask, is_scored)
        )
        batch = Batch(input_ids=tokens, token_mask=mask)
        return self._estimates(batch, is_scored, generator, copies).double().view(-1, copies).mean(1)

    def _estimates(self, batch: Batch, is_scored: Tensor, generator: torch.Generator, copies: int) -> Tensor:
        left_to_right = as_autoregressive(self.model)
        if left_to_right is not None:
            log_prob: Tensor = left_to_right(batch)
            return -(log_prob * is_scored).sum(1)
        assert self.corruption is not None, "checked at the beginning"
        if self.fills_units or self.sampler is not None:
            sampler = self.sampler or AncestralSampler(batch.input_ids.shape[1])
            model = cast(FillsMasks, self.model)
            return sampler.score(model, self.corruption, batch, is_hidden=is_scored, generator=generator).nats
        offset = 1 - torch.rand(
            len(batch.input_ids) // copies, 1, generator=generator, device=generator.device
        )
        t = ((torch.arange(copies, device=generator.device) + offset) / copies).clamp(max=1.0).flatten()
        corrupted = self.corruption.corrupt(batch, t, generator=generator)
        # Control variates would be the same for both sentences of a pair: their difference needs none.
        return nelbo(cast(DiffusionModel, self.model)(corrupted), batch, corrupted).nats


def _check(corruption: Corruption | None) -> None:
    """Refuses what has no bound on -log p(x_0) for a text that nobody parsed."""
    if corruption is None:
        raise DataError("a diffusion model is scored with a corruption; give the one it was trained with")
    name = type(corruption).__name__
    if corruption.conditional_on_structure:
        raise DataError(
            f"{name} is conditional on structure and gives no bound on -log p(x_0); use "
            f"corruption.unconditional()"
        )
    if corruption.masked_units() is None and corruption.required_levels():
        raise DataError(
            f"{name} generates units of level '{corruption.required_levels()[0]}', and texts that nobody "
            f"parsed have none; score a model of masked units, or use hdiff eval"
        )


def rows_of(tokens: Sequence[Sequence[int]], length: int, padding: int) -> Batch:
    """Rows of equal length, padded, on the CPU."""
    real = len(tokens[0])
    filled = torch.tensor([[*row, *[padding] * (length - real)] for row in tokens])
    return Batch(input_ids=filled, token_mask=(torch.arange(length) < real).expand_as(filled))
