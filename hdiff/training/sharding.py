"""Sharded weights (FSDP2): parts of tensors for a process, whole ones for checkpoints.

A process holds a part of every parameter, of its optimiser state and of its average. Checkpoints hold whole
tensors, so any number of processes, sharded or not, resumes from them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from hdiff.config.train import TrainConfig
from hdiff.errors import RecipeError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import FullyShardedDataParallelPlugin


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
    """Whole tensors of a checkpoint as `model.load_state_dict` takes them."""
    parameters = dict(model.named_parameters())
    return {
        name: shard(value, parameters[name]) if name in parameters else value
        for name, value in tensors.items()
    }


def whole(tensors: Mapping[str, Tensor], *, keep: bool = True) -> dict[str, Tensor]:
    """Sharded tensors as whole ones on the CPU; every process must call it."""
    kept = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if keep:
            kept[name] = full
    return kept


def sharding_plugin(config: TrainConfig) -> FullyShardedDataParallelPlugin | None:
    """FSDP2 if the launcher's environment asks for it; None without sharding."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return None
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise RecipeError(
            "FSDP of version 1 is asked for, weights are sharded by version 2; add", "--fsdp_version 2"
        )
    for name in ("OFFLOAD_PARAMS", "ACTIVATION_CHECKPOINTING"):
        if os.environ.get(f"FSDP_{name}", "false").lower() in ("true", "1"):
            raise RecipeError(f"FSDP_{name} is not supported; leave out --fsdp_{name.lower()}")
    if config.mixed_precision == "fp16":
        raise RecipeError("fp16 with FSDP is not supported; use", "train.mixed_precision=bf16")
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
