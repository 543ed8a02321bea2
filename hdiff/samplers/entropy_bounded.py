"""EntropyBoundedSampler: as many spans per step as their dependence allows."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.errors import DataError
from hdiff.heads import ProductHead
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.base import HasHead
from hdiff.samplers.choice import View
from hdiff.samplers.segmentation import Segmentation, SegmentedSampler
from hdiff.samplers.selection import take_first


@final
class EntropyBoundedSampler(SegmentedSampler):
    """Adaptive parallelism: the total correlation of what is filled together stays below `gamma`.

    The total correlation of spans is at most the sum of their entropies less the largest, so spans are taken
    by rising entropy while those before sum to at most gamma. Easy text takes few steps, hard text many. With
    a joint head the entropy is the span's joint entropy, estimated from one draw that is thrown away, so the
    promise then holds for the estimate. Source: arXiv:2505.24857, on spans in place of tokens.

    Args:
        gamma: Nats of dependence allowed per step, >= 0; 0 fills one span and those that are certain.
        segmentation: `corruption` (its units, drawn once) or `planned`.
        longest: Longest planned span in tokens.
        sampling: Temperature and truncation of every draw.
        refresh: Every how many steps the trunk reads all tokens; see `MaskedSampler`.
    """

    def __init__(
        self,
        gamma: float,
        *,
        segmentation: Segmentation = "corruption",
        longest: int = 8,
        sampling: Sampling = AS_IT_IS,
        refresh: int = 1,
    ) -> None:
        super().__init__(segmentation=segmentation, longest=longest, sampling=sampling, refresh=refresh)
        if not 0 <= gamma < float("inf"):
            raise DataError(f"gamma is {gamma}; give nats >= 0 (0 fills one span at a time)")
        self.gamma = gamma

    def is_exact(self, denoiser: HasHead, corruption: Corruption) -> bool:
        # The entropy of a joint head is estimated from a draw.
        return isinstance(denoiser.head, ProductHead) and super().is_exact(denoiser, corruption)

    def take(self, view: View, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        entropy = view.denoiser.head.entropy(*spans.read(view.hidden), generator=generator)
        entropy = entropy.double().clamp(min=0.0)
        budget = torch.full_like(view.tokens[:, 0], self.gamma, dtype=torch.float64)
        return take_first(spans, -entropy, entropy, budget, num_rows=len(budget))
