"""DataOrder: which rows a step trains on, as a function of the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from hdiff.seeds import derive_seed


class DataOrder:
    """An endless sequence of shuffled epochs over the rows of a data set."""

    def __init__(self, num_rows: int, seed: int) -> None:
        self.num_rows = num_rows
        self.seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def rows(self, places: Iterable[int]) -> list[int]:
        """Numbers of the rows at some places of the endless sequence."""
        return [self._row(place) for place in places]

    def _row(self, place: int) -> int:
        epoch, position = divmod(place, self.num_rows)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            self._order = torch.randperm(self.num_rows, generator=generator).tolist()
            self._epoch = epoch
        return self._order[position]
