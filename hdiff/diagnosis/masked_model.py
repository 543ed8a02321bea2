"""MaskedModel: all that a diagnosis asks of a model, whoever trained it.

Dimensions: B rows, L tokens, V vocabulary, M places asked about in a row, N pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hdiff.data.tokenizer import Tokenizer

MOST_ROWS = 64
MOST_SCORES = 2**26
"""Scores that one call may give, rows x tokens x vocabulary: 256 MB of float32."""


class MaskedModel(Protocol):
    """A model that predicts hidden tokens from all others, each on its own."""

    @property
    def vocab_size(self) -> int:
        """Vocabulary V of the predictions."""

    @property
    def mask_id(self) -> int:
        """Id that stands for a hidden token."""

    def log_probs(self, x_t: Tensor, token_mask: Tensor) -> Tensor:
        """Predicts every position on its own.

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L).
            token_mask: Real tokens, bool (B, L); padding is a suffix.

        Returns:
            log p(x_i = v | x_t) in nats, on the CPU, float (B, L, V); -inf for the mask, which is no token.
        """


class JointModel(MaskedModel, Protocol):
    """A masked model that also gives the joint of two neighbours from one pass."""

    def pair_log_probs(self, x_t: Tensor, places: Tensor, pairs: Tensor) -> Tensor:
        """Scores pairs of tokens for two hidden neighbours, as one span.

        Args:
            x_t: Tokens without padding, `mask_id` where hidden, long (B, L).
            places: Place of the first token of the pair in each row, long (B,).
            pairs: Pairs to score, long (B, N, 2).

        Returns:
            log p(x_i = a, x_{i+1} = b | x_t) in nats, on the CPU, float (B, N).
        """


Ends = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids that stand before and after a text."""


@dataclass(frozen=True)
class MaskedSubject:
    """A model to diagnose, and how it is used to being fed.

    Attributes:
        name: As the user names it.
        model: The model.
        tokenizer: Text to its ids and back.
        longest: Longest row it can read, its ends included, in tokens.
        row_ends: What stands before and after a piece of running text.
        sentence_ends: What stands before and after a sentence that is a document of its own.
        joint: The model itself if it has a joint over neighbours; None if it fills tokens apart.
        step: Updates done by the weights of a run; None of other models.
    """

    name: str
    model: MaskedModel
    tokenizer: Tokenizer
    longest: int
    row_ends: Ends = ((), ())
    sentence_ends: Ends = ((), ())
    joint: JointModel | None = None
    step: int | None = None


def between(ends: Ends, tokens: Sequence[int]) -> list[int]:
    """Tokens between the ends of a text."""
    return [*ends[0], *tokens, *ends[1]]


@torch.no_grad()
def log_probs_at(model: MaskedModel, rows: Sequence[Sequence[int]], places: Sequence[int]) -> Tensor:
    """log p in nats at some places of rows, float64 (B, M, V), in calls of bounded size."""
    length = max(len(row) for row in rows)
    ask = getattr(model, "log_probs_at", None)  # of models that score some places only
    scored = length if ask is None else len(places)
    per_call = max(1, min(MOST_ROWS, MOST_SCORES // (scored * model.vocab_size)))
    parts = []
    for first in range(0, len(rows), per_call):
        chosen = rows[first : first + per_call]
        x_t = torch.tensor([[*row, *[0] * (length - len(row))] for row in chosen])
        lengths = torch.tensor([len(row) for row in chosen])
        token_mask = torch.arange(length) < lengths[:, None]
        if ask is None:
            parts.append(model.log_probs(x_t, token_mask)[:, list(places)].double())
        else:
            parts.append(ask(x_t, token_mask, places).double())
    return torch.cat(parts)
