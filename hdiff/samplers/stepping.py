"""SteppedSampler: one step of filling at a time, with the call of the network left to the caller.

Dimensions: B rows, L tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import given_order
from hdiff.samplers.base import FillsMasks, check_rows_to_fill
from hdiff.samplers.choice import View
from hdiff.samplers.filling import Chooser, MaskedSampler, fill_step
from hdiff.samplers.in_order import order_of_step


@dataclass(frozen=True)
class FillingState:
    """A partly filled text.

    Attributes:
        tokens: Tokens, `mask_id` where hidden, long (B, L).
        is_masked: Tokens still to be filled, bool (B, L).
        step: Steps done.
        chooser: Says what is filled next.
        order: When each visible token was revealed, long (B, L), for networks that read in order:
            `denoiser.hidden(state.tokens, order=state.order)`.
    """

    tokens: Tensor
    is_masked: Tensor
    step: int
    chooser: Chooser
    order: Tensor

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to fill."""
        return not bool(self.is_masked.any())


@final
class SteppedSampler:
    """What a scheduler is in diffusers: the caller runs the network, `step` makes the next state of it.

    In between the caller may look, change the output (guidance), or stop. Nothing else differs from
    `sampler.sample`, which with the same generator draws the same text; the cache of `refresh` is not used.

    Args:
        sampler: A sampler of masked units.
        denoiser: The model; its head draws.
        corruption: Says what the units are; made unconditional here.

    Raises:
        DataError: If the sampler or the corruption does not fill masked units.
    """

    def __init__(self, sampler: MaskedSampler, denoiser: FillsMasks, corruption: Corruption) -> None:
        units = corruption.unconditional().masked_units()
        if not isinstance(sampler, MaskedSampler) or units is None:
            raise DataError(
                f"{type(sampler).__name__} with {type(corruption).__name__} has no single steps; use a "
                f"sampler and a corruption of masked units, or sampler.sample"
            )
        self.sampler, self.denoiser, self.units = sampler, denoiser, units

    def start(self, tokens: Tensor, *, generator: torch.Generator | None = None) -> FillingState:
        """The first state.

        Args:
            tokens: Rows to fill, `mask_id` where they are to be filled, long (B, L); see `hidden_rows`.
            generator: Source of randomness, on the model's device.

        Returns:
            The state.
        """
        tokens = tokens.to(self.denoiser.head.embedding.weight.device)
        is_masked = check_rows_to_fill(tokens, self.denoiser.mask_id)
        chooser = self.sampler.begin(self.units, tokens, is_masked, generator)
        order = given_order(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return FillingState(tokens, is_masked, 0, chooser, order)

    @torch.no_grad()
    def step(
        self, hidden: Tensor, state: FillingState, *, generator: torch.Generator | None = None
    ) -> FillingState:
        """Fills the next spans.

        Args:
            hidden: Output of the trunk for `state.tokens`, float (B, L, D).
            state: The state.
            generator: The generator of `start`.

        Returns:
            The next state.

        Raises:
            DataError: If nothing is left to fill, or `hidden` is of another shape.
        """
        if state.is_done:
            raise DataError("nothing is left to fill; stop when state.is_done")
        if hidden.shape[:2] != state.tokens.shape:
            raise DataError(
                f"the output of the trunk has shape {tuple(hidden.shape)}, the text "
                f"{tuple(state.tokens.shape)}; give denoiser.hidden(state.tokens)"
            )

        def draw(packed: Tensor, spans: PackedSpans) -> Tensor:
            return self.denoiser.head.sample(
                packed, spans, generator=generator, sampling=self.sampler.sampling
            )

        view = View.of(self.denoiser, state.tokens, state.is_masked, hidden, step=state.step)
        tokens, filled = fill_step(view, state.chooser, draw)
        return replace(
            state,
            tokens=tokens,
            is_masked=state.is_masked & ~filled.selected,
            step=state.step + 1,
            order=torch.where(filled.selected, order_of_step(filled, state.step), state.order),
        )
