"""Frequency collapse: do predictions far from visible text fall back to how frequent tokens are?

Source: arXiv:2512.22630, "uniform corruption"; we append masks to held-out prefixes as it does, and add what
prefixes still tell (`prefix_information`). Dimensions: N prefixes, D masks, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hdiff.diagnosis.masked_model import MaskedSubject, between, log_probs_at
from hdiff.errors import DataError

MOST_FREQUENT = 10
FAR = 8
"""Masks at the far end that a summary averages over."""
NOTHING = 1e-6
"""Nats below which there is no distance from the unigram distribution to halve."""


@dataclass(frozen=True)
class FrequencyCollapse:
    """What a model says of D hidden tokens after N held-out prefixes; lists have an entry per distance.

    Attributes:
        distance: Tokens from the visible text, 1 to D.
        kl_to_unigram: KL(prediction || unigram distribution), nats, mean over prefixes.
        kl_stderr: Its standard error over prefixes.
        entropy: Entropy of the prediction, nats, mean over prefixes.
        unigram_entropy: Entropy of the unigram distribution, nats.
        top10_share: Share of prefixes whose likeliest token is one of the ten most frequent ones.
        true_probability: Probability of the token that the text has there, mean over prefixes.
        true_nats: Its -log p, mean over prefixes.
        unigram_nats: The same under the unigram distribution.
        prefix_information: Entropy of the mean prediction less mean entropy, nats, at most log N: what the
            prefix tells the model of that place.
        mean_to_unigram: KL(mean prediction || unigram distribution), nats: the rest of `kl_to_unigram`.
        prefixes: Prefixes N.
        prefix_tokens: Tokens of each.
        half_distance: First distance at which KL is at most half of KL at distance 1; None if there is none.
        kl_near: KL at distance 1.
        kl_far: KL over the last 8 distances, mean.
        kl_far_stderr: Its standard error over prefixes.
    """

    distance: list[int]
    kl_to_unigram: list[float]
    kl_stderr: list[float]
    entropy: list[float]
    unigram_entropy: float
    top10_share: list[float]
    true_probability: list[float]
    true_nats: list[float]
    unigram_nats: list[float]
    prefix_information: list[float]
    mean_to_unigram: list[float]
    prefixes: int
    prefix_tokens: int
    half_distance: int | None
    kl_near: float
    kl_far: float
    kl_far_stderr: float


def measure_frequency_collapse(
    subject: MaskedSubject,
    rows: Sequence[Sequence[int]],
    unigram: Tensor,
    *,
    masks: int,
    progress: Callable[[int], None] | None = None,
) -> FrequencyCollapse:
    """Hides the last tokens of rows and compares one pass's predictions with the unigram distribution.

    Args:
        subject: The model.
        rows: Held-out rows of equal length, longer than `masks` tokens.
        unigram: log p of each token in the reference text, float64 (V,).
        masks: Tokens to hide at the end of each row D.
        progress: Called with the number of rows done.

    Returns:
        The figures.

    Raises:
        DataError: If there are fewer than two rows, no mask, or no token before the masks.
    """
    prefix = len(rows[0]) - masks if rows else 0
    if len(rows) < 2 or masks < 1 or prefix < 1:
        raise DataError(
            f"{len(rows)} prefixes of {prefix} tokens before {masks} masks; standard errors need 2 prefixes, "
            f"each of at least 1 token before at least 1 mask"
        )
    model, before = subject.model, len(subject.row_ends[0])
    places = range(before + prefix, before + prefix + masks)
    frequent = unigram.topk(min(MOST_FREQUENT, len(unigram))).indices
    kl, entropy, true, is_frequent = [], [], [], []
    total = torch.zeros(masks, len(unigram), dtype=torch.float64)
    for number, row in enumerate(rows, start=1):
        hidden = between(subject.row_ends, [*row[:prefix], *[model.mask_id] * masks])
        log_p = log_probs_at(model, [hidden], places)[0]  # (D, V)
        p = log_p.exp()
        total += p
        entropy.append(torch.special.entr(p).sum(-1))
        kl.append(cross(p, log_p - unigram))
        true.append(log_p.gather(1, torch.tensor(row[prefix:])[:, None]).squeeze(1))
        is_frequent.append(torch.isin(log_p.argmax(-1), frequent).double())
        if progress is not None:
            progress(number)
    every_kl, every_true = torch.stack(kl), torch.stack(true)  # (N, D)
    mean_entropy = torch.stack(entropy).mean(0)
    far = every_kl[:, -FAR:].mean(1)
    curve, mean = every_kl.mean(0), total / len(rows)
    return FrequencyCollapse(
        distance=list(range(1, masks + 1)),
        kl_to_unigram=curve.tolist(),
        kl_stderr=stderr(every_kl).tolist(),
        entropy=mean_entropy.tolist(),
        unigram_entropy=float(torch.special.entr(unigram.exp()).sum()),
        top10_share=torch.stack(is_frequent).mean(0).tolist(),
        true_probability=every_true.exp().mean(0).tolist(),
        true_nats=(-every_true).mean(0).tolist(),
        unigram_nats=(-unigram[torch.tensor([list(row[prefix:]) for row in rows])]).mean(0).tolist(),
        prefix_information=(torch.special.entr(mean).sum(-1) - mean_entropy).tolist(),
        mean_to_unigram=cross(mean, mean.log() - unigram).tolist(),
        prefixes=len(rows),
        prefix_tokens=prefix,
        half_distance=_half_distance(curve),
        kl_near=float(curve[0]),
        kl_far=float(far.mean()),
        kl_far_stderr=float(stderr(far)),
    )


def cross(p: Tensor, values: Tensor) -> Tensor:
    """Mean of values under p; what has no probability counts nothing, however bad: (..., V) -> (...)."""
    return torch.where(p > 0, p * values, torch.zeros_like(p)).sum(-1)


def stderr(values: Tensor) -> Tensor:
    """Standard error of a mean over the first dimension: (N, ...) -> (...)."""
    return values.std(0) / math.sqrt(len(values))


def _half_distance(curve: Tensor) -> int | None:
    if curve[0] < NOTHING:
        return None
    low = (curve <= curve[0] / 2).nonzero().flatten()
    return int(low[0]) + 1 if len(low) else None
