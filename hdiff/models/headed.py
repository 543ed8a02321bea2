"""Headed: what all models have, a head that owns the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from hdiff.heads.base import Head
from hdiff.models.length_head import LengthHead


class Headed(nn.Module):
    """A network with a head.

    Attributes:
        head: Scores tokens; it owns the token table.
        supervision: A second loss on the trunk's output (`hdiff.supervision`), while the network is trained.
        length_head: Says how many tokens an answer, or a gap of free length, has; None for no such head.
        frozen: Names of weights that stay as the checkpoint has them which the network started from.
    """

    head: Head
    frozen: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.supervision: nn.Module | None = None
        self.length_head: LengthHead | None = None

    @property
    def vocab_size(self) -> int:
        """Vocabulary V, without the mask."""
        return self.head.vocab_size

    @property
    def mask_id(self) -> int:
        """V: the id of a hidden token; in a family that hides none, no state holds it."""
        return self.head.vocab_size

    def unclipped_parameters(self) -> Iterable[nn.Parameter]:
        """Those whose gradients are mostly noise: their norm must not shorten the step of all others."""
        return ()
