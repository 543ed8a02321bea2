"""export_run: a run becomes a folder to share, with a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from hdiff.errors import CheckpointError
from hdiff.models.denoiser import Denoiser
from hdiff.models.released.folder import CheckpointFolder
from hdiff.models.released.writing import write_original
from hdiff.models.trainable import trained_tensors
from hdiff.runs.folder import RECORD_FILE, RunFolder
from hdiff.runs.record import RunRecord
from hdiff.sharing.card import CardOptions, model_card
from hdiff.sharing.folder import FILES, check_folder_to_write
from hdiff.sharing.hub import push_folder
from hdiff.sharing.pipeline import TextDiffusionPipeline
from hdiff.sharing.pretrained import PretrainedModel

NUM_SAMPLES = 2
"""Samples on a card."""
PRECISIONS = ("float16", "bfloat16")
"""What weights may be rounded to."""


def export_run(
    run: Path,
    folder: Path,
    *,
    options: CardOptions | None = None,
    precision: str | None = None,
    push: str | None = None,
    private: bool = False,
    merge: bool = False,
    base: Path | None = None,
) -> str:
    """Writes the folder of a run's model, and uploads it if asked to.

    Args:
        run: Run folder of `hdiff train`; or the folder of a shared adapter, with `base`.
        folder: An empty or new folder, or one of an earlier export.
        options: What the card says beside the run.
        precision: `float16` or `bfloat16` halve the weights; None keeps them as they are.
        push: Repository of a hub, `user/model`.
        private: Whether a new repository is private.
        merge: Whether a model that was trained on a frozen trunk is written with the trunk in it; else the
            folder holds what was trained, and a few megabytes.
        base: Folder of the trunk of a shared adapter, which is then written with it.

    Returns:
        The folder, or the address of the commit.

    Raises:
        CheckpointError: If the run has no usable checkpoint, the folder holds something else, or the hub
            refuses.
    """
    check_folder_to_write(folder)
    if base is not None:
        whole = PretrainedModel.from_pretrained(run, base=base).merged()
        return str(whole.save_pretrained(folder))
    pretrained = PretrainedModel.of_run(RunFolder.load(run))
    if merge:
        pretrained = pretrained.merged()
    samples: tuple[str, ...] = ()
    if pretrained.autoregressive is None:
        generator = torch.Generator().manual_seed(0)
        samples = TextDiffusionPipeline.of(pretrained)(NUM_SAMPLES, generator=generator).texts
    card = model_card(pretrained.description, RunRecord.read(run), samples, options or CardOptions())
    weights = None if precision is None else in_precision(trained_tensors(pretrained.model), precision)
    pretrained.save_pretrained(folder, card=card, weights=weights)
    return str(folder) if push is None else push_folder(folder, push, files=FILES, private=private)


def in_precision(weights: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Weights rounded to fewer bits; whole numbers stay as they are."""
    if precision not in PRECISIONS:
        raise CheckpointError(
            f"there is no precision '{precision[:40]}'; use", "--precision float16", "--precision bfloat16"
        )
    kind = getattr(torch, precision)
    rounded = {
        name: value.to(kind) if value.is_floating_point() else value for name, value in weights.items()
    }
    for name, value in rounded.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(f"{name} has values too large for {precision}; use", "--precision bfloat16")
    return rounded


def export_original(run: Path, folder: Path, *, base: Path | None = None) -> list[str]:
    """Writes a run's model in the layout of the checkpoint that it started from.

    Args:
        run: Run folder of `hdiff train`; or the folder of a shared adapter, with `base`.
        folder: An empty or new folder.
        base: Folder of that checkpoint; None takes the one that the recipe of the run names.

    Returns:
        Parts of the model for which that layout has no place, which are left out.

    Raises:
        CheckpointError: If the run did not start from a checkpoint, or its layout cannot hold the model.
    """
    if base is None or (run / RECORD_FILE).is_file():
        loaded = RunFolder.load(run)
        pretrained = PretrainedModel.of_run(loaded)
        named = loaded.recipe.model.pretrained
    else:
        pretrained, named = PretrainedModel.from_pretrained(run, base=base), None
    place = named if base is None else str(base)
    if place is None or not isinstance(pretrained.merged().model, Denoiser):
        raise CheckpointError(
            f"{run} did not start from a checkpoint of others (model.pretrained), so that no layout of "
            "theirs fits; export it as a model of hdiff:",
            "hdiff export RUN FOLDER",
        )
    return write_original(cast(Denoiser, pretrained.model), CheckpointFolder.open(place), folder)
