"""RunFolder: everything a finished or running training left behind, loaded for evaluation and sampling."""

from __future__ import annotations

import re
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from hdiff.config import Recipe
from hdiff.corruption import Corruption
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError
from hdiff.factory import DiffusionModel, build_corruption, build_model
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.models.trainable import check_same_trunk, frozen_names
from hdiff.models.wrapped import unwrapped
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import Checkpoint, has_checkpoint, load_checkpoint, load_step
from hdiff.runs.record import check_statistics, read_run
from hdiff.supervision import without_supervision

RECIPE_FILE = "recipe.yaml"
RECORD_FILE = "run.json"
CHECKPOINTS = "checkpoints"
BEST = "best"
"""Folder of the checkpoint with the lowest validation bound (`train.keep_best`): weights only."""
_SHARED_FILE = "config.json"
_SHARED = re.compile(r'"format"\s*:\s*"hdiff"')
_READ_CHARACTERS = 1 << 16


@dataclass(frozen=True)
class RunFolder:
    """A run, ready to use.

    Attributes:
        path: The folder.
        recipe: Its resolved recipe.
        record: Contents of run.json: data, parameters, commit, machine.
        tokenizer: The tokenizer of its data set.
        step: Updates done by the loaded checkpoint: the newest, or the one of the lowest validation bound if
            the recipe keeps it (`train.keep_best`).
        model: The model in evaluation mode, with averaged weights if the recipe keeps them; the network
            itself, also if a wrapped one is given.
    """

    path: Path
    recipe: Recipe
    record: dict[str, Any]
    tokenizer: Tokenizer
    step: int
    model: DiffusionModel | Autoregressive

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", unwrapped(self.model))

    @classmethod
    def load(cls, path: Path | str) -> RunFolder:
        """Loads a folder that `hdiff train` wrote."""
        path = Path(path)
        if not (path / RECIPE_FILE).is_file() or not (path / RECORD_FILE).is_file():
            if _is_shared(path / _SHARED_FILE):
                raise CheckpointError(
                    f"{path} is a shared model (hdiff export), not a run folder; give the run folder that it "
                    f"was exported from"
                )
            raise CheckpointError(
                f"{path} is not a run folder (no {RECIPE_FILE} and {RECORD_FILE} in it); train one:",
                f"hdiff train RECIPE output={shlex.quote(str(path))}",
            )
        recipe = load_recipe(path / RECIPE_FILE)
        record = read_run(path)
        tokenizer = Tokenizer.load(path / "tokenizer.json")
        part = "ema" if recipe.train.ema_decay else "model"
        checkpoint = _load_used(path, part)
        check_statistics(path, record, checkpoint.state)
        with torch.device("cpu"):  # whatever the caller's default is
            model = build_model(
                recipe,
                tokenizer.vocab_size,
                _corruption(recipe, record, tokenizer),
                head_classes=record.get("head_classes", ()),
            )
        load_weights(model, checkpoint, part)
        return cls(path, recipe, record, tokenizer, checkpoint.step, model.eval())

    @property
    def autoregressive(self) -> Autoregressive | None:
        """The model if it is an autoregressive one."""
        return as_autoregressive(self.model)

    @property
    def denoiser(self) -> DiffusionModel:
        """The model if it is a diffusion model."""
        if self.autoregressive is not None:
            raise CheckpointError(
                f"{self.path} holds an autoregressive model, which judges samples; give a run of "
                f"model.kind denoiser, or judge one:",
                f"hdiff eval RUN --judge {shlex.quote(str(self.path))}",
            )
        return cast(DiffusionModel, self.model)

    @property
    def corruption(self) -> Corruption:
        """The corruption it was trained with, span lengths of the corpus and learned speeds filled in."""
        return _corruption(self.recipe, self.record, self.tokenizer).of_model(self.model)

    @staticmethod
    def has_checkpoint(path: Path | str) -> bool:
        """Whether the folder holds a checkpoint to resume from."""
        return has_checkpoint(Path(path) / CHECKPOINTS)


def _load_used(path: Path, part: str) -> Checkpoint:
    """The newest checkpoint, or the best that it names; the newest also if the best is damaged."""
    newest = load_checkpoint(path / CHECKPOINTS, parts=(part,))
    step = newest.state.get("used_step")
    if step is None or step == newest.step:
        return newest
    try:
        return load_step(path / BEST, step, parts=(part,))
    except CheckpointError as error:
        warnings.warn(f"{error}; step {newest.step}, the newest, is used instead of the best", stacklevel=3)
        return newest


def _is_shared(config: Path) -> bool:
    """Whether a file is the configuration of a shared model, by its beginning."""
    if not config.is_file():
        return False
    with config.open(encoding="utf-8", errors="replace") as file:
        return _SHARED.search(file.read(_READ_CHARACTERS)) is not None


def _corruption(recipe: Recipe, record: dict[str, Any], tokenizer: Tokenizer) -> Corruption:
    return build_corruption(
        recipe.corruption,
        mask_id=tokenizer.vocab_size,
        unit_lengths=lambda level: record["unit_lengths"][level],
        token_classes=lambda _: record["token_classes"],
    )


def load_weights(model: DiffusionModel | Autoregressive, checkpoint: Checkpoint, part: str) -> None:
    """Copies `model` or `ema` of a checkpoint into a model; supervision only into one that has it."""
    check_same_trunk(model, checkpoint.state.get("trunk_sha256"), what="the checkpoint of the run")
    try:
        tensors = checkpoint.tensors[part]
        tensors = tensors if model.supervision is not None else without_supervision(tensors)
        frozen = frozen_names(model)  # which no checkpoint holds
        kept = {name: value for name, value in model.state_dict().items() if name in frozen}
        model.load_state_dict({**kept, **tensors})
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"the checkpoint does not fit its recipe ({reason}); train again") from error
