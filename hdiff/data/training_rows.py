"""TrainingRows: the rows a run trains on, asked for by their place in one endless sequence.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data_order import DataOrder
from hdiff.errors import DataError


class TrainingRows(ABC):
    """An endless sequence of rows; each place is one row, of one of the processes."""

    @abstractmethod
    def batch(self, places: Sequence[int]) -> Batch:
        """The rows at some places.

        Args:
            places: Places of the sequence, from 0, increasing.

        Returns:
            The batch, on the CPU; `sample_ids` differ between different rows.
        """

    @property
    @abstractmethod
    def num_tokens(self) -> int | None:
        """Different tokens that there are to train on; None if nobody knows."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the rows are made from, JSON-able; a run is not resumed with others."""

    @abstractmethod
    def check(self, rows: int) -> None:
        """Refuses data that is too small.

        Args:
            rows: Rows that all processes take together.

        Raises:
            DataError: If there are not so many.
        """

    def state(self) -> dict[str, Any] | None:
        """How far this process is, JSON-able; None where the places say all."""
        return None

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave.

        Args:
            state: The state, of the process with the same number.

        Raises:
            DataError: If these rows have no state.
        """
        raise DataError(f"the checkpoint holds a position in a stream ({state}), the recipe names none")

    def close(self) -> None:
        """Ends what works in the background."""
        return


@final
class PreparedRows(TrainingRows):
    """The rows of one prepared data set, in shuffled epochs.

    Args:
        prepared: The data set.
        blocks: Its packed training split.
        seed: Seed of the run.
    """

    def __init__(self, prepared: PreparedData, blocks: PackedBlocks, *, seed: int) -> None:
        self.prepared = prepared
        self.blocks = blocks
        self.order = DataOrder(len(blocks), seed)

    def batch(self, places: Sequence[int]) -> Batch:
        return self.blocks.batch(self.order.rows(places))

    @property
    def num_tokens(self) -> int:
        return self.blocks.num_tokens

    def facts(self) -> dict[str, Any]:
        return {}

    def check(self, rows: int) -> None:
        if len(self.blocks) < rows:
            raise DataError(
                f"the training split of {self.prepared.path} has {len(self.blocks)} rows of "
                f"{self.blocks.sequence_length} tokens, a batch needs {rows}; prepare more text, "
                f"or lower train.batch_size or data.sequence_length"
            )
