"""MaskedUnits: what samplers ask of a corruption whose units may be filled in any order.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from hdiff.data.batch import Batch


class MaskedUnits(Protocol):
    """Units of hidden tokens that may be filled in any order; `UnitMasking` is one."""

    @property
    def mask_id(self) -> int | None:
        """Id of a hidden token."""

    @property
    def conditional_on_structure(self) -> bool:
        """Whether the units were parsed from the text."""

    def units(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        """Unit ids, long (B, L): 0, 0, 1, 2, 2 ...; no unit holds both real tokens and padding."""
