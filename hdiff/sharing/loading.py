"""load_weights: the network of a shared model, built after its file is known to fit it. Torch only."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from hdiff.corruption import Corruption
from hdiff.errors import CheckpointError
from hdiff.factory import DiffusionModel, build_corruption, build_model
from hdiff.models.autoregressive import Autoregressive
from hdiff.models.trainable import check_same_trunk, frozen_names, trained_tensors
from hdiff.sharing import folder as files
from hdiff.sharing.description import ModelDescription


def corruption_of(description: ModelDescription) -> Corruption:
    """The corruption that a shared model was trained with, not yet of a model."""

    def unit_lengths(level: str) -> list[float]:
        if level not in description.unit_lengths:
            raise CheckpointError(
                f"config.json of '{description.name}' has no unit lengths of level '{level}'; export it again"
            )
        return description.unit_lengths[level]

    return build_corruption(
        description.corruption,
        mask_id=description.vocab_size,
        unit_lengths=unit_lengths,
        token_classes=lambda _: description.token_classes,
    )


class _WithoutDraws(TorchFunctionMode):
    """Skips random initial values: those of meta tensors are nothing, and drawing them loads a compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


_LAYER_KEYS = ("num_layers", "num_hidden_layers", "n_layers", "n_layer", "encoder_layers", "depth")


def _most_layers(description: ModelDescription) -> int:
    """Most layers that a part of the network is said to have, whatever its configuration calls them."""
    parts = (description.head, description.type_head, description.planner, description.trunk_config)
    given = [item for part in parts if part for item in part.items()]
    numbers = [value for key, value in given if key in _LAYER_KEYS and isinstance(value, int)]
    return max([description.model.depth, *numbers])


def load_weights(
    path: Path, description: ModelDescription, corruption: Corruption, base: str | Path | None = None
) -> DiffusionModel | Autoregressive:
    """Builds the network, once the file is known to hold exactly its tensors, and fills it."""
    shapes = files.tensor_shapes(path)
    if description.adapter is not None:
        return _load_adapter(path, shapes, description, corruption, base)
    layers = _most_layers(description)
    if layers > len(shapes):
        raise CheckpointError(
            f"{path} holds {len(shapes)} tensors, too few for the {layers} layers of config.json; download "
            "or export the model again"
        )
    given = (description.recipe, description.vocab_size, corruption)
    options: dict[str, Any] = {
        "trunk_config": description.trunk_config,
        "head_classes": description.head_classes,
    }
    with torch.device("meta"), _WithoutDraws():  # no memory is taken for sizes that no file backs
        empty = build_model(*given, **options)
    expected = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
    _check_shapes(path, shapes, expected)
    with torch.device("cpu"):  # whatever the caller's default is
        model = build_model(*given, **options)
    model.load_state_dict(load_file(path))
    return model


def _load_adapter(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    description: ModelDescription,
    corruption: Corruption,
    base: str | Path | None,
) -> DiffusionModel | Autoregressive:
    """Weights of a head, and adapters, on the trunk that they were trained on."""
    assert description.adapter is not None, "the caller has looked"
    if base is None:
        raise CheckpointError(
            f"{path.parent} holds an adapter of '{description.model.pretrained}' and not that trunk; make "
            "one model of the two, with the folder of the trunk:",
            f"hdiff export {shlex.quote(str(path.parent))} WHOLE --base TRUNK",
        )
    recipe = description.recipe
    trunk = recipe.model.model_copy(update={"pretrained": str(base)})
    with torch.device("cpu"):  # whatever the caller's default is
        model = build_model(
            recipe.model_copy(update={"model": trunk}),
            description.vocab_size,
            corruption,
            head_classes=description.head_classes,
        )
    check_same_trunk(model, description.adapter.trunk_sha256, what=f"the adapter {path.parent}")
    _check_shapes(path, shapes, {name: tuple(value.shape) for name, value in trained_tensors(model).items()})
    frozen = frozen_names(model)
    kept = {name: value for name, value in model.state_dict().items() if name in frozen}
    model.load_state_dict({**kept, **load_file(path)})
    return model


def _check_shapes(
    path: Path, shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    for name in sorted({*expected, *shapes}):
        if expected.get(name) != shapes.get(name):
            raise CheckpointError(
                f"{path} has {name} of shape {shapes.get(name)}, config.json asks for {expected.get(name)}; "
                "download or export the model again"
            )
