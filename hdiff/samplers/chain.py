"""chain_sample: the reverse chain of cascades and hidden speeds, one unit at a time. Torch only.

Dimensions: B samples, L tokens, R type streams, P packed tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast, final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.cascade import is_first
from hdiff.corruption.learned_rates import LearnedRates
from hdiff.corruption.rate_matched import RateMatched
from hdiff.corruption.soft_masking import SoftMasking
from hdiff.corruption.tree_cascade import TreeCascade
from hdiff.errors import DataError
from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS
from hdiff.models.denoiser import Denoiser
from hdiff.packed_spans import PackedSpans


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


@dataclass(frozen=True)
class VisibleStream:
    """A stream as far as the visible types tell.

    Attributes:
        units: Units, long (B, L); right wherever a unit is ready.
        speed: Speed of each position's unit, float64 (B, L); right wherever a unit is ready.
        ready: Hidden units of which everything they depend on is visible, bool (B, L).
        number: Number of the type stream; None for the tokens.
    """

    units: Tensor
    speed: Tensor
    ready: Tensor
    number: int | None


@torch.no_grad()
def chain_sample(
    model: Denoiser | Reader,
    corruption: Corruption,
    *,
    num_samples: int,
    length: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> ChainSamples:
    """Draws rows from all hidden to all visible, one unit per step, as exact counts score it.

    The next unit is a ready one with probability k / K, K the sum over the ready units of the row; for
    hidden speeds with probability proportional to the predicted one. Its value is drawn from the model.

    Args:
        model: The denoiser, or a function that reads a state.
        corruption: `TreeCascade`, `SoftMasking`, `RateMatched` or `LearnedRates`.
        num_samples: Rows B.
        length: Tokens per row L.
        generator: Source of randomness, on `device`.
        device: Where tokens live.

    Returns:
        The samples.

    Raises:
        DataError: If a number is not positive, `mask_id` is not set, or the corruption has no such chain.
    """
    if num_samples < 1 or length < 1:
        raise DataError(f"{num_samples} samples of {length} tokens; both must be at least 1")
    if corruption.mask_id is None:
        raise DataError("the corruption has no mask_id; pass mask_id=vocab_size or let a Denoiser set it")
    read = _reader(model) if isinstance(model, Denoiser) else model
    x_t = torch.full((num_samples, length), corruption.mask_id, device=device)
    sizes = torch.tensor(corruption.type_sizes, dtype=torch.long, device=device)
    types_t = sizes.expand(num_samples, length, -1).clone()  # (B, L, R)
    steps = torch.zeros_like(x_t)
    nfe = 0
    while True:
        streams = visible_streams(corruption, x_t == corruption.mask_id, types_t)
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


def visible_streams(corruption: Corruption, is_masked: Tensor, types_t: Tensor) -> list[VisibleStream]:
    """Units, speeds and readiness of every stream, from what is visible alone.

    Args:
        corruption: `TreeCascade`, `SoftMasking`, `RateMatched` or `LearnedRates`.
        is_masked: Hidden tokens, bool (B, L).
        types_t: Visible types, the number of types where hidden, long (B, L, R).

    Returns:
        The streams in the order in which they are generated.

    Raises:
        DataError: If the corruption is of another kind, or its speeds depend on what is not visible yet.
    """
    if isinstance(corruption, TreeCascade):
        return _tree_streams(corruption, is_masked, types_t)
    if isinstance(corruption, SoftMasking):
        streams, above = [], torch.zeros_like(is_masked)
        for number, size in enumerate(corruption.type_sizes):
            here = types_t[..., number] == size
            streams.append(_single(here & ~above, corruption.class_k, number))
            above = here
        return [*streams, _single(is_masked & ~above, corruption.token_k, None)]
    if isinstance(corruption, (RateMatched, LearnedRates)):
        return [_single(is_masked, 1.0, None)]
    raise DataError(
        f"chain_sample reverses cascades and hidden speeds, not {type(corruption).__name__}; use "
        f"AncestralSampler for masked units"
    )


def _single(ready: Tensor, speed: float, number: int | None) -> VisibleStream:
    """A stream whose units are single positions of one speed."""
    units = torch.arange(ready.shape[1], device=ready.device).expand(ready.shape)
    return VisibleStream(
        units, torch.full(ready.shape, speed, dtype=torch.float64, device=ready.device), ready, number
    )


def _tree_streams(tree: TreeCascade, is_masked: Tensor, types_t: Tensor) -> list[VisibleStream]:
    is_up = tree.direction == "fine_to_coarse"
    if is_up and len(set(tree.k["token"])) > 1:
        raise DataError(
            "direction is 'fine_to_coarse' and k of 'token' differs by salience bucket, which is hidden "
            "while tokens are generated; give one k for 'token'"
        )
    levels = tree.levels[::-1] if is_up else tree.levels
    hidden = [types_t[..., number] == size for number, size in enumerate(tree.type_sizes)]
    order: list[int | None] = [None, *range(len(levels))] if is_up else [*range(len(levels)), None]
    streams: list[VisibleStream] = []
    above: int | None = None
    for place, number in enumerate(order):
        here = is_masked if number is None else hidden[number]
        up = is_masked if above is None else hidden[above]
        k = tree.k["token" if number is None else levels[number]][0]
        if place == 0:
            streams.append(_single(here, k, number))
        elif above is not None and (tree.unit if number is None else tree.type_unit) == "node":
            streams.append(_nodes(tree, here, up, types_t[..., above], above, k, number))
        else:
            streams.append(_single(here & ~up, k, number))
        above = number
    if len(tree.k["token"]) > 1:
        streams[-1] = _by_salience(tree, streams[-1], types_t[..., -1])
    return streams


def _nodes(
    tree: TreeCascade, here: Tensor, up: Tensor, shown: Tensor, above: int, k: float, number: int | None
) -> VisibleStream:
    """Units cut by the visible boundaries above; a hidden boundary cuts too, and blocks both its sides."""
    is_finest = "salience" in tree.types and above == len(tree.levels) - 1
    begins = (shown // (tree.num_buckets if is_finest else 1)) % 2 == 1
    begins = begins | up
    begins[:, 0] = True
    units = begins.long().cumsum(1) - 1
    follows = torch.zeros_like(up)
    follows[:, :-1] = up[:, 1:]
    open_ = (up | follows).long()
    blocked = torch.zeros_like(units).scatter_reduce(1, units, open_, "amax").gather(1, units) > 0
    speed = torch.full(here.shape, k, dtype=torch.float64, device=here.device)
    return VisibleStream(units, speed, here & ~blocked, number)


def _by_salience(tree: TreeCascade, stream: VisibleStream, shown: Tensor) -> VisibleStream:
    """The token stream with the speeds of the visible salience buckets, averaged over a unit."""
    table = torch.tensor(tree.k["token"], dtype=torch.float64, device=shown.device)
    speed = table[shown % tree.num_buckets]
    mean = torch.zeros_like(speed).scatter_reduce(1, stream.units, speed, "mean", include_self=False)
    return VisibleStream(stream.units, mean.gather(1, stream.units), stream.ready, stream.number)


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
        return self.denoiser.head.sample(
            spans.gather(self.hidden), spans, generator=generator, support=support
        )

    def types(self, stream: int, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        head = cast(Head, self.denoiser.type_heads[stream])
        support = self.denoiser.type_support(stream, self.types_t, spans)
        return head.sample(spans.gather(self.hidden), spans, generator=generator, support=support)

    def log_speed(self) -> Tensor:
        if self.denoiser.token_rates is not None:
            return self.denoiser.token_rates.next_token(self.denoiser.head.logits(self.hidden))[1]
        if self.denoiser.speed is None:
            raise DataError("this corruption hides its speeds; use a Denoiser(..., predicts_speed=True)")
        return cast(Tensor, self.denoiser.speed(self.hidden).squeeze(-1))


def _reader(denoiser: Denoiser) -> Reader:
    def read(x_t: Tensor, types_t: Tensor | None) -> Reading:
        return _DenoiserReading(denoiser, denoiser.hidden(x_t, types_t=types_t), types_t)

    return read
