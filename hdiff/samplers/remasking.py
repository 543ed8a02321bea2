"""RemaskingSampler: spans that turned out unlikely are masked again as a whole and redrawn.

Dimensions: B rows, L tokens, S spans.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.wrapped import unwrapped
from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import check_num_steps
from hdiff.samplers.ancestral import AncestralSampler
from hdiff.samplers.base import FillsMasks, OnStep, UnscoredSampler
from hdiff.samplers.samples import Samples, passes_of
from hdiff.samplers.selection import cut, first_positions, spread, take_first


@final
class RemaskingSampler(UnscoredSampler):
    """Ancestral filling, then rounds in which a random half of the spans is hidden and its worst redrawn.

    A round hides a share of the spans, scores what stood there given the rest (one trunk call), puts the
    likely spans back and redraws the others from the same call. It has **no likelihood bound**: what is kept
    depends on what was drawn. Source of the idea: ReMDM, arXiv:2503.00307, on whole spans, with a score that
    does not let a token vouch for itself.

    Args:
        num_steps: Trunk calls T in all.
        rounds: How many of them are rounds of redrawing, < T.
        checked: Share of the spans that a round hides and scores, in (0, 1].
        redrawn: Share of those that are redrawn, the least likely per token, in (0, 1].
        sampling: Temperature and truncation of every draw.
    """

    why_no_score = (
        "RemaskingSampler has no likelihood bound: what it keeps depends on what it drew; score with "
        "AncestralSampler at the same number of steps"
    )

    def __init__(
        self,
        num_steps: int,
        *,
        rounds: int = 1,
        checked: float = 0.25,
        redrawn: float = 0.5,
        sampling: Sampling = AS_IT_IS,
    ) -> None:
        super().__init__(sampling=sampling)
        self.num_steps = check_num_steps(num_steps)
        if not 0 <= rounds < num_steps:
            raise DataError(
                f"num_steps is {num_steps} with {rounds} rounds; leave at least one step for filling"
            )
        for name, share in (("checked", checked), ("redrawn", redrawn)):
            if not 0 < share <= 1:
                raise DataError(f"{name} is {share}; it is a share in (0, 1]")
        self.rounds, self.checked, self.redrawn = rounds, checked, redrawn

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
        filler = AncestralSampler(self.num_steps - self.rounds, sampling=self.sampling)
        first = filler.sample(denoiser, corruption, tokens, generator=generator, on_step=on_step)
        masked = corruption.masked_units()
        assert masked is not None, "the ancestral sampler refuses all others"
        tokens, steps, units, passes = first.tokens, first.steps, first.units, first.passes
        is_free = steps >= 0
        for number in range(self.rounds):
            cuts = cut(masked.units(Batch.of(tokens), generator=generator), is_free)
            spans = PackedSpans.from_units(cuts, is_free)
            lottery = torch.rand(spans.num_spans, generator=generator, device=tokens.device)
            hidden_spans = _share(spans, lottery, self.checked, len(tokens))
            is_hidden = spread(hidden_spans, spans, tokens.shape)
            spans = PackedSpans.from_units(cuts, is_hidden)
            packed, spans = spans.read(denoiser.hidden(tokens.masked_fill(is_hidden, denoiser.mask_id)))
            log_prob = denoiser.head.log_prob(packed, spans.gather(tokens), spans) / spans.length
            is_bad = spread(_share(spans, -log_prob, self.redrawn, len(tokens)), spans, tokens.shape)
            drawn = denoiser.head.sample(packed, spans, generator=generator, sampling=self.sampling)
            step = is_hidden.long() - 1  # 0 where drawn
            one = torch.ones_like(passes)
            passes = passes + passes_of(denoiser.head, step, first_positions(cuts), one)
            tokens = torch.where(is_bad, spans.scatter(tokens, drawn), tokens)
            steps = steps.masked_fill(is_bad, first.nfe + number)
            units = torch.where(is_bad, first_positions(cuts), units)
            if on_step is not None:
                on_step(first.nfe + number, tokens)
        calls = first.calls + self.rounds
        return Samples(tokens, steps, units, nfe=first.nfe + self.rounds, calls=calls, passes=passes)


def _share(spans: PackedSpans, priority: Tensor, share: float, num_rows: int) -> Tensor:
    """The first `share` of the spans of each row by falling priority, at least one: bool (S,)."""
    ones = torch.ones_like(spans.length)
    count = torch.zeros(num_rows, dtype=torch.float64, device=ones.device)
    count = count.index_add(0, spans.row, ones.double())
    budget = (count * share).round().sub(1).clamp(min=0)
    return take_first(spans, priority, ones, budget, num_rows=num_rows)
