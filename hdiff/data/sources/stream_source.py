"""Source of a stream: `datasets` of Hugging Face in streaming mode, over the hub or local text. No torch."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.config import StreamConfig
from hdiff.data.sources.builtin import read_builtin
from hdiff.data.sources.corpus import text_files
from hdiff.data.sources.text_files import SUFFIXES, read_file, text_of
from hdiff.errors import DataError

if TYPE_CHECKING:
    from datasets import IterableDataset

_BUILTIN = "builtin:"


@dataclass(frozen=True)
class Source:
    """Where the rows of a stream come from.

    Attributes:
        config: The recipe's section.
        files: Files with text, or one built-in name; None if `load_dataset` knows how to read it.
    """

    config: StreamConfig
    files: tuple[str, ...] | None

    @classmethod
    def of(cls, config: StreamConfig) -> Source:
        """Finds out what a recipe names.

        Args:
            config: The recipe's section.

        Returns:
            The source.

        Raises:
            DataError: If it names local text and there is none, or what cannot be streamed.
        """
        name = config.source
        if config.data_files is not None:
            return cls(config, None)
        if name.startswith(("hf:", "treebank:")):
            raise DataError(
                f"data.stream.source is '{name}'; a stream takes a name on the hub without 'hf:', with "
                f"config and split as keys of their own, and no treebanks"
            )
        if name.startswith(_BUILTIN):
            return cls(config, (name,))
        path = Path(name).expanduser()
        if path.exists() or glob.has_magic(name) or path.suffix.lower() in SUFFIXES:
            return cls(config, tuple(str(file) for file in text_files(name)))
        return cls(config, None)

    def rows(self, *, rank: int = 0, world_size: int = 1) -> IterableDataset:
        """The rows of one process; nothing is read yet but what tells files and columns.

        Args:
            rank: Number of the process.
            world_size: Number of processes; each row belongs to one of them.

        Returns:
            The rows.

        Raises:
            DataError: If the source cannot be found or read.
        """
        try:
            from datasets import IterableDataset, load_dataset
            from datasets.distributed import split_dataset_by_node
        except ImportError:
            raise DataError("data.stream needs datasets; pip install '.[train]'") from None
        config = self.config
        with self.errors():
            if self.files is not None:
                column = {"files": list(self.files), "text_column": config.text_column}
                rows = IterableDataset.from_generator(_local_rows, gen_kwargs=column)
            else:
                files = list(config.data_files) if isinstance(config.data_files, tuple) else config.data_files
                rows = load_dataset(
                    config.source, config.config, data_files=files, split=config.split, streaming=True
                )
            return split_dataset_by_node(rows, rank=rank, world_size=world_size)

    def text(self, row: Mapping[str, Any]) -> str:
        """The text of a row, stripped as `hdiff prepare` does.

        Args:
            row: A row of the source.

        Returns:
            The text.

        Raises:
            DataError: If the row lacks the column or does not hold text in it.
        """
        column = self.config.text_column if self.files is None else "text"
        return text_of(row, column, where=self.config.source).strip()

    def facts(self) -> dict[str, Any]:
        """What tells a source apart, JSON-able; for local text the names and sizes of its files, hashed."""
        names = ("source", "config", "data_files", "split", "text_column")
        files = [Path(file) for file in self.files or () if not file.startswith(_BUILTIN)]
        sizes = [[str(file), file.stat().st_size] for file in files]
        digest = hashlib.sha256(repr(sizes).encode()).hexdigest() if files else None
        return {**self.config.model_dump(mode="json", include=set(names)), "files": digest}

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Says of what fails while reading what it is and what to do.

        Raises:
            DataError: Instead of what was raised.
        """
        try:
            yield
        except DataError as error:  # of files, in the words of `hdiff prepare`
            raise DataError(str(error).replace("--text-column", "data.stream.text_column")) from None
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            config = self.config
            lines = str(error).splitlines() or [type(error).__name__]
            raise DataError(
                f"cannot read data.stream.source '{config.source}' (data_files {config.data_files}, split "
                f"{config.split}): {lines[0]}; check these names and the network, then start again (with "
                f"resume=auto, if a checkpoint is there)"
            ) from error


def _local_rows(files: list[str], text_column: str) -> Iterator[dict[str, str]]:
    """Documents of local files, as `hdiff prepare` reads them; `datasets` calls it with some of the files."""
    for file in files:
        prefix, _, name = file.partition(_BUILTIN)
        is_builtin = not prefix and name
        texts = read_builtin(name) if is_builtin else read_file(Path(file), text_column=text_column)
        for text in texts:
            yield {"text": text}
