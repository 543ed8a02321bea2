"""DependencySampler: fills together what does not depend on each other, as the network's attention tells.

Dimensions: B rows, L tokens, S spans, U units of a row.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.beside_given import BesideGiven
from hdiff.models.seen_attention import attention_seen, last_quarter
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.choice import View
from hdiff.samplers.segmentation import Segmentation, SegmentedSampler


@final
class DependencySampler(SegmentedSampler):
    """Fills spans by falling confidence, and leaves out those that depend on one that is filled already.

    Two spans depend on each other if a token of one attends to a token of the other `strength` times as much
    as the tokens of the row do on average, in the last quarter of the layers. So a token that all attend to
    (a sink) ties nobody. What is filled together is an independent set of that graph, as in DAPD
    (arXiv:2603.12996). With `sure` and `anchored` spans come on top that are sure of themselves, or depend on
    a visible token: the two rules of DAWN (arXiv:2602.06953). Graph and confidences are ours in detail.

    The choice looks at the state alone, so the bound is valid; of single tokens it is -log p itself
    (arXiv:2603.01367).

    Args:
        strength: How many times the average attention ties two tokens, > 0; larger fills more at once.
        threshold: Probability per token of the greedy filling that a span must reach, in (0, 1]; None: none
            must. The surest span of a row is always filled.
        sure: The same, from which on a span is filled whatever depends on it; None: never.
        anchored: The same for spans that depend on a visible token; None: never.
        segmentation: `corruption` (its units, drawn once) or `planned`.
        longest: Longest planned span in tokens.
        sampling: Temperature and truncation of every draw.
    """

    def __init__(
        self,
        *,
        strength: float = 2.0,
        threshold: float | None = None,
        sure: float | None = None,
        anchored: float | None = None,
        segmentation: Segmentation = "corruption",
        longest: int = 8,
        sampling: Sampling = AS_IT_IS,
    ) -> None:
        super().__init__(segmentation=segmentation, longest=longest, sampling=sampling)
        if not 0 < strength < float("inf"):
            raise DataError(f"strength is {strength}; give a number above 0 (1 is the average attention)")
        for name, value in {"threshold": threshold, "sure": sure, "anchored": anchored}.items():
            if value is not None and not 0 < value <= 1:
                raise DataError(f"{name} is {value}; it is a probability in (0, 1]")
        self.strength, self.threshold = strength, threshold
        self.sure, self.anchored = sure, anchored

    def take(self, view: View, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        tied = self._tied(view)  # (B, L, L)
        head = view.denoiser.head
        confidence = head.log_confidence(*spans.read(view.hidden)) / spans.length  # (S,)
        may = torch.ones_like(confidence, dtype=torch.bool)
        if self.threshold is not None:
            may = confidence >= math.log(self.threshold)
        taken = _independent(spans, confidence, may, tied)
        if self.sure is not None:
            taken |= confidence >= math.log(self.sure)
        if self.anchored is not None:
            to_visible = (tied & ~view.is_masked[:, None, :]).any(-1)  # (B, L)
            is_anchored = spans.sum_tokens(spans.gather(to_visible).long()) > 0
            taken |= is_anchored & (confidence >= math.log(self.anchored))
        return taken

    def _tied(self, view: View) -> Tensor:
        """Whether tokens depend on each other, symmetric, bool (B, L, L)."""
        network = view.denoiser
        if getattr(network, "reads_in_order", False):
            raise DataError(
                "the model has attention any_order, in which hidden tokens do not see each other; use the "
                "sampler 'confidence'"
            )
        with attention_seen(getattr(network, "trunk", network)) as seen:
            _ = view.hidden  # read here, or before
            if not seen:
                network.hidden(view.tokens)
        weights = torch.stack(last_quarter(seen)).mean(0)  # (rows that were read, L, L)
        active = view.is_masked.any(1)
        every = weights.new_zeros(len(active), *weights.shape[1:])
        if len(weights) == len(active):
            every = weights
        else:
            every[active] = weights  # of all active rows, or of the one row that they all are
        if isinstance(network, BesideGiven):
            every = network.among_free(every)
        # Divided by what a token gets on average, so that sinks tie nobody.
        lift = every / every.mean(1, keepdim=True).clamp(min=1e-9)
        is_tied = lift > self.strength
        return is_tied | is_tied.mT


def _independent(spans: PackedSpans, confidence: Tensor, may: Tensor, tied: Tensor) -> Tensor:
    """Spans of each row by falling confidence that are tied to none taken before; the first always.

    Args:
        spans: The hidden spans.
        confidence: What comes first, float (S,).
        may: Whether a span may be taken, bool (S,).
        tied: Whether tokens depend on each other, bool (B, L, L).

    Returns:
        bool (S,).
    """
    num_rows, length = tied.shape[:2]
    number = torch.arange(spans.num_spans, device=tied.device)
    start = torch.searchsorted(spans.row, torch.arange(num_rows, device=tied.device))  # first span of a row
    place = number - start[spans.row]  # (S,): of a span in its row
    most = int(place.max()) + 1
    slot = torch.full((num_rows * length,), most, device=tied.device)
    slot[spans.token_index] = place[spans.span_index]
    one_hot = torch.nn.functional.one_hot(slot.view(num_rows, length), most + 1)[..., :most].float()
    between = (one_hot.mT @ tied.float() @ one_hot) > 0  # (B, U, U)
    ranked = torch.full((num_rows, most), -torch.inf, device=tied.device, dtype=confidence.dtype)
    ranked[spans.row, place] = confidence
    order = ranked.argsort(dim=1, descending=True, stable=True)
    may_be = torch.zeros(num_rows, most, dtype=torch.bool, device=tied.device)
    may_be[spans.row, place] = may
    rows = torch.arange(num_rows, device=tied.device)
    has_spans = torch.zeros_like(rows, dtype=torch.bool).index_fill(0, spans.row, True)
    may_be[rows[has_spans], order[has_spans, 0]] = True
    taken = torch.zeros_like(may_be)
    for rank in range(most):
        chosen = order[:, rank]
        is_free = may_be[rows, chosen] & ~(between[rows, chosen] & taken).any(1)
        taken[rows, chosen] |= is_free
    return taken[spans.row, place]
