"""SkippedSteps: updates that are left out because their loss or gradient is not a number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from hdiff.data.batch import Batch
from hdiff.data.durable_files import write_synced
from hdiff.errors import DataError

LIMIT = 3
"""Skipped updates in a row after which a run stops: one may be a freak, three are a diverged run."""

FOLDER = "skipped"


class SkippedSteps:
    """Counts skipped updates, keeps their batches, and stops the run at the third in a row.

    Args:
        path: Run folder.
        process: Number of this process; each keeps its own rows.
        learning_rate: Of the recipe, for the message.
    """

    def __init__(self, path: Path, process: int, learning_rate: float) -> None:
        self.folder = path / FOLDER
        self.process = process
        self.learning_rate = learning_rate
        self.total = 0
        self.in_row = 0

    def state(self) -> dict[str, int]:
        """What a checkpoint keeps of it."""
        return {"skipped_steps": self.total, "skipped_in_row": self.in_row}

    def restore(self, state: dict[str, int]) -> None:
        """Goes on from a checkpoint's state."""
        self.total = state.get("skipped_steps", 0)
        self.in_row = state.get("skipped_in_row", 0)

    def step_was_done(self) -> None:
        """Ends a row."""
        self.in_row = 0

    def skip(self, step: int, batches: Sequence[Batch], loss: float, norm: float) -> None:
        """Counts an update that is left out and saves what it was computed from.

        Args:
            step: The update.
            batches: This process's batches of it.
            loss: Its loss in nats per token.
            norm: Its gradient norm.

        Raises:
            DataError: If it is the third in a row.
        """
        self.total += 1
        self.in_row += 1
        file = self._save(step, batches)
        if self.in_row >= LIMIT:
            raise DataError(
                f"the loss is {loss} with gradient norm {norm} at step {step}, the last {LIMIT} updates were "
                f"skipped; lower train.learning_rate (now {self.learning_rate}) or raise train.warmup_steps; "
                f"the last checkpoint is intact, the batch is saved in {file}"
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
