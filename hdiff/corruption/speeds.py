"""Speeds: how fast each token is corrupted, from its salience bucket and level.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hdiff.corruption.arguments import check_k
from hdiff.data.batch import Batch
from hdiff.errors import DataError


@dataclass(frozen=True)
class Speeds:
    """One speed per salience bucket, times a factor inside longer units of a level.

    Attributes:
        k: Speed of all tokens, or one number per salience bucket, least salient first.
        level: Level whose longer units have another speed; None for none.
        k_inside: Factor of the speed of tokens inside units of `level` that have several tokens.
    """

    k: tuple[float, ...]
    level: str | None = None
    k_inside: float = 1.0

    @classmethod
    def of(
        cls, k: float | Sequence[float], *, level: str | None = None, k_inside: float | None = None
    ) -> Speeds:
        """Checks and keeps the speeds: a number > 0, or one per bucket, and a factor inside longer units."""
        if (level is None) != (k_inside is None):
            raise DataError(
                f"level is {level!r} and k_inside is {k_inside}; give both, the level and the factor of the "
                f"speed inside its units, or none"
            )
        listed = [k] if isinstance(k, (int, float)) else list(k)
        if not listed:
            raise DataError("k is an empty list; give one number, or one per salience bucket")
        names = ["all tokens"] if len(listed) == 1 else [f"bucket {bucket}" for bucket in range(len(listed))]
        checked = tuple(check_k(value, name) for value, name in zip(listed, names, strict=True))
        return cls(
            checked, level, 1.0 if k_inside is None else check_k(k_inside, f"units of level '{level}'")
        )

    @property
    def differ(self) -> bool:
        """Whether tokens of one text have different speeds."""
        return len(set(self.k)) > 1 or self.k_inside != 1.0

    @property
    def required_levels(self) -> tuple[str, ...]:
        """Levels the data set must keep."""
        return () if self.level is None else (self.level,)

    def per_token(self, batch: Batch) -> Tensor:
        """The speed k > 0 of every token, float64 (B, L)."""
        table = torch.tensor(self.k, dtype=torch.float64, device=batch.input_ids.device)
        if len(table) == 1:
            speed = table.expand(batch.input_ids.shape)
        elif batch.salience_buckets is None:
            raise DataError(
                f"k has {len(table)} speeds, one per salience bucket, the batch has no buckets; use",
                f"data.salience_buckets={len(table)}",
            )
        elif (highest := batch.highest_bucket) >= len(table):
            raise DataError(
                f"the data set has salience bucket {highest}, k has {len(table)} "
                f"speeds; give as many speeds, or use",
                f"data.salience_buckets={len(table)}",
            )
        else:
            speed = table[batch.salience_buckets]
        if self.level is not None:
            units = batch.units(self.level)
            length = torch.zeros_like(units).scatter_add(1, units, torch.ones_like(units)).gather(1, units)
            speed = torch.where(length > 1, speed * self.k_inside, speed)
        return speed
