"""Optimiser, learning rate and weight averaging of a run."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from hdiff.config.train import TrainConfig
from hdiff.training.muon import MuonWithAdamW
from hdiff.training.sharding import shard

Model = TypeVar("Model", bound=nn.Module)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The recipe's optimiser; weights decay in matrices only, not in token table, norms and biases."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in trained if p.ndim == 2 and "embedding" not in name]
    others = [p for name, p in trained if p.ndim != 2 or "embedding" in name]
    # On a CPU one fused pass takes a third of the time. Elsewhere its step counts would be on the device.
    is_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    options: dict[str, Any] = {"lr": config.learning_rate, "betas": config.betas, "fused": is_cpu or None}
    if config.optimizer == "adamw":
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others},
        ]
        return torch.optim.AdamW(groups, weight_decay=0.0, **options)
    thin = [p for p in matrices if min(p.shape) == 1]
    wide = [p for p in matrices if min(p.shape) > 1]
    rest = [{"params": thin, "weight_decay": config.weight_decay}] if thin else []
    return MuonWithAdamW(wide, [*rest, {"params": others}], weight_decay=config.weight_decay, **options)


def rate_factor(step: int, config: TrainConfig) -> float:
    """Factor in (0, 1] of the peak rate: linear warmup, then cosine to 0.1, or constant, linear end."""
    if step <= config.warmup_steps:
        return step / config.warmup_steps
    if config.schedule == "constant":
        falling = min(config.decay_steps, config.steps)
        return min(1.0, (config.steps + 1 - step) / (falling + 1))
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
            shared = {
                id(p): p for p in model.parameters() if not p.requires_grad
            }  # never averaged, so kept once
            self.model = copy.deepcopy(model, shared)
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
            pairs = zip(self.model.parameters(), model.parameters(), strict=True)
            averaged, current = zip(*(pair for pair in pairs if pair[1].requires_grad), strict=True)
            torch._foreach_lerp_(averaged, current, 1 - decay)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """State of the optimiser as plain tensors, named `parameter|slot`."""
    return {
        f"{name}|{slot}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts what `optimizer_tensors` saved back."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, slot = key.partition("|")
        parameter = parameters[name]
        optimizer.state[parameter][slot] = value.cpu() if slot == "step" else shard(value, parameter)
