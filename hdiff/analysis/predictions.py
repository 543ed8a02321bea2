"""Predictions: probabilities a masked model or its planner states, and whether they came true.

Dimensions: B batch, L tokens, P packed tokens, S spans, N predictions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdiff.analysis.calibration import Calibration, calibrate
from hdiff.analysis.states import State
from hdiff.corruption.cascade import is_first
from hdiff.heads import Head
from hdiff.heads.sampling import GREEDY
from hdiff.models.planner import Plan
from hdiff.packed_spans import PackedSpans


@dataclass(frozen=True)
class Predictions:
    """Statements about rows (N,): probability in [0, 1], float64, and whether they came true, bool."""

    probability: Tensor
    came_true: Tensor
    row: Tensor


def calibrate_all(parts: Sequence[Predictions]) -> Calibration | None:
    """Calibration of all predictions together; None if there are none."""
    if not sum(len(part.row) for part in parts):
        return None
    return calibrate(
        _joined([part.probability for part in parts]).astype(np.float64),
        _joined([part.came_true for part in parts]),
        _joined([part.row for part in parts]),
    )


def token_predictions(
    head: Head, state: State, hidden: Tensor, support: Tensor | None, *, targets: Tensor
) -> Predictions:
    """The likeliest token of every hidden position alone, from trunk output (P, D); one a packed token."""
    spans = state.corrupted.spans.apart()
    probability, tokens = _greedy(head, hidden, spans, support)
    return Predictions(probability, tokens == targets, state.row)


def span_predictions(
    head: Head, state: State, hidden: Tensor, support: Tensor | None, *, targets: Tensor
) -> Predictions:
    """The greedy filling of hidden spans of two tokens or more, right only if all its tokens are."""
    spans = state.corrupted.spans
    several = spans.length > 1
    probability, tokens = _greedy(head, hidden, spans, support)
    wrong = spans.sum_tokens((tokens != targets).long())
    return Predictions(probability[several], (wrong == 0)[several], state.place[spans.row][several])


def boundary_predictions(plan: Plan, state: State, *, level: str) -> Predictions:
    """Whether a span begins at each hidden position; the first of a row, always a border, is left out."""
    chosen = state.corrupted.is_masked & state.corrupted.token_mask
    chosen[:, 0] = False
    begins = is_first(state.batch.units(level))
    return Predictions(
        plan.begin_logit[chosen].double().sigmoid(), begins[chosen], state.place[chosen.nonzero()[:, 0]]
    )


def label_predictions(plan: Plan, state: State, *, level: str) -> Predictions:
    """The most likely label of the span around each hidden position."""
    chosen = state.corrupted.is_masked & state.corrupted.token_mask
    scores = plan.label_logits[chosen].double()
    labels = state.batch.labels[level][chosen].clamp(max=scores.shape[-1] - 1)
    probability, likely = scores.softmax(-1).max(-1)
    return Predictions(probability, likely == labels, state.place[chosen.nonzero()[:, 0]])


def _greedy(head: Head, hidden: Tensor, spans: PackedSpans, support: Tensor | None) -> tuple[Tensor, Tensor]:
    """Greedy fillings: their probability, float64 (S,), at most 1, and their tokens, long (P,)."""
    options: dict[str, Any] = {} if support is None else {"support": support}
    tokens = head.sample(hidden, spans, sampling=GREEDY, **options)
    log_prob = head.log_prob(hidden, tokens, spans, **options)
    return log_prob.double().exp().clamp(max=1.0), tokens  # rounding can lead past 1


def _joined(parts: Sequence[Tensor]) -> NDArray[Any]:
    return torch.cat(list(parts)).cpu().numpy()
