"""Processes of a run: Accelerate as recipe and launcher ask for it, and what is said if one falls silent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from hdiff.config.train import TrainConfig
from hdiff.errors import RecipeError, UserError
from hdiff.training.launcher import check_launcher, launch_errors
from hdiff.training.sharding import sharding_plugin

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Accelerate as the recipe and the launcher's environment ask for it."""
    from accelerate import Accelerator, PartialState
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs

    check_launcher(config)
    plugin = sharding_plugin(config)
    is_cpu = not torch.accelerator.is_available() or os.environ.get("ACCELERATE_USE_CPU") == "true"
    if config.mixed_precision == "fp16" and is_cpu:
        raise RecipeError(
            "train.mixed_precision is fp16, which Accelerate ignores on CPUs; use",
            "train.mixed_precision=no",
        )
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    known = AcceleratorState._shared_state.get("_mixed_precision", config.mixed_precision)
    if world_size == 1 and known != config.mixed_precision:  # a training before this one, as in a notebook
        AcceleratorState._reset_state()
    with launch_errors():
        accelerator = Accelerator(
            cpu=is_cpu and world_size > 1,  # else every process without a GPU would train for itself
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.gradient_accumulation,
            fsdp_plugin=plugin,
            kwargs_handlers=[
                InitProcessGroupKwargs(timeout=timedelta(seconds=config.process_timeout)),
                DistributedDataParallelKwargs(gradient_as_bucket_view=True),  # gradients are not kept twice
            ],
        )
    if accelerator.num_processes != world_size:
        raise RecipeError(
            f"the launcher started {world_size} processes (WORLD_SIZE) and Accelerate connected "
            f"{accelerator.num_processes}; start with:",
            "accelerate launch -m hdiff train RECIPE.yaml",
        )
    if plugin is not None and accelerator.distributed_type == DistributedType.MULTI_CPU:
        # On CPUs Accelerate ignores the plugin, although its code for FSDP2 works there. These are the three
        # values that its AcceleratorState sets on GPUs.
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
    return accelerator


@contextmanager
def process_errors(timeout: int) -> Iterator[None]:
    """Turns the silence or death of another process into an error that says so."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.distributed.DistError) or "gloo" in text:
            reason = "did not answer" if "imed out" in text or "imeout" in text else "is gone"
            raise UserError(
                f"another process {reason} (train.process_timeout is {timeout} seconds); see its messages "
                f"and end what is left of it; the last checkpoint is intact, start again with",
                "resume=auto",
            ) from error
        raise
