"""ConfidenceSampler: fills what the model is sure of, as much at once as a threshold allows."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor

from hdiff.errors import DataError
from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import check_num_steps
from hdiff.samplers.choice import View
from hdiff.samplers.segmentation import Segmentation, SegmentedSampler
from hdiff.samplers.selection import take_first, tokens_per_step


@final
class ConfidenceSampler(SegmentedSampler):
    """Fills every span whose greedy filling has, per token, at least a probability; always the surest one.

    The choice looks at the model's distributions and never at what is drawn, so the bound is valid: given
    what is visible, the order is deterministic. Source: threshold decoding of arXiv:2505.22618, on spans in
    place of tokens; the margin is that of arXiv:2502.06768.

    Args:
        threshold: What a span must reach, in (0, 1]; None fills by count alone.
        num_steps: Steps T: each fills at least its share, the surest spans first; None: as many as the
            threshold needs. At least one of the two must be given.
        measure: `probability` of the greedy filling, the geometric mean over a span's tokens; or `margin` of
            the most likely token over the second, the mean over its tokens, each on its own.
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
        measure: Literal["probability", "margin"] = "probability",
        segmentation: Segmentation = "corruption",
        longest: int = 8,
        sampling: Sampling = AS_IT_IS,
        refresh: int = 1,
    ) -> None:
        super().__init__(segmentation=segmentation, longest=longest, sampling=sampling, refresh=refresh)
        if threshold is None and num_steps is None:
            raise DataError("ConfidenceSampler needs a threshold, num_steps, or both")
        if threshold is not None and not 0 < threshold <= 1:
            raise DataError(f"threshold is {threshold}; it is a probability in (0, 1]")
        if measure not in ("probability", "margin"):
            raise DataError(f"measure is '{measure}'; use 'probability' or 'margin'")
        self.threshold, self.measure = threshold, measure
        self.num_steps = None if num_steps is None else check_num_steps(num_steps)

    def take(self, view: View, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        sure = self._log_sure(view.denoiser.head, *spans.read(view.hidden))
        share = torch.zeros_like(view.tokens[:, 0])
        if self.num_steps is not None:
            share = tokens_per_step(view.is_masked, self.num_steps - view.step) - 1
        taken = take_first(spans, sure, spans.length, share.clamp(min=0), num_rows=len(share))
        return taken if self.threshold is None else taken | (sure >= math.log(self.threshold))

    def _log_sure(self, head: Head, packed: Tensor, spans: PackedSpans) -> Tensor:
        """Log of the measure of each span, <= 0, float (S,)."""
        if self.measure == "probability":
            return head.log_confidence(packed, spans) / spans.length
        most = head.token_log_probs(packed, spans.apart()).topk(2, dim=-1).values.exp()  # (P, 2)
        return (spans.sum_tokens(most[:, 0] - most[:, 1]) / spans.length).log()
