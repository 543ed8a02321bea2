"""best_bound: the lowest bound any denoiser can have, and that of a given one, by enumeration.

Dimensions: N strings of the language, L tokens, C = N 2^L states with their strings.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hdiff.audit.exact import ExactDenoiser
from hdiff.corruption import Corrupted
from hdiff.data.batch import Batch
from hdiff.models.output import DenoiserOutput
from hdiff.objectives import nelbo
from hdiff.packed_spans import PackedSpans

NUM_TIMES = 128

Predictor = Callable[[Corrupted, Tensor | None], DenoiserOutput]
"""Reads states and, for independent times, their times, float (C,)."""


def best_bound(denoiser: ExactDenoiser) -> float:
    """What the exact posterior scores on average.

    It is the entropy H if speeds are visible. If they are hidden, when or in which order visible tokens were
    revealed tells about tokens that are still hidden; the state keeps no record of it, and no denoiser that
    reads the state alone gets down to H. Only speeds that are a function of the token, with independent
    times, have no such memory and reach H.

    Args:
        denoiser: The exact denoiser.

    Returns:
        Nats per string, >= H up to the error of the midpoint rule (about 2e-4).
    """
    if denoiser.speeds is None:
        return denoiser.language.entropy
    return enumerated_bound(denoiser, denoiser)


def enumerated_bound(denoiser: ExactDenoiser, predict: Predictor, *, num_times: int = NUM_TIMES) -> float:
    """The bound of a predictor where speeds are hidden, without drawing anything.

    We sum over all strings and masks, and over times by the midpoint rule at t = u^4.

    Args:
        denoiser: The exact denoiser, for its language and its speeds.
        predict: The predictor.
        num_times: Times of the midpoint rule, for independent times.

    Returns:
        Nats per string, up to the error of the midpoint rule (about 2e-4 with 128 times).
    """
    language, speeds = denoiser.language, denoiser.speeds
    assert speeds is not None, "visible speeds need no enumeration of times"
    num_masks = 2**language.length
    masks = (torch.arange(num_masks)[:, None] >> torch.arange(language.length)) & 1 == 1
    is_masked = masks.repeat(len(language.strings), 1)  # (C, L)
    x_0, speed = (values.repeat_interleave(num_masks, 0) for values in (language.strings, speeds))
    probability = language.probability.repeat_interleave(num_masks)
    if denoiser.is_chain:
        probability = probability * denoiser.orders.T.flatten()
        total = (speed * is_masked).sum(1, keepdim=True)
        return _mean(denoiser, predict, x_0, is_masked, speed, speed / total, probability, None)
    schedule, value = denoiser.corruption.schedule, 0.0
    for u in (torch.arange(num_times, dtype=torch.float64) + 0.5) / num_times:
        t = u**4
        p = schedule.p_mask(t) ** speed
        at_t = probability * torch.where(is_masked, p, 1 - p).prod(1)
        weight = speed * schedule.reverse_hazard(t)
        value += _mean(denoiser, predict, x_0, is_masked, speed, weight, at_t * 4 * u**3 / num_times, t)
    return value


def _mean(
    denoiser: ExactDenoiser,
    predict: Predictor,
    x_0: Tensor,
    is_masked: Tensor,
    speed: Tensor,
    weight: Tensor,
    probability: Tensor,
    t: Tensor | None,
) -> float:
    """Sum over all states of probability times weighted loss; `speed` and `weight` are (C, L)."""
    spans = PackedSpans.from_units(torch.arange(x_0.shape[1]).expand_as(x_0), is_masked)
    corrupted = Corrupted(
        x_t=x_0.masked_fill(is_masked, denoiser.mask_id),
        x_0=x_0,
        token_mask=torch.ones_like(is_masked),
        is_masked=is_masked,
        spans=spans,
        weight=spans.gather(weight),
        conditional_on_structure=False,
        speed=spans.gather(speed),
        is_chain=denoiser.is_chain,
    )
    output = predict(corrupted, None if t is None else t.expand(len(x_0)))
    return float((nelbo(output, Batch.of(x_0), corrupted).nats * probability).sum())
