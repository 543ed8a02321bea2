"""Trainable: which weights of a model that started from a checkpoint learn; the rest stays as released.

Low-rank adapters come from peft, which is imported where they are made.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from hdiff.config import Recipe
from hdiff.config.train import LoraConfig
from hdiff.errors import CheckpointError, RecipeError
from hdiff.plugins import install_command

Model = TypeVar("Model", bound=nn.Module)

_LISTED = 12


def choose_trainable(model: Model, recipe: Recipe) -> Model:
    """Freezes what a recipe does not train, named by the model's `frozen`, and puts adapters in."""
    train, network = recipe.train, cast(Any, model)
    trunk, head = network.trunk, network.head
    if train.gradient_checkpointing:
        trunk.checkpoint_gradients()
    if train.trainable == "all":
        if recipe.model.weights != "float32":
            raise RecipeError(
                f"model.weights is {recipe.model.weights} and train.trainable all, but most updates are "
                "smaller than what that type can hold; use",
                "model.weights=float32",
                "train.trainable=lora",
            )
        return model
    trunk.requires_grad_(False)
    if train.trainable == "lora":
        add_adapters(trunk.encoder, train.lora)
    if train.trains_table:
        head.untie()
    elif head.output_embedding is not None:
        head.output_embedding.requires_grad_(False)
    head.embedding.weight.requires_grad_(False)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if len(frozen) == sum(1 for _ in model.parameters()):
        raise RecipeError(
            f"train.trainable is head, and a head '{recipe.head['kind']}' on a frozen table has no weights "
            "of its own, so that nothing is left to train; use",
            "train.trains_table=true",
            "train.trainable=lora",
        )
    network.frozen = frozenset(frozen)
    return model


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Everything of a model but what is frozen, by name: what checkpoints and adapters hold."""
    frozen = frozen_names(model)
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def frozen_names(model: nn.Module) -> frozenset[str]:
    """Weights of a model that stay as its checkpoint has them."""
    names: frozenset[str] = getattr(model, "frozen", frozenset())
    return names


def trunk_digest(model: nn.Module) -> str | None:
    """Digest of the checkpoint that the frozen weights of a model are; None if nothing is frozen."""
    if not frozen_names(model):
        return None
    digest: str = cast(Any, model).trunk.origin["sha256"]
    return digest


def check_same_trunk(model: nn.Module, expected: str | None, *, what: str) -> None:
    """Refuses weights that were trained on another frozen trunk."""
    digest = trunk_digest(model)
    if digest is not None and digest != expected:
        raise CheckpointError(
            f"{what} was trained on another trunk ({str(expected)[:12]}) than the checkpoint holds "
            f"({digest[:12]}); put the checkpoint that it began with in its place"
        )


def add_adapters(network: nn.Module, config: LoraConfig) -> None:
    """Puts low-rank adapters into a network, in place."""
    try:
        from peft import LoraConfig as PeftConfig
        from peft import inject_adapter_in_model
    except ImportError as error:
        raise RecipeError("train.trainable: lora needs peft; run:", install_command("lora")) from error
    places = linear_layers(network)
    chosen = [
        place
        for place in places
        if config.targets is None or any(place.endswith(f".{name}") for name in config.targets)
    ]
    for name in config.targets or ():
        if not any(place.endswith(f".{name}") for place in places):
            known = sorted({place.rpartition(".")[2] for place in places})
            raise RecipeError(
                f"train.lora.targets names '{name}', which no layer of the trunk is called; known are "
                f"{', '.join(known[:_LISTED])}"
            )
    values: dict[str, Any] = {"r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout}
    adapters = PeftConfig(**values, target_modules=chosen)
    inject_adapter_in_model(adapters, network)
    for name, parameter in network.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()  # whatever the frozen weights are kept in
            parameter.requires_grad_(True)


def linear_layers(network: nn.Module) -> list[str]:
    """Names of the matrices in the layers of a network, where adapters can be put."""
    from transformers.pytorch_utils import Conv1D

    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and any(part.isdigit() for part in name.split("."))
    ]


@torch.no_grad()
def merge_adapters(model: nn.Module) -> nn.Module:
    """Adds low-rank adapters to the matrices they change, in place; nothing is frozen afterwards."""
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    for name, layer in layers.items():
        merging: Any = layer
        merging.merge()
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, merging.get_base_layer())
    if frozen_names(model):
        cast(Any, model).frozen = frozenset()
    return model
