"""Batch: packed token sequences with their units per level. Torch only.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hdiff.errors import DataError


@dataclass(frozen=True)
class Batch:
    """Clean token sequences x_0 and what is known of their structure.

    Attributes:
        input_ids: Clean tokens x_0, long (B, L).
        token_mask: True at real tokens, False at padding (always a suffix), bool (B, L).
        unit_ids: For each level the unit a token belongs to, long (B, L): 0, 0, 1, 2, 2 ...,
            contiguous and non-decreasing within a row.
        salience: Salience of the word a token belongs to, or of the token id, in [0, 1], float (B, L).
        salience_buckets: Bucket of that salience, 0 the least salient, long (B, L).
        sample_ids: Position of each row in the data set, long (B,); seeds its noise.
    """

    input_ids: Tensor
    token_mask: Tensor
    unit_ids: Mapping[str, Tensor] = field(default_factory=dict)
    salience: Tensor | None = None
    salience_buckets: Tensor | None = None
    sample_ids: Tensor | None = None

    @classmethod
    def of(cls, input_ids: Tensor) -> Batch:
        """A batch of plain token ids without padding or structure.

        Args:
            input_ids: long (B, L).

        Returns:
            The batch.
        """
        return cls(input_ids=input_ids, token_mask=torch.ones_like(input_ids, dtype=torch.bool))

    @property
    def num_tokens(self) -> Tensor:
        """Real tokens in the batch, a scalar tensor."""
        return self.token_mask.sum()

    def units(self, level: str) -> Tensor:
        """Unit ids of one level.

        Args:
            level: `token`, or a level the data set keeps.

        Returns:
            long (B, L).

        Raises:
            DataError: If the level was not prepared.
        """
        if level == "token":
            return torch.arange(self.input_ids.shape[1], device=self.input_ids.device).expand_as(
                self.input_ids
            )
        if level not in self.unit_ids:
            raise DataError(
                f"corruption needs level '{level}', the data set keeps {sorted(self.unit_ids) or 'none'}; "
                f"re-run hdiff prepare with --levels {level}"
            )
        return self.unit_ids[level]

    def to(self, device: torch.device | str) -> Batch:
        """Copies every tensor to a device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=True),
            token_mask=self.token_mask.to(device, non_blocking=True),
            unit_ids={level: ids.to(device, non_blocking=True) for level, ids in self.unit_ids.items()},
            salience=move(self.salience),
            salience_buckets=move(self.salience_buckets),
            sample_ids=move(self.sample_ids),
        )
