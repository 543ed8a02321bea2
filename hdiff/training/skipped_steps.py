"""SkippedSteps: updates that are left out because their loss or gradient is not a number, or has exploded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.files import write_synced

LIMIT = 3
"""Skipped updates in a row after which a run stops: one may be a freak, three are a diverged run."""

LIMIT_OF_SCALING = 20
"""The same of gradients beyond fp16: each of them halves the scale, which begins at 2^16."""

RISE = 4.0
"""A loss has exploded if it is so many times the lowest running mean, and beyond `largest_sound_loss`."""

MEMORY = 0.9
"""What the running mean keeps at an update."""

FOLDER = "skipped"


def largest_sound_loss(vocab_size: int) -> float:
    """Nats per token that no sound model needs, even of a batch of few hidden tokens: 6 ln V + 20."""
    return 6 * math.log(vocab_size) + 20


class SkippedSteps:
    """Counts skipped updates, keeps their batches, and stops the run at the third in a row.

    Args:
        path: Run folder.
        process: Number of this process; each keeps its own rows.
        learning_rate: Of the recipe, for the message.
        vocab_size: Vocabulary of the model.
    """

    def __init__(self, path: Path, process: int, *, learning_rate: float, vocab_size: int) -> None:
        self.folder = path / FOLDER
        self.process = process
        self.learning_rate = learning_rate
        self.largest = largest_sound_loss(vocab_size)
        self.total = 0
        self.in_row = 0
        self.mean: float | None = None
        self.lowest: float | None = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "skipped_steps": self.total,
            "skipped_in_row": self.in_row,
            "loss_mean": self.mean,
            "lowest_loss_mean": self.lowest,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint's state."""
        self.total = state.get("skipped_steps", 0)
        self.in_row = state.get("skipped_in_row", 0)
        self.mean, self.lowest = state.get("loss_mean"), state.get("lowest_loss_mean")

    def is_sound(self, loss: float) -> bool:
        """Whether a loss, in nats per token, is a number and has not exploded."""
        if not math.isfinite(loss):
            return False
        return loss <= self.largest or self.lowest is None or loss <= RISE * self.lowest

    def step_was_done(self, loss: float) -> None:
        """Ends a row, and takes the loss into the running mean."""
        self.in_row = 0
        self.mean = loss if self.mean is None else MEMORY * self.mean + (1 - MEMORY) * loss
        self.lowest = self.mean if self.lowest is None else min(self.lowest, self.mean)

    def skip(
        self, step: int, batches: Sequence[Batch], loss: float, norm: float, *, limit: int = LIMIT
    ) -> None:
        """Counts an update that is left out and saves what it was computed from."""
        self.total += 1
        self.in_row += 1
        file = self._save(step, batches)
        if self.in_row >= limit:
            raise DataError(
                f"the loss is {loss} with gradient norm {norm} at step {step}, the last {self.in_row} "
                f"updates were skipped; the last checkpoint is intact, the batch is in {file}; make a new "
                f"run with a smaller learning rate (now {self.learning_rate}):",
                f"output=DIR train.learning_rate={self.learning_rate / 4:g}",
            )

    def without_checkpoint(self, step: int) -> DataError:
        """The error of a run whose weights are not finite where it ends, so that they are not saved."""
        skipped = f", the last {self.in_row} updates were skipped" if self.in_row else ""
        return DataError(
            f"no checkpoint of step {step} was saved, as the weights are not finite{skipped}; earlier "
            f"checkpoints in {self.folder.parent} are intact; train anew with output=DIR and a "
            f"train.learning_rate below {self.learning_rate} or more train.warmup_steps"
        )

    def _save(self, step: int, batches: Sequence[Batch]) -> Path:
        """Writes the rows of a skipped update; only the newest few files stay."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"step-{step:08d}-process-{self.process}.safetensors"
        tensors = {
            "input_ids": torch.cat([batch.input_ids for batch in batches]).cpu(),
            "token_mask": torch.cat([batch.token_mask for batch in batches]).cpu(),
        }
        rows = [batch.sample_ids for batch in batches if batch.sample_ids is not None]
        if rows:
            tensors["sample_ids"] = torch.cat(rows).cpu()
        write_synced(file, save(tensors, metadata={"step": str(step)}))
        for old in sorted(self.folder.glob(f"step-*-process-{self.process}.safetensors"))[:-LIMIT]:
            old.unlink()
        return file
