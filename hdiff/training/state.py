"""TrainingState: what a checkpoint keeps of a training, whole or sharded, on any number of processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hdiff.data.rows.training_rows import TrainingRows
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive
from hdiff.models.trainable import trained_tensors, trunk_digest
from hdiff.runs.checkpoint import Checkpoint
from hdiff.runs.folder import load_weights
from hdiff.training.optimisation import Average, load_optimizer, optimizer_tensors
from hdiff.training.sharding import shard_all, whole
from hdiff.training.skipped_steps import SkippedSteps
from hdiff.training.training_data import restore_rows, rows_state
from hdiff.training.validation import BestStep

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class TrainingState:
    """All that changes while a run is trained.

    Attributes:
        model: The model.
        average: Its averaged weights.
        has_average: Whether the recipe keeps them.
        optimizer: The optimizer.
        rows: Training rows of this process.
        skipped: Counts updates that are left out.
        best: The step with the lowest validation bound.
        accelerator: Of all processes; its scaler, where fp16 has one, is kept too.
    """

    model: DiffusionModel | Autoregressive
    average: Average[Any]
    has_average: bool
    optimizer: torch.optim.Optimizer
    rows: TrainingRows
    skipped: SkippedSteps
    best: BestStep
    accelerator: Accelerator

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Part -> name -> tensor, whole on the main process; all processes must ask."""
        tensors = {
            "model": trained_tensors(self.model),
            "optimizer": optimizer_tensors(self.optimizer, self.model),
        }
        if self.has_average:
            tensors["ema"] = trained_tensors(self.average.model)
        keep = self.accelerator.is_main_process
        return {part: whole(values, keep=keep) for part, values in tensors.items()}

    def values(self) -> dict[str, Any]:
        """What is no tensor, JSON-able; all processes must ask."""
        values = {
            **rows_state(self.rows, self.accelerator),
            **self.skipped.state(),
            **self.best.state(),
        }
        if (digest := trunk_digest(self.model)) is not None:
            values["trunk_sha256"] = digest
        if self.accelerator.scaler is not None:
            values["scaler"] = self.accelerator.scaler.state_dict()
        return values

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint of the same run, on any number of processes, sharded or not."""
        state = checkpoint.state
        restore_rows(self.rows, state, self.accelerator)
        if self.accelerator.is_fsdp2:
            weights = {
                part: shard_all(values, self.model)
                for part, values in checkpoint.tensors.items()
                if part != "optimizer"
            }
            checkpoint = replace(checkpoint, tensors={**checkpoint.tensors, **weights})
        load_weights(self.model, checkpoint, "model")
        if self.has_average:
            load_weights(self.average.model, checkpoint, "ema")
        load_optimizer(self.optimizer, self.model, checkpoint.tensors["optimizer"])
        self.skipped.restore(state)
        self.best.restore(state)
        if self.accelerator.scaler is not None and "scaler" in state:
            self.accelerator.scaler.load_state_dict(state["scaler"])
