"""HidingTimes: when each token of a text is hidden, and each type above it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class HidingTimes:
    """One draw of the times of a text.

    Attributes:
        tokens: Time in [0, 1] at which each token is hidden or replaced, float (B, L).
        types: The same of the types of each stream, in the order of `type_codes`.
        is_replaced: Whether another token takes the place of a token, and no mask.
    """

    tokens: Tensor
    types: tuple[Tensor, ...] = ()
    is_replaced: bool = False
