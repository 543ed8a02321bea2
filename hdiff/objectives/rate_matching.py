"""rate_matching: what it costs that masking speeds are not visible.

Dimensions: B batch, S spans.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans


def rate_term(log_speed: Tensor | None, speed: Tensor, spans: PackedSpans, *, is_chain: bool) -> Tensor:
    """Cost of predicting a masked span's speed, to be weighted like its -log p.

    With times, `g(u) = u - 1 - log u` of u = predicted / true speed, computed as expm1(d) - d with d = log u.
    In the chain of states (exact counts) only which span comes next is predicted, and the term is
    `log(k / K) - log(k_hat / K_hat)`, K and K_hat being sums over the masked spans of the row; its weighted
    sum is a Kullback-Leibler divergence. Source: docs/concepts.md, "hidden speeds".

    Args:
        log_speed: Predicted log speed of each span, float (S,).
        speed: True speed of each span, > 0, float (S,).
        spans: The masked spans.
        is_chain: Whether times are left out.

    Returns:
        Nats per span, float (S,); never negative on average over the next span.

    Raises:
        DataError: If the model predicts no speed.
    """
    if log_speed is None:
        raise DataError("this corruption hides its speeds; use a Denoiser(..., predicts_speed=True)")
    true = speed.double().log()
    predicted = log_speed.double()
    if not is_chain:
        difference = predicted - true
        return torch.expm1(difference) - difference
    return (true - _log_total(true, spans)) - (predicted - _log_total(predicted, spans))


def _log_total(log_values: Tensor, spans: PackedSpans) -> Tensor:
    """log sum exp over the spans of a row, at every span of it, (S,) -> (S,)."""
    if not len(log_values):
        return log_values
    row = torch.zeros_like(spans.row)  # rows with spans, from 0: at most as many as spans
    row[1:] = (spans.row[1:] != spans.row[:-1]).cumsum(0)
    largest = torch.full_like(log_values, -torch.inf).scatter_reduce(0, row, log_values.detach(), "amax")[row]
    total = torch.zeros_like(log_values).index_add(0, row, (log_values - largest).exp())
    return total.log()[row] + largest
