"""Files of a shared model: read without trust, written whole.

A folder from elsewhere may hold links that lead out of it, pickles, or sizes that exhaust memory; each is
refused before anything is built.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hdiff.errors import CheckpointError
from hdiff.files import disk_room, file_sha256, write_synced
from hdiff.outputs import check_output_folder
from hdiff.sharing.description import HASHED_FILES, NAMING_KEYS, WEIGHTS_FILE
from hdiff.strict_yaml import read_yaml

CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
RECIPE_FILE = "recipe.yaml"
FILES = (*HASHED_FILES, CONFIG_FILE, CARD_FILE)
"""All files of a shared model."""

LARGEST = {CONFIG_FILE: 16 << 20, "tokenizer.json": 256 << 20, WEIGHTS_FILE: 1 << 37}
"""Most bytes of the files that are read."""

_LARGEST_HEADER = 100 << 20
_FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_TYPE_BYTES = {**_FLOAT_BYTES, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def checked_file(folder: Path, name: str) -> Path:
    """A file of a shared folder, if it is safe to read."""
    path = folder / name
    # A snapshot in the cache of huggingface_hub links to the blobs of its repository.
    root = folder.parent.parent if folder.parent.name == "snapshots" else folder
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} is a link that leads to itself; copy the file itself there") from error
    if not target.is_relative_to(root.resolve()):
        raise CheckpointError(
            f"{path} is a link that leads out of the folder, to {target}; copy the file itself there"
        )
    if path.is_symlink() and not target.exists():
        raise CheckpointError(f"{path} is a link to nothing; copy the file itself there")
    if path.exists() and not path.is_file():  # a pipe or a device would be read without end
        raise CheckpointError(f"{path} is no file but a folder, a pipe or a device; put the file there")
    if not path.is_file():
        raise CheckpointError(f"{folder} is no hdiff model: it has no {name}{_instead(folder, name)}")
    most = LARGEST.get(name)
    if most is not None and path.stat().st_size > most:
        raise CheckpointError(
            f"{path} has {path.stat().st_size:,} bytes, at most {most:,} are read; it is damaged, "
            f"download it again"
        )
    if not os.access(path, os.R_OK):
        raise CheckpointError(f"{path} may not be read; change its permissions")
    if name == CONFIG_FILE:
        _check_json(path)
    return path


def _check_json(path: Path) -> None:
    """Refuses what readers of JSON disagree on: a key given twice, NaN and Infinity."""

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"key '{twice[:40]}' is given twice")
        return seen

    def no_number(name: str) -> None:
        raise ValueError(f"{name} is not a number of JSON")

    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text, object_pairs_hook=without_repeats, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); download or export it again") from error


def _instead(folder: Path, name: str) -> str:
    """What the folder seems to be, and what to do."""
    if (folder / RECIPE_FILE).is_file() and (folder / "run.json").is_file():
        return f" but those of a run; make a model of it: hdiff export {folder} FOLDER"
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if name == WEIGHTS_FILE and pickles:
        return (
            f" but {pickles[0]}, a pickle, which can run code when it is read; hdiff reads safetensors only, "
            f"so ask its author for {WEIGHTS_FILE}"
        )
    return "; make one from a run: hdiff export RUN FOLDER"


def check_kinds(folder: Path, components: Sequence[str]) -> None:
    """Refuses a run whose recipe names classes that its user has not named.

    Args:
        folder: A run folder.
        components: Classes that it may name, `module:Class`. Any other would let a file from elsewhere choose
            which code of this machine runs.

    Raises:
        CheckpointError: If it names another class.
        RecipeError: If it has no recipe that can be read.
    """
    waiting: list[Any] = [read_yaml(folder / RECIPE_FILE, what="recipe", remedy="those in recipes/")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for kind in (str(value[key]) for key in NAMING_KEYS if isinstance(value.get(key), str)):
                if ":" in kind and kind not in components:
                    raise CheckpointError(
                        f"{folder} uses the class '{kind[:200]}', which is not part of hdiff; if you trust "
                        f"it, load with components=['{kind[:200]}'], on the command line with",
                        f"--component {shlex.quote(kind[:200])}",
                    )
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def check_hashes(folder: Path, sha256: Mapping[str, str], *, names: Sequence[str] = HASHED_FILES) -> None:
    """Compares the files of a folder with their hashes."""
    for name in names:
        path = checked_file(folder, name)
        if name == WEIGHTS_FILE:
            tensor_shapes(path)  # before a file of a size that no tensor backs is read to its end
        digest = file_sha256(path)
        if digest != sha256[name]:
            what = "the weights" if name == WEIGHTS_FILE else "the tokenizer"
            raise CheckpointError(
                f"{folder / name} is not {what} that config.json describes (SHA-256 {digest[:12]} instead of "
                f"{sha256[name][:12]}); put the file back, or download or export the model again"
            )


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file, from its header alone."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start[:2] == b"PK" or start[:1] == b"\x80":
            raise CheckpointError(
                f"{path} is a pickle under another name, which can run code when it is read; ask its "
                f"author for safetensors"
            )
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size, _LARGEST_HEADER):
            raise CheckpointError(f"{path} is no safetensors file; download or export it again")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            ends = [_checked_end(name, entry) for name, entry in header.items()]
            if 8 + length + max(ends, default=0) != size:
                raise ValueError(
                    f"its tensors end at {max(ends, default=0):,} of {size - 8 - length:,} bytes"
                )
            return {name: tuple(entry["shape"]) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{path} is no safetensors file ({error}); download or export it again"
            ) from error


def _checked_end(name: str, entry: Mapping[str, Any]) -> int:
    """Where the data of a tensor end, after its type and shape are found to agree with that."""
    kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _TYPE_BYTES or (name.endswith((".weight", ".bias")) and kind not in _FLOAT_BYTES):
        raise ValueError(f"{name[:80]} has type {kind!r:.20}, which hdiff does not write there")
    if not all(type(number) is int and number >= 0 for number in [begin, end, *shape]):
        raise ValueError(f"{name[:80]} has shape {shape!r:.80} at {begin!r:.20} to {end!r:.20}")
    if (
        len(shape) > 16
        or max(shape, default=0) > 1 << 40
        or math.prod(shape) * _TYPE_BYTES[kind] != end - begin
    ):
        raise ValueError(f"{name[:80]} has shape {shape!r:.80} in {end - begin:,} bytes")
    return int(end)


def check_folder_to_write(folder: Path, *, beside_others: bool = False) -> Path:
    """Refuses a folder that cannot take a shared model; returns it without links."""
    check_output_folder(folder, "FOLDER")
    folder = folder.resolve()
    others = sorted({file.name for file in folder.iterdir()} - set(FILES)) if folder.is_dir() else []
    if not beside_others and [name for name in others if not name.startswith(".")]:
        raise CheckpointError(f"{folder} holds other files ({others[0]} ...); give an empty or new folder")
    return folder


def write_folder(folder: Path, contents: Mapping[str, bytes], *, beside_others: bool = False) -> None:
    """Writes a shared folder, config.json last: a folder cut short is refused when read."""
    folder = check_folder_to_write(folder, beside_others=beside_others)
    aside = folder.with_name(f".writing-{folder.name}")
    try:
        with disk_room(folder):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            for name, content in contents.items():
                write_synced(aside / name, content)
            folder.mkdir(exist_ok=True)
            (folder / CONFIG_FILE).unlink(missing_ok=True)
            for name in sorted(contents, key=lambda name: name == CONFIG_FILE):
                (aside / name).replace(folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
