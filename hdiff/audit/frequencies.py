"""Checks of laws: how often what is hidden, and which strings the reverse chain draws.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, cast

import torch
from torch import Tensor, nn

from hdiff.audit.checks import Check, Subject
from hdiff.audit.exact import ExactDenoiser, ExactReading
from hdiff.corruption import (
    Corruption,
    LearnedRates,
    RateMatched,
    SoftMasking,
    TokenMasking,
    TreeCascade,
)
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.sampling import Sampling
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.ancestral import AncestralSampler
from hdiff.samplers.blocks import BlockSampler
from hdiff.samplers.chain import chain_sample

TIMES = (0.25, 0.5, 0.9)
NUM_ROWS = 6_000
NUM_SAMPLES = 5_000


@dataclass(frozen=True)
class _Race:
    """Independently drawn times of one stream: T per position and its units, both (B, L)."""

    time: Tensor
    units: Tensor


def masking_frequency(subject: Subject) -> list[Check]:
    """Shares of hidden tokens and types against times drawn anew by `T = T_parent U^(1/k)`.

    The value is the largest difference in standard errors over t in {0.25, 0.5, 0.9} and all streams.

    Args:
        subject: What is audited.

    Returns:
        The check.
    """
    generator = torch.Generator().manual_seed(7)
    corruption, worst = subject.corruption, 0.0
    assert corruption.mask_id is not None
    for t in TIMES:
        times = torch.full((NUM_ROWS,), t, dtype=torch.float64)
        corrupted = corruption.corrupt(
            subject.language.sample(NUM_ROWS, generator), times, generator=generator
        )
        observed = [corrupted.x_t == corruption.mask_id]
        for stream, size in enumerate(corruption.type_sizes):
            assert corrupted.types_t is not None
            observed.append(corrupted.types_t[..., stream] == size)
        p = float(corruption.schedule.p_mask(times[:1]))
        expected = _hidden_anew(subject, subject.language.sample(NUM_ROWS, generator), p, generator)
        for one, two in zip(observed, expected, strict=True):
            a, b = one.double().mean(1), two.double().mean(1)
            error = math.sqrt((float(a.var()) + float(b.var())) / NUM_ROWS)
            worst = max(worst, abs(float(a.mean() - b.mean())) / max(error, 1e-9))
    return [subject.check("masking_frequency", worst, 0.0, 4.0, worst <= 4.0)]


def _hidden_anew(subject: Subject, batch: Batch, p: float, generator: torch.Generator) -> list[Tensor]:
    """Hidden tokens, then hidden types of each stream, bool (B, L), without the corruption's own code."""
    races, token_place = _races(subject.corruption, batch, generator)
    hidden = _slowest(races, p) if subject.is_exact else [race.time <= p for race in races]
    return [hidden.pop(token_place), *hidden]


def _slowest(races: list[_Race], p: float) -> list[Tensor]:
    """The ceil(p N) units of smallest time are hidden, N the units of all streams of a row."""
    rows: list[list[float]] = [[] for _ in range(len(races[0].time))]
    for race in races:
        for row, (times, units) in enumerate(zip(race.time.tolist(), race.units.tolist(), strict=True)):
            rows[row] += dict(zip(units, times, strict=True)).values()
    borders = [sorted(times)[math.ceil(round(p * len(times), 6)) - 1] for times in rows]
    border = torch.tensor(borders, dtype=torch.float64)[:, None]
    return [race.time <= border for race in races]


@singledispatch
def _races(corruption: Corruption, batch: Batch, generator: torch.Generator) -> tuple[list[_Race], int]:
    """Times of every stream in the order of generation, and the place of the tokens among them."""
    masked = corruption.masked_units()
    assert masked is not None, "families of other laws have a function of their own"
    return [_race(None, masked.units(batch, generator=generator), _ones(batch), generator)], 0


def _ones(batch: Batch) -> Tensor:
    return torch.ones(batch.input_ids.shape, dtype=torch.float64)


@_races.register
def _(corruption: SoftMasking, batch: Batch, generator: torch.Generator) -> tuple[list[_Race], int]:
    races: list[_Race] = []
    for k in (*[corruption.class_k] * len(corruption.type_sizes), corruption.token_k):
        above = races[-1].time if races else None
        races.append(_race(above, batch.units("token"), k * _ones(batch), generator))
    return races, len(races) - 1


@_races.register
def _(corruption: RateMatched, batch: Batch, generator: torch.Generator) -> tuple[list[_Race], int]:
    speed = _ones(batch) * corruption.speeds.k[0]
    for bucket, k in enumerate(corruption.speeds.k[1:], 1):
        assert batch.salience_buckets is not None
        speed[batch.salience_buckets == bucket] = k
    if corruption.speeds.level is not None:
        units = batch.units(corruption.speeds.level)
        others = (units[:, :, None] == units[:, None, :]).sum(-1)
        speed[others > 1] *= corruption.speeds.k_inside
    return [_race(None, batch.units("token"), speed, generator)], 0


@_races.register
def _(corruption: LearnedRates, batch: Batch, generator: torch.Generator) -> tuple[list[_Race], int]:
    assert corruption.rates is not None
    speed = _ones(batch)
    for token, log_k in enumerate(corruption.rates.log_speed.tolist()):
        speed[batch.input_ids == token] = math.exp(log_k)
    return [_race(None, batch.units("token"), speed, generator)], 0


@_races.register
def _(tree: TreeCascade, batch: Batch, generator: torch.Generator) -> tuple[list[_Race], int]:
    alone, ones = batch.units("token"), torch.ones(batch.input_ids.shape, dtype=torch.float64)
    coarse_first = tree.direction == "coarse_to_fine"
    order = [*tree.levels, "token"] if coarse_first else ["token", *tree.levels[::-1]]
    races: list[_Race] = []
    for place, level in enumerate(order):
        is_node = place > 0 and (tree.unit if level == "token" else tree.type_unit) == "node"
        units = batch.units(order[place - 1]) if is_node else alone
        speed = ones * tree.k[level][0]
        if len(tree.k[level]) > 1:
            assert batch.salience_buckets is not None
            per_token = torch.tensor(tree.k[level], dtype=torch.float64)[batch.salience_buckets]
            same = (units[:, :, None] == units[:, None, :]).double()
            speed = (same * per_token[:, None, :]).sum(-1) / same.sum(-1)
        parent = None
        if place:
            above = races[-1].time
            counts = units[:, :, None] == units[:, None, :]
            if is_node:  # the border after the unit is visible with the position after it
                counts[:, :, 1:] |= units[:, :, None] == units[:, None, :-1]
            parent = torch.where(counts, above[:, None, :], torch.inf).min(-1).values
        races.append(_race(parent, units, speed, generator))
    return races, order.index("token")


def _race(parent: Tensor | None, units: Tensor, speed: Tensor, generator: torch.Generator) -> _Race:
    uniform = torch.rand(units.shape, generator=generator, dtype=torch.float64).gather(1, units)
    time = uniform ** (1 / speed)
    return _Race(time if parent is None else parent * time, units)


def sampler_distribution(subject: Subject) -> list[Check]:
    """The sampler draws the language if it is given the exact posterior: chi-square, p > 0.001."""
    language = subject.language
    try:
        drawn = _sampled(subject, torch.Generator().manual_seed(8))
    except DataError as error:
        return [subject.unaudited(f"sampler_distribution: {error}")]
    counts = torch.bincount(language.numbers(drawn), minlength=len(language.strings)).double()
    expected = NUM_SAMPLES * language.probability
    rare = expected < 5  # chi-square needs cells that are not nearly empty
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = len(counts) - 1
    spread = 2 / (9 * freedom)  # Wilson-Hilferty
    limit = freedom * (1 - spread + 3.0902 * math.sqrt(spread)) ** 3
    return [subject.check("sampler_distribution", statistic, freedom, limit - freedom, statistic <= limit)]


def _sampled(subject: Subject, generator: torch.Generator) -> Tensor:
    """Strings drawn with the exact posterior, one unit at a time, long (B, L)."""
    length = subject.language.length
    assert subject.corruption.mask_id is not None
    rows = torch.full((NUM_SAMPLES, length), subject.corruption.mask_id)
    if subject.corruption.block_size is not None:
        # Later blocks are hidden as a whole, so the visible tokens are all that a block may read.
        tokens = TokenMasking(mask_id=subject.corruption.mask_id)
        model = _ForAncestral(ExactDenoiser(subject.language, tokens), subject.corruption.block_size)
        blocks = BlockSampler(length)
        return blocks.sample(cast(Any, model), subject.corruption, rows, generator=generator).tokens
    exact = ExactDenoiser(subject.language, subject.corruption)
    if subject.corruption.keeps_documents_apart:
        ancestral, model = AncestralSampler(length), cast(Any, _ForAncestral(exact))
        return ancestral.sample(model, subject.corruption, rows, generator=generator).tokens
    return chain_sample(exact.read, subject.corruption, rows, generator=generator).tokens


class _ForAncestral(nn.Module):
    """The exact denoiser in the shape that samplers read: trunk output is the row of x_t."""

    def __init__(self, exact: ExactDenoiser, block_size: int | None = None) -> None:
        super().__init__()
        self.block_size = block_size
        self.exact = exact
        self.mask_id = self.exact.mask_id
        self.embedding = nn.Embedding(1, 1)

    @property
    def head(self) -> _ForAncestral:
        return self

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        return x_t[:, None, :].expand(-1, x_t.shape[1], -1)

    def sequential_passes(self, lengths: Tensor) -> Tensor:
        return torch.ones_like(lengths)

    def sample(
        self, hidden: Tensor, spans: PackedSpans, *, generator: torch.Generator, sampling: Sampling
    ) -> Tensor:
        rows = hidden[spans.first]  # (S, L): the row of each span
        each = PackedSpans(
            spans.token_index, spans.span_index, spans.offset, torch.arange(len(rows)), spans.length
        )
        return ExactReading(self.exact, rows, self.exact.posterior(rows)).tokens(each, generator)
