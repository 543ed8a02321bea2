"""Checkpoint: atomic, hashed folders of safetensors and JSON; nothing is pickled.

A checkpoint is written aside, synced and renamed; older ones are pruned only afterwards. So whatever
kills the process, the newest complete checkpoint loads. Damaged ones are set aside by the training that goes
on, so that they do not take the place of good ones; who only reads writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import warnings
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hdiff.errors import CheckpointError
from hdiff.files import disk_errors, write_synced

_DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    SafetensorError,
)
"""What reading damaged files raises: our checks, JSON, safetensors, torch."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        step: Updates done.
        tensors: Part name (`model`, `ema`, `optimizer`) -> tensors by name.
        state: Plain values saved beside them.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    *,
    keep: int,
) -> Path:
    """Writes `folder/step-NNNNNNNN` atomically, then prunes all but the newest `keep` checkpoints."""
    target = folder / f"step-{step:08d}"
    aside = folder / f".writing-step-{step:08d}"
    contents = {
        f"{part}.safetensors": save({name: t.detach().cpu().contiguous() for name, t in values.items()})
        for part, values in tensors.items()
    }
    contents["state.json"] = json.dumps({"step": step, **state}, indent=1).encode()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents["manifest.json"] = json.dumps({"step": step, "sha256": hashes}, indent=1).encode()
    with disk_errors(f"checkpoint {target}"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_remains(folder)
            aside.mkdir()
            for name, content in contents.items():
                write_synced(aside / name, content)
            _sync_folder(aside)
            if target.exists():
                _remove(target)
            aside.rename(target)
            _sync_folder(folder)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    complete = _complete(folder)
    kept = [path for path in complete if path <= target][-keep:]
    for old in complete:  # training did not go on from later ones
        if old not in kept:
            _remove(old)
    return target


def load_checkpoint(
    folder: Path, *, parts: tuple[str, ...] | None = None, trains: bool = False
) -> Checkpoint:
    """Loads the newest checkpoint whose hashes are right; warns of newer ones that are damaged.

    Args:
        folder: Folder of checkpoints; a training may save and prune there meanwhile.
        parts: Parts to read; None reads all.
        trains: Whether this process goes on from it, and so may write there: once a good one is found, the
            damaged ones are renamed to `.damaged-step-NNNNNNNN`, kept for inspection only, and what a kill
            has left is removed.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: If there is none, or all are damaged (each is named).
    """
    damage: dict[Path, str] = {}
    # Listed twice before there are none: the only one may be pruned, and a newer one saved, during a listing.
    while candidate := _newest(folder, damage) or _newest(folder, damage):
        try:
            checkpoint = _load(candidate, parts)
        except _DAMAGE as error:
            if _is_complete(candidate):  # else it was pruned, and newer ones are there
                damage[candidate] = f"{candidate.name}: {error}"
        else:
            if trains:
                _set_aside(damage)
                _remove_remains(folder)
            if damage:
                kept = "; kept there as .damaged-step-*" if trains else ""
                warnings.warn(
                    f"damaged in {folder}: {'; '.join(damage.values())}{kept}; {candidate.name} is used "
                    f"instead",
                    stacklevel=2,
                )
            return checkpoint
    if damage:
        raise CheckpointError(
            f"every checkpoint in {folder} is damaged ({'; '.join(damage.values())}); train again"
        )
    run = folder.parent
    raise CheckpointError(
        f"no checkpoint in {folder}; train first:",
        shlex.join(("hdiff", "train", str(run / "recipe.yaml"), f"output={run}", "resume=auto")),
    )


def load_step(folder: Path, step: int, *, parts: tuple[str, ...] | None = None) -> Checkpoint:
    """Loads the checkpoint of one step."""
    path = folder / f"step-{step:08d}"
    try:
        return _load(path, parts)
    except _DAMAGE as error:
        raise CheckpointError(f"damaged or missing: {path} ({error})") from error


def has_checkpoint(folder: Path) -> bool:
    """Whether a complete checkpoint lies in the folder."""
    return bool(_complete(folder))


def _load(path: Path, parts: tuple[str, ...] | None) -> Checkpoint:
    text = (path / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    # Nothing vouches for the hashes themselves but that they are written as we write them, for this step.
    if json.dumps(manifest, indent=1) != text or not isinstance(manifest["sha256"], dict):
        raise ValueError("manifest.json is not as it was written")
    contents: dict[str, bytes] = {}
    for name, expected in manifest["sha256"].items():
        if Path(name).name != name:
            raise ValueError(f"manifest names a file outside the checkpoint: {name}")
        if parts is not None and name.endswith(".safetensors") and name.split(".")[0] not in parts:
            continue
        if not (path / name).is_file():  # a pipe or a device would be read without end
            raise ValueError(f"{name} is missing or no file")
        contents[name] = (path / name).read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != expected:
            raise ValueError(f"{name} does not match its hash")
    tensors = {
        name.split(".")[0]: load(data) for name, data in contents.items() if name.endswith(".safetensors")
    }
    state = json.loads(contents["state.json"])
    if not path.name == f"step-{state['step']:08d}" == f"step-{manifest['step']:08d}":
        raise ValueError(f"it is of step {state['step']}, its manifest of step {manifest['step']}")
    return Checkpoint(step=int(state["step"]), tensors=tensors, state=state)


def _set_aside(damaged: Iterable[Path]) -> None:
    for path in damaged:
        aside = path.with_name(f".damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)  # of an earlier damage of the same step
        path.rename(aside)
        _sync_folder(path.parent)


def _complete(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("step-*") if _is_complete(path))


def _newest(folder: Path, damaged: Collection[Path]) -> Path | None:
    return max((path for path in _complete(folder) if path not in damaged), default=None)


def _is_complete(path: Path) -> bool:
    return (path / "manifest.json").is_file()


def _remove(path: Path) -> None:
    """Removes a checkpoint, renamed first: no reader takes one that is half removed for a damaged one."""
    aside = path.with_name(f".removing-{path.name}")
    with suppress(OSError):
        path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _remove_remains(folder: Path) -> None:
    """Removes what a process that was killed while saving or pruning has left."""
    for left in (*folder.glob(".writing-step-*"), *folder.glob(".removing-step-*")):
        shutil.rmtree(left, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
