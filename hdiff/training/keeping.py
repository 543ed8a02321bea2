"""keep_states: has a training keep what its frozen trunk computes, and says what that takes."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

from hdiff.errors import CheckpointError
from hdiff.models.denoiser import Denoiser
from hdiff.models.trainable import trunk_digest
from hdiff.training.kept_states import BYTES, KeptStates

if TYPE_CHECKING:
    from hdiff.progress import Progress
    from hdiff.training.build import Training

FOLDER = "states"
"""Folder of a run that holds the states while it is trained."""


def keep_states(training: Training, progress: Progress | None) -> KeptStates | None:
    """Computes the states that a recipe keeps, and has the loss read them.

    Args:
        training: The training; its folder is there.
        progress: Shows how much they take, and how far they are.

    Returns:
        The states; None if the recipe keeps none.

    Raises:
        CheckpointError: If the disk has too little room.
    """
    recipe, model, config = training.recipe, training.model, training.config
    rows, path, num_kept = training.state.rows, training.path / FOLDER, config.kept_states
    if not num_kept:
        return None
    assert isinstance(model, Denoiser), "check_kept_states refuses others"
    assert rows.num_samples is not None, "check_kept_states refuses streams"
    kept = KeptStates(
        training.corruption.of_model(model),
        num_kept=num_kept,
        seed=recipe.seed,
        num_rows=rows.num_samples,
        batch_size=config.batch_size,
        path=path,
    )
    size = kept.count(rows, training.accelerator.device) * model.head.width * BYTES
    free = shutil.disk_usage(training.path).free
    free += sum(file.stat().st_size for file in path.glob("*"))
    said = f"{num_kept} x {rows.num_samples:,} trunk states take {_size(size)} in {path}"
    if size > free:
        fewer = num_kept * free // size
        raise CheckpointError(
            f"{said}, and {_size(free)} are free; free some space, or make a new run with fewer:",
            f"output=DIR train.kept_states={fewer}",
        )
    if progress is not None:
        progress.message(f"{said} until the run is finished")
    facts = [training.prepared.fingerprint, rows.facts(), trunk_digest(model), recipe.data, recipe.corruption]
    options = [num_kept, recipe.seed, config.batch_size, config.mixed_precision, recipe.model.weights]
    key = hashlib.sha256(json.dumps([*facts, *options], default=str).encode()).hexdigest()
    kept.fill(rows, model, training.accelerator, key=key, progress=progress)
    training.accelerator.unwrap_model(training.loss).kept = kept
    return kept


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count > 1e8 else f"{count / 1e6:.1f} MB"
