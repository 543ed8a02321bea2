"""Trainer: a recipe to a run folder, on Accelerate, resumable at any step with the same numbers.

Everything random is drawn from (seed, purpose, step, process), never from history, so a resumed run
repeats exactly what the uninterrupted one would have done (bit for bit on a CPU).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hdiff.config import Recipe, TrainConfig
from hdiff.corruption.row_noise import RowNoise
from hdiff.data.batch import Batch
from hdiff.data.prepared import PreparedData
from hdiff.errors import CheckpointError
from hdiff.factory import DiffusionModel, build_model, build_supervision, count_parameters, required_levels
from hdiff.files import disk_errors, write_atomically
from hdiff.models.autoregressive import Autoregressive
from hdiff.recipe import to_yaml
from hdiff.runs import provenance
from hdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from hdiff.runs.folder import BEST, CHECKPOINTS, RECIPE_FILE, RECORD_FILE, RunFolder
from hdiff.runs.lock import run_lock
from hdiff.runs.record import read_run
from hdiff.seeds import derive_seed
from hdiff.supervision import without_supervision
from hdiff.training.losses import training_loss
from hdiff.training.metrics import MetricsLog
from hdiff.training.optimisation import Average, make_optimizer, rate_factor
from hdiff.training.out_of_memory import memory_errors
from hdiff.training.processes import make_accelerator, process_errors
from hdiff.training.recipe_data import RecipeData
from hdiff.training.resuming import check_rows_per_update, check_same_run, check_same_statistics, renew_places
from hdiff.training.sharding import shard_layers, whole
from hdiff.training.skipped_steps import LIMIT_OF_SCALING, SkippedSteps
from hdiff.training.state import TrainingState
from hdiff.training.stop_signals import stop_signals
from hdiff.training.trackers import Trackers, check_trackers
from hdiff.training.training_data import data_facts, open_rows, verify_once
from hdiff.training.validation import BestStep, validate

if TYPE_CHECKING:
    from hdiff.progress import Progress


TOKENS = "tokens"
"""What is summed beside the parts of a loss, so that their means are over all tokens of all processes."""


class Trainer:
    """One training run.

    Args:
        recipe: The resolved recipe.
        progress: Shows what happens; None is silent.
    """

    def __init__(self, recipe: Recipe, *, progress: Progress | None = None) -> None:
        self.recipe = recipe
        self.config: TrainConfig = recipe.train
        self.progress = progress
        self.path = Path(recipe.output)
        self.prepared = PreparedData.load(recipe.data.path)
        self.accelerator = make_accelerator(self.config)
        check_trackers(self.config.trackers)
        verify_once(recipe, self.accelerator)
        self.data = RecipeData(recipe, self.prepared)
        self.corruption = self.data.corruption()
        self.model = self._new_model()
        supervision = build_supervision(recipe, self.data.class_table)
        self.model.supervision = supervision
        targets = None if supervision is None else supervision.spec
        levels = required_levels(self.corruption, self.model)
        self.blocks = self.data.blocks("train", levels, targets=targets)
        self.rows = open_rows(
            recipe, self.prepared, self.blocks, levels=levels, targets=targets, accelerator=self.accelerator
        )
        self.average = Average(self.model, self.config.ema_decay)
        self.optimizer = make_optimizer(self.model, self.config)
        loss = training_loss(self.model, self.corruption)
        shard_layers(self.accelerator, self.model.trunk)
        self.loss, self.prepared_optimizer = self.accelerator.prepare(loss, self.optimizer)
        self.average.shard(self.model)
        self.average.to(self.accelerator.device)
        # Drawn gradients of learned speeds are mostly noise: their norm must not shorten everyone's step, and
        # Adam gives them one of the usual length anyway.
        self.clipped = [p for name, p in self.loss.named_parameters() if "token_rates" not in name]
        self.skipped = SkippedSteps(
            self.path,
            self.accelerator.process_index,
            learning_rate=self.config.learning_rate,
            vocab_size=self.prepared.tokenizer.vocab_size,
        )
        self.best = BestStep(self.config.patience)
        self.state = TrainingState(
            self.model,
            self.average,
            bool(self.config.ema_decay),
            self.optimizer,
            self.rows,
            self.skipped,
            self.best,
            self.accelerator,
        )
        self.last_step = 0
        self.earlier_seconds = 0.0
        self.began = time.perf_counter()
        self.first_step = 0
        self.stop_signal: int | None = None
        self.agreed_signal: int | None = None

    def run(self) -> int | None:
        """Trains to the last step.

        Returns:
            None when done, or the number of the signal that stopped the run (a checkpoint is saved).

        Raises:
            CheckpointError: If the folder holds another run, or one that trains now, or the disk is full.
            DataError: If the loss is not a number or has exploded, three updates in a row.
            RecipeError: If memory does not suffice, or the run was started with another recipe.
            UserError: If another process is gone or does not answer.
        """
        with process_errors(self.config.process_timeout), disk_errors(self.path):
            if not self.accelerator.is_main_process:  # the main process keeps the folder for all
                return self._train()
            with run_lock(self.path):
                return self._train()

    def _train(self) -> int | None:
        first_step = self.first_step = self.last_step = self._start_or_resume()
        is_main = self.accelerator.is_main_process
        trackers = Trackers(self.recipe, first_step) if is_main else None
        metrics = MetricsLog(self.path, first_step, trackers=trackers, enabled=is_main)
        try:
            with stop_signals(self._stop), memory_errors(self.recipe):
                stopped_by = self._steps(first_step, metrics)
        finally:
            metrics.close()
            self.rows.close()
        if stopped_by is None:
            self._finish()
        return stopped_by

    def _stop(self, number: int) -> None:
        self.stop_signal = self.stop_signal or number

    def _steps(self, first_step: int, metrics: MetricsLog) -> int | None:
        """Updates, logs and checkpoints up to the last step, or to the signal that it returns."""
        self.began = time.perf_counter()
        tokens, seconds = 0, 0.0  # of the updates since the last line
        for step in range(first_step + 1, self.config.steps + 1):
            if self.best.is_over:
                break
            self.last_step = step
            update_began = time.perf_counter()
            step_metrics = self._update(step)
            seconds += time.perf_counter() - update_began
            tokens += self._rows_per_update() * self.recipe.data.sequence_length
            if self.progress is not None:
                self.progress.update(step, self.config.steps, f"loss {step_metrics['loss']:.3f}")
            if self.skipped.in_row:  # its numbers are none
                metrics.write(step, {"skipped_steps": self.skipped.total})
            elif step % self.config.log_every == 0 or step == self.config.steps:
                speed = {"tokens_per_second": tokens / seconds, "seconds": self._train_seconds()}
                metrics.write(step, {**step_metrics, **speed})
                tokens, seconds = 0, 0.0
            has_improved = False
            if self.config.evaluate_every and step % self.config.evaluate_every == 0:
                with memory_errors(self.recipe, evaluating=True):
                    has_improved = self._validate(step, metrics)
            stop_signal = self._agreed_signal()
            last = step == self.config.steps or stop_signal is not None or self.best.is_over
            # A best step is followed by a checkpoint that knows of it, before it takes another one's place.
            if last or (has_improved and self.config.keep_best) or step % self.config.checkpoint_every == 0:
                metrics.sync()
                self._save(step, is_last=last)
            if stop_signal is not None and step < self.config.steps and not self.best.is_over:
                return stop_signal
        return None

    def _update(self, step: int) -> dict[str, float]:
        """One optimiser update; returns what is logged."""
        torch.manual_seed(derive_seed(self.recipe.seed, "dropout", step, self.accelerator.process_index))
        rate = self.config.learning_rate * rate_factor(step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.loss.train()
        totals: dict[str, Tensor] = {}
        means: dict[str, float] = {}
        norm = math.nan
        batches: list[Batch] = []
        is_sound = True
        scaler = self.accelerator.scaler  # of fp16, whose gradients may overflow until its scale is found
        for places, batch in self._batches(step):
            batches.append(batch)
            assert batch.sample_ids is not None
            generators = self._generators(step, batch.sample_ids)
            with self.accelerator.accumulate(self.loss):
                with self.accelerator.autocast():  # sharded models have none of their own
                    progress = (step - 1) / self.config.steps
                    rows = self._rows_per_update()
                    loss, parts = self.loss(batch, *generators, places, rows, progress)
                num_tokens = batch.num_tokens
                self.accelerator.backward(loss * (num_tokens / self._full_batch()))
                for name, value in {**parts, TOKENS: torch.ones_like(loss)}.items():
                    totals[name] = totals.get(name, 0.0) + value.detach().double() * num_tokens
                if self.accelerator.sync_gradients:
                    means = self._agree(totals)
                    self._rescale_gradients(means[TOKENS])
                    norm = float(self.accelerator.clip_grad_norm_(self.clipped, self.config.clip_norm))
                    is_sound = self.skipped.is_sound(means["loss"]) and (
                        scaler is not None or math.isfinite(norm)
                    )
                if is_sound:
                    self.prepared_optimizer.step()
                elif scaler is not None:
                    scaler.update()
                self.prepared_optimizer.zero_grad()
        if not is_sound:
            self.skipped.skip(step, batches, means["loss"], norm)
        elif not math.isfinite(norm):  # the scaler has left it out and halved its scale
            self.skipped.skip(step, batches, means["loss"], norm, limit=LIMIT_OF_SCALING)
        else:
            self.skipped.step_was_done(means["loss"])
            self.average.update(self.model, step)
        del means[TOKENS]
        return {**means, "learning_rate": rate, "grad_norm": norm}

    def _agree(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """Means over all tokens of an update, and the signal to stop: what processes must agree on, at once.

        Args:
            totals: This process's sums over tokens, with `TOKENS` their number.

        Returns:
            The means, the same on every process; `TOKENS` is the number per batch.
        """
        signal_number = totals[TOKENS].new_tensor(float(self.stop_signal or 0))
        ours = torch.stack([*totals.values(), signal_number])
        everyone = self.accelerator.gather(ours[None]).cpu()  # (processes, parts + 1)
        self.agreed_signal = int(everyone[:, -1].max()) or None
        sums = dict(zip(totals, everyone[:, :-1].sum(0).tolist(), strict=True))
        means = {name: value / sums[TOKENS] for name, value in sums.items()}
        batches = self.config.gradient_accumulation * self.accelerator.num_processes
        return {**means, TOKENS: sums[TOKENS] / batches}

    def _rescale_gradients(self, num_tokens: float) -> None:
        """Divides by the tokens of a mean batch what was divided by those of a full one; padding is rare."""
        if num_tokens != self._full_batch():
            gradients = [p.grad for p in self.loss.parameters() if p.grad is not None]
            torch._foreach_mul_(gradients, self._full_batch() / num_tokens)

    def _full_batch(self) -> int:
        """Tokens of a batch without padding."""
        return self.config.batch_size * self.recipe.data.sequence_length

    def _agreed_signal(self) -> int | None:
        """The signal that any process got: all stop after the same update, or they wait for each other."""
        return self.stop_signal if self.accelerator.num_processes == 1 else self.agreed_signal

    def _generators(self, step: int, sample_ids: Tensor) -> tuple[torch.Generator, torch.Generator]:
        """Of times, alike on every process and batch of an update, and of the noise of each row."""
        times = torch.Generator(self.accelerator.device).manual_seed(
            derive_seed(self.recipe.seed, "times", step)
        )
        return times, RowNoise(derive_seed(self.recipe.seed, "noise", step), sample_ids)

    def _rows_per_update(self) -> int:
        processes: int = self.accelerator.num_processes
        return self.config.batch_size * self.config.gradient_accumulation * processes

    def _batches(self, step: int) -> Iterator[tuple[range, Batch]]:
        """This process's batches of one update, and which rows of it they are.

        The order is a function of the seed and the step.
        """
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        first = (step - 1) * self._rows_per_update()
        for index in range(self.config.gradient_accumulation):
            begin = index * self.config.batch_size * processes
            places = range(begin + rank, begin + self.config.batch_size * processes, processes)
            batch = self.rows.batch([first + place for place in places])
            yield places, batch.to(self.accelerator.device)

    def _validate(self, step: int, metrics: MetricsLog) -> bool:
        """Logs the validation bound; returns whether it is the lowest so far, alike on every process."""
        model = self.average.model if self.config.ema_decay else self.model
        if self.accelerator.is_fsdp2:  # evaluation calls more than the forward that gathers the weights
            tensors = whole(model.state_dict())
            model = self._new_model()
            model.load_state_dict(without_supervision(tensors))
            model.to(self.accelerator.device)
        blocks = self.data.blocks("validation", required_levels(self.corruption, self.model))
        found = validate(model.eval(), blocks, self.corruption, self.recipe)
        nats = found.nats.to(self.accelerator.device)
        nats = self.accelerator.gather(nats[None])[0].cpu()  # what the main process found counts for all
        has_improved = self.best.add(step, nats, found.num_tokens)
        bound = float(nats.sum() / found.num_tokens.sum())
        metrics.write(step, {"validation_bound": bound, "validations_without_gain": self.best.waited})
        return has_improved

    def _new_model(self) -> DiffusionModel | Autoregressive:
        vocab_size, classes = self.prepared.tokenizer.vocab_size, self.data.learn_head_classes()
        return build_model(self.recipe, vocab_size, self.corruption, head_classes=classes)

    def _start_or_resume(self) -> int:
        """Writes the run's files or loads its newest checkpoint; returns the updates already done."""
        if RunFolder.has_checkpoint(self.path):
            if self.recipe.resume != "auto":
                raise CheckpointError(
                    f"{self.path} already holds a run; resume it, or give another folder:",
                    "resume=auto",
                    "output=DIR",
                )
            return self._resume()
        if self.accelerator.is_main_process:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / RECIPE_FILE, to_yaml(self.recipe))
            self.prepared.tokenizer.save(self.path)
            self._record({"steps": 0})
        self.accelerator.wait_for_everyone()
        return 0

    def _resume(self) -> int:
        check_same_run(self.path, self.recipe, self.prepared, self.rows)
        checkpoint = load_checkpoint(self.path / CHECKPOINTS, trains=self.accelerator.is_main_process)
        check_same_statistics(self.path, self.data, checkpoint.state)
        check_rows_per_update(
            self.path,
            self.config,
            before=checkpoint.state.get("rows_per_update"),
            now=self._rows_per_update(),
        )
        self.state.restore(checkpoint)
        if self.accelerator.is_main_process:
            renew_places(self.path, self.recipe)
        self.earlier_seconds = float(checkpoint.state.get("train_seconds", 0.0))
        if self.progress is not None:
            self.progress.message(f"resuming {self.path} at step {checkpoint.step} of {self.config.steps}")
        return checkpoint.step

    def _save(self, step: int, *, is_last: bool) -> None:
        self.accelerator.wait_for_everyone()
        tensors, values = self.state.tensors(), self.state.values()
        if not self.accelerator.is_main_process:
            return
        if not all(bool(t.isfinite().all()) for t in tensors["model"].values()):
            if is_last:
                raise self.skipped.without_checkpoint(step)
            return  # weights that are no numbers must not take the place of good ones
        state = {
            "recipe": self.recipe.name,
            "tokens_seen": self._tokens_seen(step),
            "rows_per_update": self._rows_per_update(),
            "train_seconds": self._train_seconds(),
            "statistics_sha256": self.data.statistics_digest(),
            **values,
        }
        if self.config.keep_best and self.best.step is not None:
            state["used_step"] = self.best.step
        if (
            state.get("used_step") == step
        ):  # the one before stays until the checkpoint below no longer names it
            part = "ema" if self.config.ema_decay else "model"
            save_checkpoint(self.path / BEST, step, {part: tensors[part]}, state, keep=2)
        save_checkpoint(self.path / CHECKPOINTS, step, tensors, state, keep=self.config.keep_checkpoints)

    def _tokens_seen(self, step: int) -> int:
        return step * self._rows_per_update() * self.recipe.data.sequence_length

    def _train_seconds(self) -> float:
        """Seconds of training, those before earlier stops and kills included."""
        return self.earlier_seconds + time.perf_counter() - self.began

    def _finish(self) -> None:
        if not self.accelerator.is_main_process:
            return
        record = read_run(self.path)
        if record["steps"] == self.last_step:  # it was finished before
            return
        facts = {
            "created": record["created"],
            "steps": self.last_step,
            "train_seconds": round(self._train_seconds(), 3),
        }
        if self.skipped.total:
            facts["skipped_steps"] = self.skipped.total
        if self.best.step is not None:
            facts |= {"best_step": self.best.step, "best_bound": self.best.bound}
        if self.best.is_over:
            facts["finished"] = f"{self.best.waited} validations without a gain beyond noise"
        self._record(facts)

    def _record(self, facts: dict[str, Any]) -> None:
        record = {
            "name": self.recipe.name,
            "seed": self.recipe.seed,
            **provenance.facts(),
            "device": str(self.accelerator.device),
            "threads": torch.get_num_threads(),
            "processes": self.accelerator.num_processes,
            "parameters": count_parameters(self.model),
            "data": data_facts(self.prepared, self.blocks, self.rows),
            **self.data.facts(),
            "vocab_size": self.prepared.tokenizer.vocab_size,
            "tokens_seen": self._tokens_seen(facts["steps"]),
            **facts,
        }
        write_atomically(self.path / RECORD_FILE, json.dumps(record, indent=1))
