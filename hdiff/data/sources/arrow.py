"""Arrow: the one file that reads and writes with pyarrow and HF datasets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hdiff.data.sources.columns import missing_column
from hdiff.errors import DataError
from hdiff.files import file_sha256

if TYPE_CHECKING:
    from datasets import Dataset, Features

_ROWS_PER_BATCH = 1_000
_MAX_FILE_BYTES = 500_000_000
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


def encode_rows(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """Rows as an Arrow stream; the same rows give the same bytes.

    Args:
        columns: For each column of `features` one array, or string, per row; empty if there is no row.

    Returns:
        The stream.
    """
    import pyarrow

    schema = features().arrow_schema
    arrays = []
    for field in schema:
        values = columns.get(field.name, [])
        if pyarrow.types.is_string(field.type):
            arrays.append(pyarrow.array(values, field.type))
            continue
        borders = np.cumsum([0, *map(len, values)]).astype(np.int32)
        flat: Any = np.concatenate(values) if len(values) else []
        items = pyarrow.array(flat, field.type.value_type)
        arrays.append(pyarrow.ListArray.from_arrays(borders, items, type=field.type))
    table = pyarrow.Table.from_arrays(arrays, schema=schema)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table, max_chunksize=_ROWS_PER_BATCH)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def write_split(shards: Iterable[Path], path: Path, *, on_shard: Callable[[int], None]) -> list[Path]:
    """Puts shards of rows together as a data set that `datasets.load_from_disk` reads.

    Args:
        shards: Files with what `encode_rows` gave, in order.
        path: Folder to write, must not exist.
        on_shard: Called with the number of shards written so far.

    Returns:
        Its Arrow files, none much larger than 500 MB.
    """
    import pyarrow
    from datasets import Dataset

    with _no_progress_bars():
        Dataset.from_dict({name: [] for name in features()}, features=features()).save_to_disk(path)
    for empty in path.glob("*.arrow"):
        empty.unlink()
    files = []
    done = 0
    for number, group in enumerate(_groups(shards)):
        files.append(path / f"part-{number:05d}.arrow")
        with (
            pyarrow.OSFile(str(files[-1]), "wb") as sink,
            pyarrow.ipc.new_stream(sink, features().arrow_schema) as writer,
        ):
            for shard in group:
                with pyarrow.OSFile(str(shard)) as source:  # a memory map would count as resident memory
                    for batch in pyarrow.ipc.open_stream(source):
                        writer.write_batch(batch)
                done += 1
                on_shard(done)
    return _named(path, files)


def _groups(shards: Iterable[Path]) -> Iterator[list[Path]]:
    """Shards that go into one file each."""
    group: list[Path] = []
    size = 0
    for shard in shards:
        if size > _MAX_FILE_BYTES:
            yield group
            group, size = [], 0
        group.append(shard)
        size += shard.stat().st_size
    yield group


def _named(path: Path, files: Sequence[Path]) -> list[Path]:
    """Gives the files of a split their final names and enters them in its state."""
    named = []
    for number, file in enumerate(files):
        named.append(path / f"data-{number:05d}-of-{len(files):05d}.arrow")
        file.replace(named[-1])
    digest = hashlib.sha256()
    for file in named:
        digest.update(file_sha256(file).encode())
    state_file = path / "state.json"
    state = json.loads(state_file.read_bytes())
    state["_data_files"] = [{"filename": file.name} for file in named]
    state["_fingerprint"] = digest.hexdigest()[:16]
    state_file.write_text(json.dumps(state, indent=2, sort_keys=True), encoding="ascii")
    return named


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
