"""TokenMasking: every token is a unit of its own, the flat baseline."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from hdiff.corruption.unit_masking import UnitMasking
from hdiff.data.batch import Batch


@final
class TokenMasking(UnitMasking):
    """Masks tokens independently. Source: MDLM, arXiv:2406.07524; MD4, arXiv:2406.04329."""

    def units(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        return batch.units("token")

    @property
    def conditional_on_structure(self) -> bool:
        return False

    def unconditional(self) -> TokenMasking:
        return self
