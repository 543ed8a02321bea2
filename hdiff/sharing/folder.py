"""Files of a shared model: read without trust, written whole.

A folder from elsewhere may hold links that lead out of it, pickles, or sizes that exhaust memory; each is
refused before anything is built.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hdiff.data.durable_files import NO_ROOM, file_sha256, write_synced
from hdiff.errors import CheckpointError
from hdiff.sharing.description import HASHED_FILES, WEIGHTS_FILE

CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
FILES = (*HASHED_FILES, CONFIG_FILE, CARD_FILE)
"""All files of a shared model."""

LARGEST = {CONFIG_FILE: 16 << 20, "tokenizer.json": 256 << 20}
"""Most bytes of the files that are read as text."""

_LARGEST_HEADER = 100 << 20
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def checked_file(folder: Path, name: str) -> Path:
    """A file of a shared folder, if it is safe to read.

    Args:
        folder: The folder.
        name: Its name in the folder.

    Returns:
        Its path.

    Raises:
        CheckpointError: If it is missing, too large, or a link that leads out of the folder.
    """
    path = folder / name
    # A snapshot in the cache of huggingface_hub links to the blobs of its repository.
    root = folder.parent.parent if folder.parent.name == "snapshots" else folder
    if not path.resolve().is_relative_to(root.resolve()):
        raise CheckpointError(
            f"{path} is a link that leads out of the folder, to {path.resolve()}; copy the file itself there"
        )
    if not path.is_file():
        raise CheckpointError(f"{folder} is no hdiff model: it has no {name}{_instead(folder, name)}")
    most = LARGEST.get(name)
    if most is not None and path.stat().st_size > most:
        raise CheckpointError(
            f"{path} has {path.stat().st_size:,} bytes, at most {most:,} are read; it is damaged, "
            f"download it again"
        )
    return path


def _instead(folder: Path, name: str) -> str:
    """What the folder seems to be, and what to do."""
    if (folder / "recipe.yaml").is_file() and (folder / "run.json").is_file():
        return f" but those of a run; make a model of it: hdiff export {folder} FOLDER"
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if name == WEIGHTS_FILE and pickles:
        return (
            f" but {pickles[0]}, a pickle, which can run code when it is read; hdiff reads safetensors only, "
            f"so ask its author for {WEIGHTS_FILE}"
        )
    return "; make one from a run: hdiff export RUN FOLDER"


def check_hashes(folder: Path, sha256: Mapping[str, str]) -> None:
    """Compares the files of a folder with their hashes.

    Args:
        folder: The folder.
        sha256: File name -> SHA-256.

    Raises:
        CheckpointError: If a file is missing, unsafe, or another one.
    """
    for name in HASHED_FILES:
        found = file_sha256(checked_file(folder, name))
        if found != sha256[name]:
            what = "the weights" if name == WEIGHTS_FILE else "the tokenizer"
            raise CheckpointError(
                f"{folder / name} is not {what} that config.json describes (SHA-256 {found[:12]} instead of "
                f"{sha256[name][:12]}); put the file back, or download or export the model again"
            )


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file, from its header alone.

    Source: format of safetensors, 8 bytes of length, a JSON object, the data.

    Args:
        path: The file.

    Returns:
        Tensor name -> shape.

    Raises:
        CheckpointError: If it is a pickle or no safetensors file.
    """
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
            return {name: tuple(map(int, entry["shape"])) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{path} is no safetensors file ({error}); download or export it again"
            ) from error


def write_folder(folder: Path, contents: Mapping[str, bytes], *, beside_others: bool = False) -> None:
    """Writes a shared folder; config.json comes last, so that a folder cut short is refused when read.

    Args:
        folder: The folder; made if it is not there.
        contents: File name -> contents.
        beside_others: Whether the folder may hold files of others, which are left alone.

    Raises:
        CheckpointError: If the folder holds something else than a shared model, or the disk is full.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give a folder")
    others = sorted({file.name for file in folder.iterdir()} - set(FILES)) if folder.is_dir() else []
    if not beside_others and [name for name in others if not name.startswith(".")]:
        raise CheckpointError(f"{folder} holds other files ({others[0]} ...); give an empty or new folder")
    aside = folder.with_name(f".writing-{folder.name}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name, content in contents.items():
            write_synced(aside / name, content)
        folder.mkdir(exist_ok=True)
        (folder / CONFIG_FILE).unlink(missing_ok=True)
        for name in sorted(contents, key=lambda name: name == CONFIG_FILE):
            (aside / name).replace(folder / name)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise CheckpointError(
                f"no room on the disk for {folder} ({error.strerror}); free some space"
            ) from error
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
