"""fit: trains a recipe into a run folder, on Accelerate, resumable at any step with the same numbers.

    training = build_training(load_recipe("recipe.yaml"))
    outcome = fit(training)

One update is in `hdiff.training.update`, what is minimised in `hdiff.training.losses`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hdiff.factory import required_levels
from hdiff.files import disk_errors
from hdiff.runs.lock import run_lock
from hdiff.supervision import without_supervision
from hdiff.training.build import Training
from hdiff.training.keeping import keep_states
from hdiff.training.metrics import MetricsLog
from hdiff.training.out_of_memory import memory_errors
from hdiff.training.processes import process_errors
from hdiff.training.saving import RunWriter
from hdiff.training.sharding import whole
from hdiff.training.stop_signals import stop_signals
from hdiff.training.trackers import Trackers
from hdiff.training.update import Updates
from hdiff.training.validation import validate

if TYPE_CHECKING:
    from hdiff.progress import Progress


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        first_step: Updates done before this start.
        last_step: Updates done now.
        stopped_by: Number of the signal that stopped it, with a checkpoint saved; None if it is done.
    """

    first_step: int
    last_step: int
    stopped_by: int | None


def fit(
    training: Training,
    *,
    progress: Progress | None = None,
    before_update: Callable[[int], None] | None = None,
) -> Outcome:
    """Trains to the last step.

    Args:
        training: What to train (`build_training`).
        progress: Shows what happens; None is silent.
        before_update: Called with the number of each update before it is done.

    Returns:
        How it ended.

    Raises:
        CheckpointError: If the folder holds another run, or one that trains now, or the disk is full.
        DataError: If the loss is not a number or has exploded, three updates in a row.
        RecipeError: If memory does not suffice, or the run was started with another recipe.
        UserError: If another process is gone or does not answer.
    """
    loop = _Loop(training, progress, before_update)
    with process_errors(training.config.process_timeout), disk_errors(training.path):
        if not training.accelerator.is_main_process:  # the main process keeps the folder for all
            return loop.run()
        with run_lock(training.path):
            return loop.run()


class _Loop:
    """Updates, validations, lines of the log and checkpoints, in turn."""

    def __init__(
        self, training: Training, progress: Progress | None, before_update: Callable[[int], None] | None
    ) -> None:
        self.training = training
        self.config = training.config
        self.best = training.state.best
        self.progress = progress
        self.before_update = before_update
        self.update = Updates(training)
        self.writer = RunWriter(training)

    def run(self) -> Outcome:
        training = self.training
        self._stage("opening the run")
        first_step = self.writer.start_or_resume(self.progress)
        is_main = training.accelerator.is_main_process
        trackers = Trackers(training.recipe, first_step) if is_main else None
        metrics = MetricsLog(training.path, first_step, trackers=trackers, enabled=is_main)
        try:
            self.writer.begin_clock()
            with memory_errors(training.recipe):
                kept = keep_states(training, self.progress) if first_step < self.config.steps else None
            with stop_signals(self.update.stop), memory_errors(training.recipe):
                outcome = self._steps(first_step, metrics)
        finally:
            metrics.close()
            training.state.rows.close()
        if outcome.stopped_by is None:
            self.writer.finish(outcome.last_step)
            if kept is not None:
                kept.remove()
        return outcome

    def _steps(self, first_step: int, metrics: MetricsLog) -> Outcome:
        """Updates up to the last step, or to the signal that stops them."""
        self._stage("first update")
        last_step, tokens, seconds = first_step, 0, 0.0  # of the updates since the last line
        for step in range(first_step + 1, self.config.steps + 1):
            if self.best.is_over:
                break
            if self.before_update is not None:
                self.before_update(step)
            last_step, began = step, time.perf_counter()
            step_metrics = self.update(step)
            seconds += time.perf_counter() - began
            tokens += self.training.tokens_per_update
            if self.progress is not None:
                self.progress.update(step, self.config.steps, f"loss {step_metrics['loss']:.3f}")
            if self.training.state.skipped.in_row:  # its numbers are none
                metrics.write(step, {"skipped_steps": self.training.state.skipped.total})
            elif step % self.config.log_every == 0 or step == self.config.steps:
                speed = {"tokens_per_second": tokens / seconds, "seconds": self.writer.seconds()}
                metrics.write(step, {**step_metrics, **speed})
                tokens, seconds = 0, 0.0
            has_improved = False
            if self.config.evaluate_every and step % self.config.evaluate_every == 0:
                self._stage("validating")
                with memory_errors(self.training.recipe, evaluating=True):
                    has_improved = self._validate(step, metrics)
            stop_signal = self.update.agreed_signal
            last = step == self.config.steps or stop_signal is not None or self.best.is_over
            # A best step is followed by a checkpoint that knows of it, before it takes another one's place.
            if last or (has_improved and self.config.keep_best) or step % self.config.checkpoint_every == 0:
                self._stage("saving")
                metrics.sync()
                self.writer.save(step, is_last=last)
            if stop_signal is not None and step < self.config.steps and not self.best.is_over:
                return Outcome(first_step, step, stop_signal)
        return Outcome(first_step, last_step, None)

    def _stage(self, note: str) -> None:
        if self.progress is not None:
            self.progress.stage(note)

    def _validate(self, step: int, metrics: MetricsLog) -> bool:
        """Logs the validation bound; returns whether it is the lowest so far, alike on every process."""
        training, accelerator = self.training, self.training.accelerator
        model = training.state.average.model if training.state.has_average else training.model
        if accelerator.is_fsdp2:  # evaluation calls more than the forward that gathers the weights
            tensors = whole(model.state_dict())
            model = training.new_model()
            model.load_state_dict(without_supervision(tensors))
            model.to(accelerator.device)
        blocks = training.data.blocks("validation", required_levels(training.corruption, training.model))
        estimate = validate(model.eval(), blocks, training.corruption, training.recipe)
        nats = estimate.nats.to(accelerator.device)
        nats = accelerator.gather(nats[None])[0].cpu()  # what the main process computed counts for all
        has_improved = self.best.add(step, nats, estimate.num_tokens)
        bound = float(nats.sum() / estimate.num_tokens.sum())
        metrics.write(step, {"validation_bound": bound, "validations_without_gain": self.best.waited})
        return has_improved
