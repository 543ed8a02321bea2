"""export_run: a run becomes a folder to share, with a model card."""

from __future__ import annotations

from pathlib import Path

import torch

from hdiff.runs.folder import RunFolder
from hdiff.runs.record import RunRecord
from hdiff.sharing.card import CardOptions, model_card
from hdiff.sharing.folder import FILES, check_folder_to_write
from hdiff.sharing.hub import push_folder
from hdiff.sharing.pipeline import TextDiffusionPipeline
from hdiff.sharing.pretrained import PretrainedModel

NUM_SAMPLES = 2
"""Samples on a card."""


def export_run(
    run: Path,
    folder: Path,
    *,
    options: CardOptions | None = None,
    push: str | None = None,
    private: bool = False,
) -> str:
    """Writes the folder of a run's model, and uploads it if asked to.

    Args:
        run: Run folder of `hdiff train`.
        folder: An empty or new folder, or one of an earlier export.
        options: What the card says beside the run.
        push: Repository of a hub, `user/model`.
        private: Whether a new repository is private.

    Returns:
        The folder, or the address of the commit.

    Raises:
        CheckpointError: If the run has no usable checkpoint, the folder holds something else, or the hub
            refuses.
    """
    check_folder_to_write(folder)
    pretrained = PretrainedModel.of_run(RunFolder.load(run))
    samples: tuple[str, ...] = ()
    if pretrained.autoregressive is None:
        generator = torch.Generator().manual_seed(0)
        samples = TextDiffusionPipeline.of(pretrained)(NUM_SAMPLES, generator=generator).texts
    card = model_card(pretrained.description, RunRecord.read(run), samples, options or CardOptions())
    pretrained.save_pretrained(folder, card=card)
    return str(folder) if push is None else push_folder(folder, push, files=FILES, private=private)
