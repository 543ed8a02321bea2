"""Sampling: how tokens are drawn from log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hdiff.errors import DataError

_PART = 2**18
"""Scores whose noise is drawn at a time on a CPU: 2 MB in float64."""


@final
@dataclass(frozen=True)
class Sampling:
    """Temperature and truncation of each categorical draw, in the order banned, temperature, top-k, top-p.

    With the defaults the model is sampled as it is; anything else draws from another distribution than the
    one a bound scores.

    Args:
        temperature: Divides the logits; > 0.
        top_k: Keep the k most likely values; None keeps all.
        top_p: Keep the fewest most likely values that together have this probability; None keeps all.
            Source: nucleus sampling, arXiv:1904.09751.
        banned: Values that are never drawn, for example the separator of documents.

    Raises:
        DataError: If a number is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise DataError(
                f"temperature is {self.temperature}; it must be > 0 (1 samples the model as it is)"
            )
        if self.top_k is not None and self.top_k < 1:
            raise DataError(f"top_k is {self.top_k}; keep at least 1 value (1 is greedy)")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise DataError(f"top_p is {self.top_p}; it is a probability in (0, 1]")
        if any(value < 0 for value in self.banned):
            raise DataError(f"banned holds {min(self.banned)}; give ids >= 0")

    @property
    def is_exact(self) -> bool:
        """Whether the model's own distribution is drawn from."""
        return self.temperature == 1 and self.top_k is None and self.top_p in (None, 1.0) and not self.banned

    def restrict(self, logits: Tensor) -> Tensor:
        """Scores that are drawn from, float64 (..., V), not normalised, -inf where a value is cut off."""
        scores = logits.to(torch.float64, copy=True)
        if self.temperature != 1:
            scores /= self.temperature
        if self.banned:
            if max(self.banned) >= scores.shape[-1] or len(set(self.banned)) >= scores.shape[-1]:
                raise DataError(
                    f"banned is {self.banned} of {scores.shape[-1]} values; leave one, ban none else"
                )
            scores[..., list(self.banned)] = -torch.inf
        if self.top_k is not None and self.top_k < scores.shape[-1]:
            kept = scores.topk(self.top_k, dim=-1)
            scores = torch.full_like(scores, -torch.inf).scatter(-1, kept.indices, kept.values)
        if self.top_p is not None and self.top_p < 1:
            ordered, place = scores.sort(dim=-1, descending=True)
            probability = ordered.softmax(-1)
            # A value stays while those before it have less than top_p: the first always does.
            cut = probability.cumsum(-1) - probability >= self.top_p
            scores = torch.full_like(scores, -torch.inf).scatter(
                -1, place, ordered.masked_fill(cut, -torch.inf)
            )
        return scores

    def draw(self, logits: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draws one value per row by the Gumbel-max trick in float64.

        In float32 the noise is truncated, which acts as a lower temperature and flatters judged sample
        quality. Source: arXiv:2409.02908.

        Args:
            logits: float (..., V).
            generator: Source of randomness, on the device of `logits`.

        Returns:
            Indices, long (...).
        """
        rows = logits.reshape(-1, logits.shape[-1])
        # Parts stay in the processor's cache; a CPU draws the same numbers whether at once or in parts.
        size = max(1, _PART // rows.shape[-1]) if rows.device.type == "cpu" else max(1, len(rows))
        drawn = [self._draw_rows(part, generator) for part in torch.split(rows, size)]
        return torch.cat(drawn).view(logits.shape[:-1])

    def _draw_rows(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, V) -> (N,)."""
        noise = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=torch.float64)
        noise.clamp_(min=torch.finfo(torch.float64).tiny).log_().neg_().log_()  # minus Gumbel
        return self.restrict(logits).sub_(noise).argmax(-1)


AS_IT_IS = Sampling()
GREEDY = Sampling(top_k=1)
