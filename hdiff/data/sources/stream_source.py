"""Source of a stream: `datasets` of Hugging Face in streaming mode, over the hub or local text."""

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
from hdiff.data.sources.columns import no_column, row_of
from hdiff.data.sources.corpus import read_files
from hdiff.data.sources.folders import text_files
from hdiff.data.sources.rejected import Rejected, Row
from hdiff.data.sources.text_files import kind_of
from hdiff.errors import DataError
from hdiff.plugins import install_command

if TYPE_CHECKING:
    from datasets import IterableDataset

_BUILTIN = "builtin:"
_OWN = {"json": (".json", ".jsonl", ".ndjson"), "csv": (".csv",), "parquet": (".parquet",)}
"""Builders of `datasets` whose local files are read here, where a bad row costs one row."""


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
        """Finds out what a recipe names."""
        name = config.source
        if config.data_files is not None:
            return cls(config, _own_files(config))
        if name.startswith(("hf:", "treebank:", "python:")):
            raise DataError(
                f"data.stream.source is '{name}'; a stream takes a name on the hub without 'hf:', with "
                f"config and split as keys of their own, and no treebank: or python:"
            )
        if name.startswith(_BUILTIN):
            return cls(config, (name,))
        path = Path(name).expanduser()
        if path.exists() or glob.has_magic(name) or kind_of(path) is not None:
            return cls(config, tuple(str(file) for file in text_files(name)))
        return cls(config, None)

    def rows(self, *, rank: int = 0, world_size: int = 1) -> IterableDataset:
        """The rows of process `rank`; nothing is read yet but what tells files and columns."""
        try:
            from datasets import IterableDataset, load_dataset
            from datasets.distributed import split_dataset_by_node
        except ImportError:
            raise DataError("data.stream needs datasets; run:", install_command("train")) from None
        config = self.config
        with self.errors():
            if self.files is not None:
                files = {
                    "files": list(self.files),
                    "total": len(self.files),
                    "text_column": config.text_column,
                }
                rows = IterableDataset.from_generator(_local_rows, gen_kwargs=files)
            else:
                given = list(config.data_files) if isinstance(config.data_files, tuple) else config.data_files
                rows = load_dataset(
                    config.source, config.config, data_files=given, split=config.split, streaming=True
                )
            return split_dataset_by_node(rows, rank=rank, world_size=world_size)

    def document(self, row: Mapping[str, Any]) -> str | Rejected:
        """The text of a row, stripped as `hdiff prepare` does, or why it has none."""
        if self.files is not None:
            return Row(row["text"], row["place"], _in_recipe(row["reason"])).document
        config = self.config
        if config.text_column not in row:
            raise DataError(f"{config.source} has {no_column(row, config.text_column)}")
        document = row_of(row, config.text_column, place=config.source)
        return document._replace(reason=_in_recipe(document.reason)).document

    def facts(self) -> dict[str, Any]:
        """What tells a source apart, JSON-able; for local text the names and sizes of its files, hashed."""
        names = ("source", "config", "data_files", "split", "text_column")
        files = [Path(file) for file in self.files or () if not file.startswith(_BUILTIN)]
        sizes = [[str(file), file.stat().st_size] for file in files]
        digest = hashlib.sha256(repr(sizes).encode()).hexdigest() if files else None
        return {**self.config.model_dump(mode="json", include=set(names)), "files": digest}

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Says of what fails while reading what it is and what to do."""
        try:
            yield
        except DataError as error:  # of files, in the words of `hdiff prepare`
            raise DataError(_in_recipe(str(error))) from None
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            config = self.config
            lines = str(error).splitlines() or [type(error).__name__]
            local = "name the files as data.stream.source, whose rows are rejected one by one"
            remedy = (
                "check these names and the network" if config.data_files is None else f"mend it, or {local}"
            )
            raise DataError(
                f"cannot read data.stream.source '{config.source}' (data_files {config.data_files}, split "
                f"{config.split}): {lines[0]}; {remedy}, then start again (with "
                f"resume=auto, if a checkpoint is there)"
            ) from error


def _own_files(config: StreamConfig) -> tuple[str, ...] | None:
    """Local `data_files` of a builder, if `hdiff prepare` reads every one of them; else None."""
    given = config.data_files if isinstance(config.data_files, tuple) else (config.data_files or "",)
    if config.source not in _OWN or config.config is not None or config.split != "train":
        return None
    files: list[str] = []
    for name in given:
        if not glob.has_magic(name) and not Path(name).expanduser().is_file():
            return None
        try:
            files += map(str, text_files(name))
        except DataError:
            return None
    return tuple(files) if all(kind_of(Path(file)) in _OWN[config.source] for file in files) else None


def _local_rows(files: list[str], total: int, text_column: str) -> Iterator[dict[str, str | None]]:
    """Rows of local files, as `hdiff prepare` reads them; `datasets` calls it with some of the files."""
    rows: Iterator[Row]
    if files[0].startswith(_BUILTIN):
        rows = (Row(text, files[0]) for text in read_builtin(files[0].removeprefix(_BUILTIN)))
    else:
        rows = read_files([Path(file) for file in files], text_column=text_column, total=total)
    return (row._asdict() for row in rows)


def _in_recipe(reason: Any) -> Any:
    """A reason in the words of a recipe."""
    return reason.replace("--text-column", "data.stream.text_column") if isinstance(reason, str) else reason
