"""build_training: what a recipe trains, put together once; `hdiff.training.trainer.fit` trains it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from hdiff.config import Recipe
from hdiff.config.train import TrainConfig
from hdiff.corruption import Corruption
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.errors import RecipeError
from hdiff.factory import DiffusionModel, build_model, build_supervision, required_levels
from hdiff.models.autoregressive import Autoregressive
from hdiff.samplers.build import build_sampler
from hdiff.training.first_weights import first_model, start_from
from hdiff.training.kept_states import check_kept_states
from hdiff.training.losses import training_loss
from hdiff.training.optimisation import Average, make_optimizer
from hdiff.training.processes import make_accelerator
from hdiff.training.recipe_data import RecipeData
from hdiff.training.sharding import shard_layers
from hdiff.training.skipped_steps import SkippedSteps
from hdiff.training.state import TrainingState
from hdiff.training.trackers import check_trackers
from hdiff.training.training_data import open_rows, verify_once
from hdiff.training.validation import BestStep

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer


@dataclass(frozen=True)
class Training:
    """The parts of one training run, on this process.

    Attributes:
        recipe: The resolved recipe.
        prepared: Its data set.
        data: The text in the forms that training needs.
        corruption: The corruption, not yet of a model.
        blocks: The packed training split.
        loss: The training step (`hdiff.training.losses`), as Accelerate wraps it.
        optimizer: The optimiser, as Accelerate wraps it.
        state: What changes while it is trained: weights, optimiser, place in the data, best step.
        accelerator: Of all processes.
    """

    recipe: Recipe
    prepared: PreparedData
    data: RecipeData
    corruption: Corruption
    blocks: PackedBlocks
    loss: nn.Module
    optimizer: AcceleratedOptimizer
    state: TrainingState
    accelerator: Accelerator

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.recipe.output)

    @property
    def config(self) -> TrainConfig:
        """The recipe's `train` section."""
        return self.recipe.train

    @property
    def model(self) -> DiffusionModel | Autoregressive:
        """The model."""
        return self.state.model

    @property
    def rows_per_update(self) -> int:
        """Rows of an update, over all its batches and processes."""
        processes: int = self.accelerator.num_processes
        return self.config.batch_size * self.config.gradient_accumulation * processes

    @property
    def tokens_per_update(self) -> int:
        """Positions of an update, padding included."""
        return self.rows_per_update * self.recipe.data.sequence_length

    def new_model(self) -> DiffusionModel | Autoregressive:
        """The model with the weights it begins with."""
        return _new_model(self.recipe, self.prepared, self.data, self.corruption)


def build_training(recipe: Recipe) -> Training:
    """Puts together what a recipe trains; nothing is written."""
    prepared = PreparedData.load(recipe.data.path)
    accelerator = make_accelerator(recipe.train)
    check_trackers(recipe.train.trackers)
    verify_once(recipe, accelerator)
    first = first_model(recipe, prepared.tokenizer)
    data = RecipeData(recipe, prepared, {} if first is None else first.record)
    corruption = data.corruption()
    model = _new_model(recipe, prepared, data, corruption)
    if recipe.evaluation.sampler is not None:  # the run is evaluated with it: better said now
        build_sampler(recipe.evaluation.sampler, num_steps=1, section="evaluation.sampler")
    if first is not None:
        start_from(first, model, recipe)
    model.supervision = supervision = build_supervision(recipe, data.class_table)
    targets = None if supervision is None else supervision.spec
    levels = required_levels(corruption, model)
    blocks = data.blocks("train", levels, targets=targets)
    rows = open_rows(recipe, prepared, blocks, levels=levels, targets=targets, accelerator=accelerator)
    check_kept_states(recipe, model, corruption, rows, accelerator)
    average = Average(model, recipe.train.ema_decay)
    if accelerator.is_fsdp2 and recipe.train.optimizer == "muon":
        raise RecipeError(
            "optimizer 'muon' needs whole matrices, and the weights are sharded; use", "train.optimizer=adamw"
        )
    optimizer = make_optimizer(model, recipe.train)
    loss = training_loss(model, corruption)
    shard_layers(accelerator, model.trunk)
    loss, prepared_optimizer = accelerator.prepare(loss, optimizer)
    average.shard(model)
    average.to(accelerator.device)
    if recipe.train.compile:
        check_compiler(accelerator.device)
        model.trunk.compile()
    skipped = SkippedSteps(
        Path(recipe.output),
        accelerator.process_index,
        learning_rate=recipe.train.learning_rate,
        vocab_size=prepared.tokenizer.vocab_size,
    )
    best = BestStep(recipe.train.patience)
    has_average = bool(recipe.train.ema_decay)
    state = TrainingState(model, average, has_average, optimizer, rows, skipped, best, accelerator)
    return Training(recipe, prepared, data, corruption, blocks, loss, prepared_optimizer, state, accelerator)


def check_compiler(device: torch.device) -> None:
    """Refuses to compile for a CPU where there is no compiler."""
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX") or "g++", "clang++"))):
        raise RecipeError(
            "train.compile needs a C++ compiler, and there is no g++; install one, or use",
            "train.compile=false",
        )


def _new_model(
    recipe: Recipe, prepared: PreparedData, data: RecipeData, corruption: Corruption
) -> DiffusionModel | Autoregressive:
    vocab_size = prepared.tokenizer.vocab_size
    return build_model(recipe, vocab_size, corruption, head_classes=data.learn_head_classes())
