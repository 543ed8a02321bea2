"""Arrow: the one file that reads and writes with pyarrow and HF datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset, Features

_ROWS_PER_BATCH = 1_000
_REMEDY = "pip install 'hdiff[train]'"


def features() -> Features:
    """Columns of a prepared split; spans are in nesting order, positions count tokens."""
    from datasets import Features, List, Value

    return Features(
        {
            "input_ids": List(Value("int32")),
            "span_start": List(Value("int32")),
            "span_end": List(Value("int32")),
            "span_level": List(Value("int8")),
            "span_label": List(Value("int16")),
            "salience": List(Value("float32")),
            "text": Value("string"),
        }
    )


def write_split(rows: Iterable[Mapping[str, Any]], path: Path) -> list[Path]:
    """Writes rows as a data set that `datasets.load_from_disk` reads; same rows, same bytes.

    Args:
        rows: One mapping per document with the columns of `features`.
        path: Folder to write, must not exist.

    Returns:
        Its Arrow files.
    """
    from datasets import Dataset
    from datasets.arrow_writer import ArrowWriter

    columns = features()
    whole = path.with_name(f"{path.name}.arrow")
    with ArrowWriter(path=str(whole), features=columns, writer_batch_size=_ROWS_PER_BATCH) as writer:
        for row in rows:
            writer.write(dict(row))
        writer.finalize()
    with _no_progress_bars():
        Dataset.from_file(str(whole)).save_to_disk(path)
    whole.unlink()
    return sorted(path.glob("*.arrow"))


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()


def open_split(path: Path) -> Dataset:
    """A split that `write_split` wrote, memory-mapped."""
    from datasets import Dataset

    return Dataset.load_from_disk(str(path))


def read_parquet_rows(path: Path, column: str) -> Iterator[dict[str, Any]]:
    """Rows of one column of a parquet file, streamed.

    Args:
        path: The file.
        column: The column.

    Yields:
        `{column: value}`.

    Raises:
        DataError: If the file is no parquet, or lacks the column.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"reading {path} needs pyarrow; {_REMEDY}") from None
    from hdiff.data.text_files import missing_column

    try:
        with parquet.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise missing_column(file.schema_arrow.names, column, where=str(path))
            for batch in file.iter_batches(columns=[column]):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{path} is not a readable parquet file: {first_line}; write it again") from None


def stream_hub(name: str, *, config: str | None, split: str) -> Iterator[dict[str, Any]]:
    """Rows of a data set on the Hugging Face hub, or in a local folder it can read.

    Args:
        name: Name on the hub or path of a folder.
        config: Configuration, None for the default one.
        split: Split.

    Yields:
        Rows.

    Raises:
        DataError: If it cannot be found or read.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise DataError(f"reading hf:{name} needs datasets; {_REMEDY}") from None
    try:
        for row in load_dataset(name, config, split=split, streaming=True):
            yield dict(row)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"cannot read hf:{name} (config {config or 'default'}, split {split}): {first_line}; "
            "check the names and the network: hf:NAME:CONFIG:SPLIT"
        ) from error
