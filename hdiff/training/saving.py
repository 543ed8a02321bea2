"""RunWriter: the run folder of a training, from its first file to its record."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import torch

from hdiff.errors import CheckpointError
from hdiff.factory import count_parameters
from hdiff.files import write_atomically
from hdiff.models.pretrained_start import starting_point
from hdiff.recipe import to_yaml
from hdiff.runs import provenance
from hdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from hdiff.runs.folder import BEST, CHECKPOINTS, RECIPE_FILE, RECORD_FILE, RunFolder
from hdiff.runs.record import read_run
from hdiff.training.build import Training
from hdiff.training.resuming import check_rows_per_update, check_same_run, check_same_statistics, renew_places
from hdiff.training.training_data import data_facts

if TYPE_CHECKING:
    from hdiff.progress import Progress


class RunWriter:
    """Begins or resumes a run folder, saves checkpoints and the record; only the main process writes."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.path = training.path
        self._earlier_seconds = 0.0
        self._began = time.perf_counter()

    def start_or_resume(self, progress: Progress | None) -> int:
        """Writes the run's files or loads its newest checkpoint; returns the updates already done."""
        training = self.training
        if RunFolder.has_checkpoint(self.path):
            if training.recipe.resume != "auto":
                raise CheckpointError(
                    f"{self.path} already holds a run; resume it, or give another folder:",
                    "resume=auto",
                    "output=DIR",
                )
            return self._resume(progress)
        if training.accelerator.is_main_process:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / RECIPE_FILE, to_yaml(training.recipe))
            training.prepared.tokenizer.save(self.path)
            self._record({"steps": 0})
            if progress is not None and (origin := self._origin()) is not None:
                progress.message(starting_point(origin, training.prepared.tokenizer))
        training.accelerator.wait_for_everyone()
        return 0

    def _resume(self, progress: Progress | None) -> int:
        training = self.training
        check_same_run(self.path, training.recipe, training.prepared, training.state.rows)
        is_main = training.accelerator.is_main_process
        checkpoint = load_checkpoint(self.path / CHECKPOINTS, trains=is_main)
        check_same_statistics(self.path, training.data, checkpoint.state)
        check_rows_per_update(
            self.path,
            training.config,
            before=checkpoint.state.get("rows_per_update"),
            now=training.rows_per_update,
        )
        training.state.restore(checkpoint)
        if is_main:
            renew_places(self.path, training.recipe)
        self._earlier_seconds = float(checkpoint.state.get("train_seconds", 0.0))
        if progress is not None:
            progress.message(f"resuming {self.path} at step {checkpoint.step} of {training.config.steps}")
        return checkpoint.step

    def begin_clock(self) -> None:
        """The first update is about to begin."""
        self._began = time.perf_counter()

    def seconds(self) -> float:
        """Seconds of training, those before earlier stops and kills included."""
        return self._earlier_seconds + time.perf_counter() - self._began

    def save(self, step: int, *, is_last: bool) -> None:
        """Saves a checkpoint; all processes must ask."""
        training, best = self.training, self.training.state.best
        training.accelerator.wait_for_everyone()
        tensors, values = training.state.tensors(), training.state.values()
        if not training.accelerator.is_main_process:
            return
        if not all(bool(t.isfinite().all()) for t in tensors["model"].values()):
            if is_last:
                raise training.state.skipped.without_checkpoint(step)
            return  # weights that are no numbers must not take the place of good ones
        state = {
            "recipe": training.recipe.name,
            "tokens_seen": step * training.tokens_per_update,
            "rows_per_update": training.rows_per_update,
            "train_seconds": self.seconds(),
            "statistics_sha256": training.data.statistics_digest(),
            **values,
        }
        if training.config.keep_best and best.step is not None:
            state["used_step"] = best.step
        # The best one before stays until the checkpoint below no longer names it.
        if state.get("used_step") == step:
            part = "ema" if training.state.has_average else "model"
            save_checkpoint(self.path / BEST, step, {part: tensors[part]}, state, keep=2)
        keep = training.config.keep_checkpoints
        save_checkpoint(self.path / CHECKPOINTS, step, tensors, state, keep=keep)

    def finish(self, step: int) -> None:
        """Records what was trained, once."""
        if not self.training.accelerator.is_main_process:
            return
        record = read_run(self.path)
        if record["steps"] == step:  # it was finished before
            return
        facts = {"created": record["created"], "steps": step, "train_seconds": round(self.seconds(), 3)}
        skipped, best = self.training.state.skipped, self.training.state.best
        if skipped.total:
            facts["skipped_steps"] = skipped.total
        if best.step is not None:
            facts |= {"best_step": best.step, "best_bound": best.bound}
        if best.is_over:
            facts["finished"] = f"{best.waited} validations without a gain beyond noise"
        self._record(facts)

    def _origin(self) -> dict[str, Any] | None:
        """What is known of the checkpoint that the model starts from; None of one that starts from none."""
        return getattr(self.training.model.trunk, "origin", None)

    def _record(self, facts: dict[str, Any]) -> None:
        training = self.training
        record = {
            "name": training.recipe.name,
            "seed": training.recipe.seed,
            **provenance.facts(),
            "device": str(training.accelerator.device),
            "threads": torch.get_num_threads(),
            "processes": training.accelerator.num_processes,
            "parameters": count_parameters(training.model),
            **({} if (origin := self._origin()) is None else {"trunk": origin}),
            "data": data_facts(training.prepared, training.blocks, training.state.rows),
            **training.data.facts(),
            "vocab_size": training.prepared.tokenizer.vocab_size,
            "tokens_seen": facts["steps"] * training.tokens_per_update,
            **facts,
        }
        write_atomically(self.path / RECORD_FILE, json.dumps(record, indent=1))
