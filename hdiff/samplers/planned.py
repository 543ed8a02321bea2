"""PlannedSampler: the planner says what the spans are and which comes next.

Dimensions: B rows, L tokens, S spans.
"""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from hdiff.corruption.masked_units import MaskedUnits
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import check_num_steps
from hdiff.samplers.choice import Choice, View
from hdiff.samplers.filling import Chooser, MaskedSampler
from hdiff.samplers.segmentation import BOUNDARIES, Boundaries, check_longest, segmenter
from hdiff.samplers.selection import spaced, spread, take_first, tokens_per_step

Order = Literal["random", "spaced", "keyword_first", "keyword_last", "confidence", "entropy", "left_to_right"]
ORDERS: tuple[Order, ...] = (
    "random",
    "spaced",
    "keyword_first",
    "keyword_last",
    "confidence",
    "entropy",
    "left_to_right",
)


@final
class PlannedSampler(MaskedSampler):
    """Fills spans that a head predicts from the visible tokens, in an order it may predict too.

    Segmentation and order depend only on what is visible, so any such policy has a bound on -log p(x_0) and
    structure costs nothing (docs/concepts.md, "the planner"). Two ways to use predicted spans: fill a
    span jointly (`use="joint"`), or, for product heads, spread the reveal so that tokens of one span are
    drawn in different steps as far as T allows (`use="apart"`).

    Args:
        num_steps: Steps T; each fills its share of the tokens left.
        order: `random`; `spaced` (at random, but what is filled together lies as far apart as it can);
            `keyword_first` and `keyword_last` (by predicted salience); `confidence`, `entropy` (lowest per
            token first); `left_to_right`.
        use: `joint` or `apart`.
        boundaries: `likely` begins a span where that is more likely than not; `drawn` with its probability
            (one uniform number per token and run, so that borders move only when their probabilities do),
            which keeps the lengths of spans like those of the corpus while nothing is visible yet;
            `corruption` takes the random units of the corruption. `shuffled` has the spans of `likely` in a
            random order within each hidden stretch: as long as those, but with borders in arbitrary places,
            the control that tells what the borders are worth.
        longest: Longest span in tokens.
        sampling: Temperature and truncation of every draw.
        refresh: Every how many steps the trunk reads all tokens; see `MaskedSampler`.
    """

    def __init__(
        self,
        num_steps: int,
        *,
        order: Order = "random",
        use: Literal["joint", "apart"] = "joint",
        boundaries: Boundaries = "drawn",
        longest: int = 8,
        sampling: Sampling = AS_IT_IS,
        refresh: int = 1,
    ) -> None:
        super().__init__(sampling=sampling, refresh=refresh)
        self.num_steps = check_num_steps(num_steps)
        if order not in ORDERS:
            raise DataError(f"order is '{order}'; use one of {', '.join(ORDERS)}")
        if use not in ("joint", "apart"):
            raise DataError(f"use is '{use}'; use 'joint' (fill a span at once) or 'apart'")
        if boundaries not in BOUNDARIES:
            raise DataError(f"boundaries is '{boundaries}'; use one of {', '.join(BOUNDARIES)}")
        self.order, self.use, self.boundaries = order, use, boundaries
        self.longest = check_longest(longest)

    def begin(
        self, corruption: MaskedUnits, tokens: Tensor, is_masked: Tensor, generator: torch.Generator | None
    ) -> Chooser:
        lottery = torch.rand(tokens.shape, generator=generator, device=tokens.device)
        units_of = segmenter(self.boundaries, corruption, tokens, longest=self.longest, generator=generator)

        def choose(view: View) -> Choice:
            # Apart, a span goes on behind tokens of it that are visible already.
            own = view.is_masked if self.use == "joint" else torch.ones_like(view.is_masked)
            units = units_of(view, own)
            spans = PackedSpans.from_units(units, view.is_masked)
            if self.use == "apart":
                # Place of each hidden token in a random order of its span: a row takes first ones first.
                turn = _random_offset(spans, spans.gather(lottery))
                units = torch.arange(units.shape[1], device=units.device).expand_as(units)
                spans = PackedSpans.from_units(units, view.is_masked)
                priority = _rank(self._priority(view, spans, lottery, generator)) - 2.0 * turn
            else:
                priority = self._priority(view, spans, lottery, generator)
            share = tokens_per_step(view.is_masked, self.num_steps - view.step) - 1
            taken = take_first(spans, priority, spans.length, share.clamp(min=0), num_rows=len(units))
            return Choice(units, spread(taken, spans, units.shape))

        return choose

    def _priority(
        self,
        view: View,
        spans: PackedSpans,
        lottery: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """What is filled first, float (S,)."""
        first = spans.offset == 0
        if self.order == "random":
            return spans.gather(lottery)[first]
        if self.order == "spaced":
            number = torch.arange(spans.num_spans, device=lottery.device)
            return spaced(number, lottery[spans.row, 0])
        if self.order == "left_to_right":
            return -spans.token_index[first].double()
        if self.order in ("keyword_first", "keyword_last"):
            salience = spans.gather(view.plan.salience)
            keyword = torch.zeros(spans.num_spans, device=salience.device, dtype=salience.dtype)
            keyword = keyword.scatter_reduce(0, spans.span_index, salience, "amax")
            return keyword if self.order == "keyword_first" else -keyword
        packed, spans = spans.read(view.hidden)
        head = view.denoiser.head
        if self.order == "confidence":
            return head.log_confidence(packed, spans) / spans.length
        return -head.entropy(packed, spans, generator=generator) / spans.length


def _random_offset(spans: PackedSpans, lottery: Tensor) -> Tensor:
    """Place of each packed token in a random order of its span, from 0, double (P,)."""
    order = lottery.argsort(stable=True)
    order = order[spans.span_index[order].argsort(stable=True)]
    place = torch.empty_like(spans.offset)
    place[order] = spans.offset  # offsets run 0.. in every span in packed order
    return place.double()


def _rank(priority: Tensor) -> Tensor:
    """Ranks of values, scaled into [0, 1)."""
    return priority.argsort().argsort().double() / max(1, len(priority))
