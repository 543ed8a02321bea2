"""MaskedSampler: the loop that all samplers of masked units share, drawing or scoring.

A sampler answers one question, which spans are filled next, and may look at the visible tokens only. So the
same loop draws text or, with the true tokens revealed, scores it: the bound cannot differ from the sampler.
Dimensions: B rows, L tokens, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.masked_units import MaskedUnits
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.output import padding_mask
from hdiff.models.wrapped import unwrapped
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.base import FillsMasks, OnStep, Sampler, check_rows_to_fill
from hdiff.samplers.choice import Choice, View
from hdiff.samplers.in_order import InOrderReader
from hdiff.samplers.reading import Reader
from hdiff.samplers.samples import Samples, Score, passes_of
from hdiff.samplers.selection import first_positions

Chooser = Callable[[View], Choice]


class MaskedSampler(Sampler):
    """A sampler of masked units; subclasses say which spans are filled next.

    Args:
        sampling: Temperature and truncation of every draw.
        refresh: Every how many steps the trunk reads all tokens. In between it reads the hidden and the newly
            filled ones, against cached keys and values of the others: faster, another model, and scored as
            such.
    """

    def __init__(self, *, sampling: Sampling = AS_IT_IS, refresh: int = 1) -> None:
        super().__init__(sampling=sampling)
        if refresh < 1:
            raise DataError(f"refresh is {refresh}; the trunk reads all tokens every >= 1 steps (1: always)")
        self.refresh = refresh

    @abstractmethod
    def begin(
        self, corruption: MaskedUnits, tokens: Tensor, is_masked: Tensor, generator: torch.Generator | None
    ) -> Chooser:
        """Prepares one run.

        Args:
            corruption: Says what the units are.
            tokens: Visible tokens, `mask_id` where hidden, long (B, L).
            is_masked: Tokens to fill, bool (B, L).
            generator: Source of randomness.

        Returns:
            A function that chooses the next spans; it must choose some in every row that is not finished.
        """

    @final
    @torch.no_grad()
    def sample(
        self,
        denoiser: FillsMasks,
        corruption: Corruption,
        tokens: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Samples:
        denoiser = unwrapped(denoiser)
        tokens = tokens.to(denoiser.head.embedding.weight.device)
        is_masked = check_rows_to_fill(tokens, denoiser.mask_id)
        chooser = self._chooser(corruption, tokens, is_masked, generator)

        def draw(packed: Tensor, spans: PackedSpans) -> Tensor:
            return denoiser.head.sample(packed, spans, generator=generator, sampling=self.sampling)

        return _fill(self._reader(denoiser), tokens, is_masked, chooser, draw, on_step)

    @final
    @torch.no_grad()
    def score(
        self,
        denoiser: FillsMasks,
        corruption: Corruption,
        batch: Batch,
        *,
        is_hidden: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Score:
        if not self.has_bound:
            raise DataError(
                f"{type(self).__name__} with {self.sampling} has no likelihood bound; use temperature 1 "
                f"without top_k and top_p"
            )
        denoiser = unwrapped(denoiser)
        is_masked = batch.token_mask if is_hidden is None else is_hidden & batch.token_mask
        tokens = batch.input_ids.masked_fill(is_masked, denoiser.mask_id)
        nats = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)

        def reveal(packed: Tensor, spans: PackedSpans) -> Tensor:
            targets = spans.gather(batch.input_ids)
            log_prob = denoiser.head.log_prob(packed, targets, spans)
            nats.index_add_(0, spans.row, -log_prob.double())
            return targets

        padding = padding_mask(batch.token_mask)
        chooser = self._chooser(corruption, tokens, is_masked, generator)
        reader = self._reader(denoiser, padding, batch.document_ids)
        samples = _fill(reader, tokens, is_masked, chooser, reveal)
        return Score(nats=nats, calls=samples.calls)

    def _reader(
        self, denoiser: FillsMasks, token_mask: Tensor | None = None, document_ids: Tensor | None = None
    ) -> Reader:
        kind = InOrderReader if getattr(denoiser, "reads_in_order", False) else Reader
        return kind(denoiser, token_mask, document_ids, refresh=self.refresh)

    def _chooser(
        self, corruption: Corruption, tokens: Tensor, is_masked: Tensor, generator: torch.Generator | None
    ) -> Chooser:
        units = corruption.masked_units()
        if units is None:
            raise DataError(
                f"{type(self).__name__} fills masked units; {type(corruption).__name__} has a sampler of its "
                f"own, '{corruption.plain_sampler()['kind']}'"
            )
        if units.conditional_on_structure:
            raise DataError(
                "units of parsed text do not exist before the text; use corruption.unconditional()"
            )
        return self.begin(units, tokens, is_masked, generator)


Values = Callable[[Tensor, PackedSpans], Tensor]
"""Tokens of spans, long (P,), from the trunk's output at them, float (P, D): drawn or looked up."""


def fill_step(view: View, chooser: Chooser, values: Values) -> tuple[Tensor, Choice]:
    """Fills the next spans of a state.

    Args:
        view: The state.
        chooser: Says which spans come next.
        values: Says what they hold.

    Returns:
        Tokens after the step, long (B, L), and what was filled, hidden tokens only.

    Raises:
        DataError: If the chooser leaves out a row that is not finished.
    """
    choice = chooser(view)
    selected = choice.selected & view.is_masked
    if not bool((selected.any(1) | ~view.is_masked.any(1)).all()):
        raise DataError("the sampler chose no span in a row that is not finished; choose at least one")
    spans = PackedSpans.from_units(choice.units, selected)
    filled = spans.scatter(view.tokens, values(*view.read(spans)))
    return filled, Choice(choice.units, selected, choice.order)


def _fill(
    reader: Reader,
    tokens: Tensor,
    is_masked: Tensor,
    chooser: Chooser,
    values: Values,
    on_step: OnStep | None = None,
) -> Samples:
    """Fills step by step; rows that are finished cost no more trunk calls."""
    tokens, is_masked = tokens.clone(), is_masked.clone()
    steps = torch.full_like(tokens, -1)
    units = first_positions(torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens))
    calls = torch.zeros_like(tokens[:, 0])
    step = 0
    while bool((active := is_masked.any(1)).any()):
        reading = partial(reader.read, tokens, is_masked, active, step)
        view = View(reader.denoiser, tokens, is_masked, reading, step)
        tokens, filled = fill_step(view, chooser, values)
        reader.reveal(filled, step)
        steps = steps.masked_fill(filled.selected, step)
        units = torch.where(filled.selected, first_positions(filled.units), units)
        is_masked = is_masked & ~filled.selected
        calls = calls + active
        if on_step is not None:
            on_step(step, tokens)
        step += 1
    passes = passes_of(reader.denoiser.head, steps, units, calls)
    return Samples(tokens, steps, units, nfe=step, calls=calls, passes=passes)
