"""TrainingRows: the rows a run trains on, asked for by their place in one endless sequence.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, final

from hdiff.config import DataConfig
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.rows.data_order import DataOrder
from hdiff.data.token_targets import TargetSpec
from hdiff.errors import DataError


@dataclass(frozen=True)
class RowTerms:
    """What all rows of a run have in common, whatever corpus they are from.

    Attributes:
        data: The recipe's section.
        prepared: The data set of `data.path`, whose tokenizer, labels and buckets count.
        blocks: Its packed training split.
        levels: Levels whose units are needed.
        uses_salience: Whether training reads the salience of words.
        process: Number of this process, and how many there are.
        targets: What supervision predicts of each token; None for nothing.
        rejected: File that lists rows of streams without text; None for none.
    """

    data: DataConfig
    prepared: PreparedData
    blocks: PackedBlocks
    levels: Sequence[str]
    uses_salience: bool
    process: tuple[int, int] = (0, 1)
    targets: TargetSpec | None = None
    rejected: Path | None = None


class TrainingRows(ABC):
    """An endless sequence of rows; each place is one row, of one of the processes."""

    @abstractmethod
    def batch(self, places: Sequence[int]) -> Batch:
        """The rows at some rising places, on the CPU; `sample_ids` differ between different rows."""

    @property
    @abstractmethod
    def num_tokens(self) -> int | None:
        """Different tokens that there are to train on; None if nobody knows."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the rows are made from, JSON-able; a run is not resumed with others."""

    @abstractmethod
    def check(self, rows: int) -> None:
        """Refuses data with fewer rows than all processes take together."""

    @property
    def num_samples(self) -> int | None:
        """Different rows, whose sample ids are 0 to one below; None if nobody knows."""
        return None

    def samples(self, ids: range) -> Batch:
        """Rows by their sample ids, on the CPU; `num_samples` says which there are."""
        raise NotImplementedError(f"rows of a stream have no numbers: {ids}")

    def notes(self) -> list[str]:
        """What is to be said of the text this process has read, a sentence each."""
        return []

    def state(self) -> dict[str, Any] | None:
        """How far this process is, JSON-able; None where the places say all."""
        return None

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave to the process of the same number."""
        raise DataError(f"the checkpoint holds a position in a stream ({state}), the recipe names none")

    def close(self) -> None:
        """Ends what works in the background."""
        return


class CorpusRows(TrainingRows):
    """Rows of one corpus, which may be a member of a mixture."""

    @property
    @abstractmethod
    def epoch_rows(self) -> int | None:
        """Rows of an epoch; None of a stream, which keeps its own position."""

    @abstractmethod
    def numbered(self, numbers: Sequence[int]) -> Batch:
        """Rows as a mixture asks for them.

        Args:
            numbers: How many rows of this corpus, of all processes, lie before each, increasing.

        Returns:
            The rows, of a stream its next ones; `sample_ids` are below `epoch_rows`, of a stream the numbers.
        """

    @abstractmethod
    def member_facts(self) -> dict[str, Any]:
        """What tells this corpus apart from others, JSON-able."""

    @abstractmethod
    def check(self, rows: int, share: Fraction = Fraction(1)) -> None:
        """Refuses a corpus with fewer rows than all processes take together as its share."""


@final
class PreparedRows(CorpusRows):
    """The packed rows of one prepared data set, in shuffled epochs."""

    def __init__(self, prepared: PreparedData, blocks: PackedBlocks, *, seed: int) -> None:
        self.prepared = prepared
        self.blocks = blocks
        self.order = DataOrder(len(blocks), seed)

    def batch(self, places: Sequence[int]) -> Batch:
        return self.blocks.batch(self.order.rows(places))

    @property
    def num_tokens(self) -> int:
        return self.blocks.num_tokens

    @property
    def epoch_rows(self) -> int:
        return len(self.blocks)

    @property
    def num_samples(self) -> int:
        return len(self.blocks)

    def samples(self, ids: range) -> Batch:
        return self.blocks.batch(ids)

    def numbered(self, numbers: Sequence[int]) -> Batch:
        return self.batch(numbers)

    def facts(self) -> dict[str, Any]:
        return {}

    def member_facts(self) -> dict[str, Any]:
        return {
            "path": str(self.prepared.path),
            "rows": self.epoch_rows,
            "tokens": self.num_tokens,
            "parser": self.prepared.manifest["parser"]["name"],
            "sha256": self.prepared.fingerprint,
        }

    def check(self, rows: int, share: Fraction = Fraction(1)) -> None:
        if self.epoch_rows >= rows * share:
            return
        is_whole = share == 1
        needed = f"a batch needs {rows}" if is_whole else f"its part of a batch is {float(rows * share):.1f}"
        raise DataError(
            f"the training split of {self.prepared.path} has {self.epoch_rows} rows of "
            f"{self.blocks.sequence_length} tokens, {needed}; prepare more text, or lower "
            f"{'' if is_whole else 'its weight, '}train.batch_size or data.sequence_length"
        )
