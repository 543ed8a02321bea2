"""ChainSampler: the reverse chain of cascades and hidden speeds, one unit at a time.

Dimensions: B samples, L tokens, R type streams, P packed tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast, final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.cascade import is_first
from hdiff.corruption.visible_streams import VisibleStream
from hdiff.errors import DataError
from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.denoiser import Denoiser
from hdiff.models.wrapped import unwrapped
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.base import OnStep, UnscoredSampler, check_rows_to_fill
from hdiff.samplers.samples import Samples, passes_of


@dataclass(frozen=True)
class ChainSamples:
    """Generated rows and the types that came before them.

    Attributes:
        tokens: Generated tokens, long (B, L).
        types: Generated types, long (B, L, R).
        steps: Step in which each token was filled, from 0, long (B, L).
        nfe: Trunk evaluations per sample: units of the row that has most.
    """

    tokens: Tensor
    types: Tensor
    steps: Tensor
    nfe: int


class Reading(Protocol):
    """What a model makes of one state."""

    def tokens(self, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        """Draws the tokens of each span jointly, long (P,)."""

    def types(self, stream: int, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        """Draws the types of one stream, long (P,)."""

    def log_speed(self) -> Tensor:
        """Predicted log speed of every hidden token, float (B, L)."""


Reader = Callable[[Tensor, Tensor | None], Reading]
"""Reads tokens, `mask_id` where hidden, long (B, L), and visible types, long (B, L, R) or None."""


@torch.no_grad()
def chain_sample(
    read: Reader,
    corruption: Corruption,
    tokens: Tensor,
    *,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> ChainSamples:
    """Draws rows from hidden to visible, one unit per step, as exact counts score it.

    The next unit is a ready one with probability k / K, K the sum over the ready units of the row; for
    hidden speeds with probability proportional to the predicted one. Its value is drawn from the model.

    Args:
        read: Reads a state.
        corruption: One with `visible_streams`: cascades and hidden speeds.
        tokens: Rows, `mask_id` where they are to be filled, long (B, L); all types are drawn.
        generator: Source of randomness, on the device of the tokens.
        on_step: Called after every step.

    Returns:
        The samples.

    Raises:
        DataError: If nothing is hidden, `mask_id` is not set, or the corruption has no such chain.
    """
    if corruption.mask_id is None:
        raise DataError("the corruption has no mask_id; pass mask_id=vocab_size or let a Denoiser set it")
    check_rows_to_fill(tokens, corruption.mask_id)
    x_t = tokens.clone()
    sizes = torch.tensor(corruption.type_sizes, dtype=torch.long, device=x_t.device)
    types_t = sizes.expand(*x_t.shape, -1).clone()  # (B, L, R)
    steps = torch.full_like(x_t, -1)
    nfe = 0
    while True:
        streams = corruption.visible_streams(x_t == corruption.mask_id, types_t)
        if not any(bool(stream.ready.any()) for stream in streams):
            return ChainSamples(tokens=x_t, types=types_t, steps=steps, nfe=nfe)
        reading = read(x_t, types_t if len(sizes) else None)
        nfe += 1
        predicted = reading.log_speed().double().exp() if corruption.predicts_speed else None
        for stream, selected in zip(streams, _next_units(streams, predicted, generator), strict=True):
            spans = PackedSpans.from_units(stream.units, selected)
            if not spans.num_spans:
                continue
            if stream.number is None:
                x_t = x_t.masked_scatter(selected, reading.tokens(spans, generator))
                steps = steps.masked_fill(selected, nfe - 1)
            else:
                drawn = reading.types(stream.number, spans, generator)
                types_t[..., stream.number] = types_t[..., stream.number].masked_scatter(selected, drawn)
        if on_step is not None:
            on_step(nfe - 1, x_t)


@final
class ChainSampler(UnscoredSampler):
    """The reverse chain of cascades and hidden speeds, one unit per step, as many steps as units.

    What it draws from is what `evaluate_bound` scores with exact counts; it knows no other temperature.

    Args:
        sampling: The model as it is.
    """

    bans = False
    why_no_score = "ChainSampler runs no scores; its bound is `evaluate_bound` with count: exact"

    def __init__(self, *, sampling: Sampling = AS_IT_IS) -> None:
        super().__init__(sampling=sampling)

    def sample(
        self,
        denoiser: Any,
        corruption: Corruption,
        tokens: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Samples:
        if not self.sampling.is_exact:
            raise DataError(
                f"{self.sampling}: {type(corruption).__name__} is sampled unit by unit at temperature 1 only"
            )
        denoiser = unwrapped(denoiser)
        tokens = tokens.to(denoiser.head.embedding.weight.device)
        chain = chain_sample(reader_of(denoiser), corruption, tokens, generator=generator, on_step=on_step)
        units = _units_of(chain.steps, chain.nfe)
        calls = torch.full_like(tokens[:, 0], chain.nfe)
        passes = passes_of(denoiser.head, chain.steps, units, calls)
        return Samples(chain.tokens, chain.steps, units, nfe=chain.nfe, calls=calls, passes=passes)


def _next_units(
    streams: list[VisibleStream], predicted: Tensor | None, generator: torch.Generator | None
) -> list[Tensor]:
    """Draws one ready unit per row that has any; its positions, bool (B, L) per stream."""
    slots = [
        (stream.speed if predicted is None else predicted) * (stream.ready & is_first(stream.units))
        for stream in streams
    ]
    weight = torch.cat(slots, 1)  # (B, streams * L)
    is_open = weight.sum(1) > 0
    weight = torch.where(is_open[:, None], weight, torch.ones_like(weight))
    chosen = torch.multinomial(weight, 1, generator=generator)  # (B, 1)
    length = streams[0].units.shape[1]
    which, position = torch.div(chosen, length, rounding_mode="floor"), chosen % length
    return [
        is_open[:, None] & (which == number) & (stream.units == stream.units.gather(1, position))
        for number, stream in enumerate(streams)
    ]


@final
@dataclass(frozen=True)
class _DenoiserReading:
    """A denoiser's trunk output for one state."""

    denoiser: Denoiser
    hidden: Tensor
    types_t: Tensor | None

    def tokens(self, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        rates = self.denoiser.token_rates
        if rates is not None:
            scores, _ = rates.next_token(self.denoiser.head.logits(spans.gather(self.hidden)))
            return AS_IT_IS.draw(scores, generator=generator)
        support = self.denoiser.support(self.types_t, spans)
        return self.denoiser.head.sample(*spans.read(self.hidden), generator=generator, support=support)

    def types(self, stream: int, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        head = cast(Head, self.denoiser.type_heads[stream])
        support = self.denoiser.type_support(stream, self.types_t, spans)
        return head.sample(*spans.read(self.hidden), generator=generator, support=support)

    def log_speed(self) -> Tensor:
        if self.denoiser.token_rates is not None:
            return self.denoiser.token_rates.next_token(self.denoiser.head.logits(self.hidden))[1]
        if self.denoiser.speed is None:
            raise DataError("this corruption hides its speeds; use a Denoiser(..., predicts_speed=True)")
        return cast(Tensor, self.denoiser.speed(self.hidden).squeeze(-1))


def reader_of(denoiser: Denoiser) -> Reader:
    """What a denoiser makes of states."""

    def read(x_t: Tensor, types_t: Tensor | None) -> Reading:
        return _DenoiserReading(denoiser, denoiser.hidden(x_t, types_t=types_t), types_t)

    return read


def _units_of(steps: Tensor, nfe: int) -> Tensor:
    """Unit of each token as its first position: a step fills one of a row; given ones are alone."""
    length = steps.shape[1]
    place = torch.arange(length, device=steps.device).expand_as(steps)
    is_filled, step = steps >= 0, steps.clamp(min=0)
    first = place.new_full((len(steps), nfe), length)
    first = first.scatter_reduce(1, step, place.where(is_filled, length), "amin")
    return torch.where(is_filled, first.gather(1, step), place)
