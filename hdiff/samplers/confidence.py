"""ConfidenceSampler: fills what the model is sure of, as much at once as a threshold allows. Torch only."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from hdiff.corruption.unit_masking import UnitMasking
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import check_num_steps
from hdiff.samplers.filling import Choice, Chooser, MaskedSampler, View
from hdiff.samplers.segmentation import Segmentation, check_segmentation, segmenter
from hdiff.samplers.selection import spread, take_first, tokens_per_step


@final
class ConfidenceSampler(MaskedSampler):
    """Fills every span whose greedy filling has, per token, at least a probability; always the surest one.

    The choice looks at the model's distributions and never at what is drawn, so the bound is valid. Source:
    threshold decoding of arXiv:2505.22618, on spans in place of tokens.

    Args:
        threshold: Probability in (0, 1], the geometric mean over a span's tokens; None fills by count alone.
        num_steps: Steps T: each fills at least its share, the surest spans first; None: as many as the
            threshold needs. At least one of the two must be given.
        segmentation: `corruption` (its units, drawn once) or `planned`.
        longest: Longest planned span in tokens.
        sampling: Temperature and truncation of every draw.
        refresh: Every how many steps the trunk reads all tokens; see `MaskedSampler`.
    """

    def __init__(
        self,
        *,
        threshold: float | None = 0.9,
        num_steps: int | None = None,
        segmentation: Segmentation = "corruption",
        longest: int = 8,
        sampling: Sampling = AS_IT_IS,
        refresh: int = 1,
    ) -> None:
        super().__init__(sampling=sampling, refresh=refresh)
        if threshold is None and num_steps is None:
            raise DataError("ConfidenceSampler needs a threshold, num_steps, or both")
        if threshold is not None and not 0 < threshold <= 1:
            raise DataError(f"threshold is {threshold}; it is a probability in (0, 1]")
        self.threshold = threshold
        self.num_steps = None if num_steps is None else check_num_steps(num_steps)
        self.segmentation = check_segmentation(segmentation)
        self.longest = longest

    def begin(
        self, corruption: UnitMasking, tokens: Tensor, is_masked: Tensor, generator: torch.Generator | None
    ) -> Chooser:
        units_of = segmenter(
            self.segmentation, corruption, tokens, is_masked, longest=self.longest, generator=generator
        )

        def choose(view: View) -> Choice:
            units = units_of(view)
            spans = PackedSpans.from_units(units, view.is_masked)
            sure = view.denoiser.head.log_confidence(spans.gather(view.hidden), spans) / spans.length
            share = torch.zeros(len(units), dtype=torch.long, device=units.device)
            if self.num_steps is not None:
                share = tokens_per_step(view.is_masked, self.num_steps - view.step) - 1
            taken = take_first(spans, sure, spans.length, share.clamp(min=0), num_rows=len(units))
            if self.threshold is not None:
                taken = taken | (sure >= math.log(self.threshold))
            return Choice(units, spread(taken, spans, units.shape))

        return choose
