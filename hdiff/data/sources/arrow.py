"""Arrow: the one file that reads and writes with pyarrow; of HF datasets it needs no more than the hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hdiff.data.sources.columns import no_column
from hdiff.errors import DataError
from hdiff.files import file_sha256
from hdiff.plugins import install_command

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

_ROWS_PER_BATCH = 1_000
_MAX_FILE_BYTES = 500_000_000
STATE_FILE = "state.json"
_LISTS = {
    "input_ids": "int32",
    "span_start": "int32",
    "span_end": "int32",
    "span_level": "int8",
    "span_label": "int16",
    "salience": "float32",
    "word_tag": "int16",
    "word_relation": "int16",
}
"""Columns of lists and the type of their items."""
WORD_COLUMNS = {"tag": "word_tag", "relation": "word_relation"}
"""What is told of each word besides its span -> column; one value per word that has a token, or none."""

_FEATURES: dict[str, Any] = {
    name: {"feature": {"dtype": dtype, "_type": "Value"}, "_type": "List"} for name, dtype in _LISTS.items()
}
_STRINGS = ("text", "language")
_FEATURES |= {name: {"dtype": "string", "_type": "Value"} for name in _STRINGS}
"""The columns in the words of HF datasets, which opens a split with `load_from_disk`."""


def schema() -> pyarrow.Schema:
    """Columns of a prepared split; spans are in nesting order, positions count tokens."""
    import pyarrow

    fields = {name: pyarrow.list_(getattr(pyarrow, dtype)()) for name, dtype in _LISTS.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": _FEATURES}})}
    return pyarrow.schema({**fields, **dict.fromkeys(_STRINGS, pyarrow.string())}, metadata=metadata)


def encode_rows(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """ArrowRows as an Arrow stream, one array or string a row and column; equal rows give equal bytes."""
    import pyarrow

    arrays = []
    num_rows = max(map(len, columns.values()), default=0)
    for field in schema():
        if pyarrow.types.is_string(field.type):
            arrays.append(pyarrow.array(columns.get(field.name, [None] * num_rows), field.type))
            continue
        values = columns.get(field.name, [()] * num_rows)
        borders = np.cumsum([0, *map(len, values)]).astype(np.int32)
        flat: Any = np.concatenate(values) if len(values) else []
        items = pyarrow.array(flat, field.type.value_type)
        arrays.append(pyarrow.ListArray.from_arrays(borders, items, type=field.type))
    table = pyarrow.Table.from_arrays(arrays, schema=schema())
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_ROWS_PER_BATCH)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def write_split(shards: Iterable[Path], path: Path, *, on_shard: Callable[[int], None]) -> list[Path]:
    """Puts shards of rows together as a data set of `datasets`, in files of about 500 MB at most."""
    import pyarrow

    path.mkdir(parents=True)
    files = []
    done = 0
    for number, group in enumerate(_groups(shards)):
        files.append(path / f"part-{number:05d}.arrow")
        with (
            pyarrow.OSFile(str(files[-1]), "wb") as sink,
            pyarrow.ipc.new_stream(sink, schema()) as writer,
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
    """Gives the files of a split their final names and writes what HF datasets reads beside them."""
    named = []
    for number, file in enumerate(files):
        named.append(path / f"data-{number:05d}-of-{len(files):05d}.arrow")
        file.replace(named[-1])
    digest = hashlib.sha256()
    for file in named:
        digest.update(file_sha256(file).encode())
    state: dict[str, Any] = {
        "_data_files": [{"filename": file.name} for file in named],
        "_fingerprint": digest.hexdigest()[:16],
        **dict.fromkeys(("_format_columns", "_format_type", "_split")),
        "_format_kwargs": {},
        "_output_all_columns": False,
    }
    info = {"citation": "", "description": "", "features": _FEATURES, "homepage": "", "license": ""}
    (path / STATE_FILE).write_text(json.dumps(state, indent=2, sort_keys=True), encoding="ascii")
    (path / "dataset_info.json").write_text(json.dumps(info, indent=2), encoding="ascii")
    return named


class ArrowRows:
    """Rows with the columns of `schema`."""

    def __init__(self, table: pyarrow.Table) -> None:
        self._table = table

    @classmethod
    def of_split(cls, path: Path) -> ArrowRows:
        """Opens what `write_split` wrote, memory-mapped."""
        import pyarrow

        tables = []
        for entry in json.loads((path / STATE_FILE).read_bytes())["_data_files"]:
            with pyarrow.ipc.open_stream(pyarrow.memory_map(str(path / entry["filename"]))) as stream:
                tables.append(stream.read_all())
        return cls(pyarrow.concat_tables(tables))

    @classmethod
    def of_columns(cls, columns: Mapping[str, Sequence[Any]]) -> ArrowRows:
        """ArrowRows in memory, from what `encode_rows` takes."""
        import pyarrow

        with pyarrow.ipc.open_stream(encode_rows(columns)) as stream:
            return cls(stream.read_all())

    def __len__(self) -> int:
        count: int = self._table.num_rows
        return count

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = self._table.slice(index, 1).to_pylist()[0]
        return row

    def values(self, name: str) -> NDArray[Any]:
        """All values of a column of lists, end to end."""
        return np.asarray(self._table.column(name).combine_chunks().flatten())

    def lengths(self, name: str) -> NDArray[np.int64]:
        """Length of the list in each row of a column."""
        return np.asarray(self._table.column(name).combine_chunks().value_lengths(), dtype=np.int64)


def read_parquet_values(path: Path, column: str | None) -> Iterator[Any]:
    """Values of a column of a parquet file, or its rows, streamed; an error in place of a damaged one."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"reading {path} needs pyarrow; run:", install_command("train")) from None

    try:
        with parquet.ParquetFile(path) as file:
            if column is not None and column not in file.schema_arrow.names:
                raise DataError(f"{path} has {no_column(file.schema_arrow.names, column)}")
            for batch in file.iter_batches(columns=None if column is None else [column]):
                for value in batch.to_struct_array() if column is None else batch.column(0):
                    try:
                        yield value.as_py()
                    except (ValueError, OverflowError) as error:
                        yield error
    except pyarrow.ArrowException as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{path} is not a readable parquet file: {first_line}; write it again") from None


def stream_hub(name: str, *, config: str | None, split: str) -> Iterator[dict[str, Any]]:
    """ArrowRows of a data set on the Hugging Face hub, or in a local folder it can read."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise DataError(f"reading hf:{name} needs datasets; run:", install_command("train")) from None
    try:
        for row in load_dataset(name, config, split=split, streaming=True):
            yield dict(row)
    except Exception as error:  # datasets, its readers and the network raise what they like
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"cannot read hf:{name} (config {config or 'default'}, split {split}): {first_line}; "
            "check the names and the network: hf:NAME:CONFIG:SPLIT"
        ) from error
