"""Optimiser, learning rate, weight averaging and processes of a run.

Weights may be sharded (FSDP2): a process then holds a part of every parameter, of its optimiser state and of
its average. Checkpoints hold whole tensors, so any number of processes, sharded or not, goes on from them.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from hdiff.config import TrainConfig
from hdiff.errors import RecipeError, UserError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import FullyShardedDataParallelPlugin

Model = TypeVar("Model", bound=nn.Module)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only (not on the token table, norms and biases)."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embedding" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embedding" in name]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    # On a CPU one fused pass takes a third of the time. Elsewhere its step counts would be on the device.
    is_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=is_cpu or None)


def rate_factor(step: int, config: TrainConfig) -> float:
    """Factor of the peak learning rate at an update: linear warmup, then cosine to 0.1 or constant.

    Args:
        step: Update, from 1.
        config: The recipe's `train` section.

    Returns:
        A factor in (0, 1].
    """
    if step <= config.warmup_steps:
        return step / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))


class Average(Generic[Model]):
    """Exponential moving average of a model's weights, with a warmup of the decay.

    The decay at update n is min(decay, (1 + n) / (10 + n)), so short runs are averaged too.

    Args:
        model: The model.
        decay: Decay of the average; 0 keeps none.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        self.model: Model = model
        if decay:
            self.model = copy.deepcopy(model)
            self.model.requires_grad_(False)

    @torch.no_grad()
    def shard(self, model: Model) -> None:
        """Keeps the parts of the averaged weights that this process has of the model's; else does nothing."""
        if not self.decay:
            return
        for name, parameter in model.named_parameters():
            if isinstance(parameter, DTensor):
                folder, _, leaf = name.rpartition(".")
                owner = self.model.get_submodule(folder)
                part = shard(getattr(owner, leaf).detach(), parameter)
                setattr(owner, leaf, nn.Parameter(part, requires_grad=False))

    def to(self, device: torch.device) -> None:
        """Moves the averaged weights."""
        if self.decay:
            self.model.to(device)

    @torch.no_grad()
    def update(self, model: Model, step: int) -> None:
        """Takes in the weights after update `step`."""
        if self.decay:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """State of the optimiser as plain tensors, named `parameter|slot`."""
    return {
        f"{name}|{slot}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts `optimizer_tensors` back.

    Args:
        optimizer: Optimiser over the model's parameters.
        model: The model.
        tensors: As saved.
    """
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, slot = key.partition("|")
        parameter = parameters[name]
        optimizer.state[parameter][slot] = value.cpu() if slot == "step" else shard(value, parameter)


def shard(tensor: Tensor, like: Tensor) -> Tensor:
    """The part of a whole tensor that this process has of a parameter; the tensor where nothing is sharded.

    Args:
        tensor: Whole tensor, the same on every process.
        like: Parameter of its shape.

    Returns:
        A tensor on the parameter's device, sharded if that is.
    """
    tensor = tensor.to(like.device)
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def shard_all(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Whole tensors of a checkpoint as `model.load_state_dict` takes them.

    Args:
        tensors: Whole tensors by name.
        model: The model, sharded or not.

    Returns:
        The same names; those the model lacks are left as they are.
    """
    parameters = dict(model.named_parameters())
    return {
        name: shard(value, parameters[name]) if name in parameters else value
        for name, value in tensors.items()
    }


def whole(tensors: Mapping[str, Tensor], *, keep: bool = True) -> dict[str, Tensor]:
    """Sharded tensors as whole ones on the CPU; every process must call it.

    Args:
        tensors: By name, sharded or not.
        keep: False takes part and keeps nothing, where another process writes the checkpoint.

    Returns:
        Whole tensors by name.
    """
    kept = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if keep:
            kept[name] = full
    return kept


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Accelerate as the recipe and the launcher's environment ask for it.

    Args:
        config: The recipe's `train` section.

    Returns:
        The accelerator; `shard_layers` must see the model before it is prepared.

    Raises:
        RecipeError: If it is asked for what this package cannot do.
    """
    from accelerate import Accelerator, PartialState
    from accelerate.utils import DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs

    plugin = _sharding_plugin(config)
    is_cpu = not torch.accelerator.is_available() or os.environ.get("ACCELERATE_USE_CPU") == "true"
    if config.mixed_precision == "fp16" and is_cpu:
        raise RecipeError(
            "train.mixed_precision is fp16, which Accelerate ignores on CPUs; use train.mixed_precision=no"
        )
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation,
        fsdp_plugin=plugin,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=timedelta(seconds=config.process_timeout)),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),  # gradients are not kept twice
        ],
    )
    if accelerator.gradient_accumulation_steps != config.gradient_accumulation:
        raise RecipeError(
            f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS is {accelerator.gradient_accumulation_steps}, "
            f"train.gradient_accumulation {config.gradient_accumulation}; set it in the recipe alone"
        )
    if plugin is not None and accelerator.distributed_type == DistributedType.MULTI_CPU:
        # On CPUs Accelerate ignores the plugin, although its code for FSDP2 works there. These are the three
        # values that its AcceleratorState sets on GPUs.
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
    return accelerator


def _sharding_plugin(config: TrainConfig) -> FullyShardedDataParallelPlugin | None:
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return None
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise RecipeError(
            "FSDP of version 1 is asked for, weights are sharded by version 2: --fsdp_version 2"
        )
    for name in ("OFFLOAD_PARAMS", "ACTIVATION_CHECKPOINTING"):
        if os.environ.get(f"FSDP_{name}", "false").lower() in ("true", "1"):
            raise RecipeError(f"FSDP_{name} is not supported; leave out --fsdp_{name.lower()}")
    if config.mixed_precision == "fp16":
        raise RecipeError("fp16 with FSDP is not supported; use train.mixed_precision=bf16")
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        cpu_ram_efficient_loading=False,  # every process draws or loads the same weights itself
        auto_wrap_policy="transformer_based_wrap",
        # Autocast alone decides what is computed in low precision, as without sharding: losses are the same.
        mixed_precision_policy=MixedPrecisionPolicy(),
    )


def shard_layers(accelerator: Accelerator, trunk: nn.Module) -> None:
    """Each layer of the trunk is to be gathered on its own, the rest of the model as one."""
    if accelerator.is_fsdp2:
        accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap = sorted(
            {
                type(layer).__name__
                for layers in trunk.modules()
                if isinstance(layers, nn.ModuleList)
                for layer in layers
            }
        )


@contextmanager
def process_errors(timeout: int) -> Iterator[None]:
    """Turns the silence or death of another process into an error that says so.

    Args:
        timeout: Seconds that a process waits for another.

    Raises:
        UserError: If another process did not answer in time, or is gone.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.distributed.DistError) or "gloo" in text:
            reason = "did not answer" if "imed out" in text or "imeout" in text else "is gone"
            raise UserError(
                f"another process {reason} (train.process_timeout is {timeout} seconds); see its messages, "
                f"end what is left of it and start again with resume=auto; the last checkpoint is intact"
            ) from error
        raise
