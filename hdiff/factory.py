"""Factory: the model and the corruption a recipe describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hdiff.components import build, component_class
from hdiff.config import Recipe
from hdiff.corruption import CORRUPTIONS, Corruption
from hdiff.corruption.base import TokenClasses
from hdiff.data.token_classes.of_head import head_classes_spec
from hdiff.errors import RecipeError
from hdiff.heads import HEADS, Head, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.autoregressive import Autoregressive
from hdiff.models.block_denoiser import BlockDenoiser
from hdiff.models.denoiser import Denoiser
from hdiff.models.gaussian_denoiser import GaussianDenoiser
from hdiff.models.length_head import LengthHead
from hdiff.models.planner import Planner
from hdiff.models.pretrained_start import start_from
from hdiff.models.trainable import choose_trainable
from hdiff.models.uniform_denoiser import UniformDenoiser
from hdiff.schedules import SCHEDULES
from hdiff.seeds import derive_seed
from hdiff.supervision import SUPERVISIONS, LabelSupervision, Supervision, without_supervision

DiffusionModel = Denoiser | BlockDenoiser | UniformDenoiser | GaussianDenoiser

NETWORKS: dict[str, type[DiffusionModel]] = {
    "denoiser": Denoiser,
    "block_denoiser": BlockDenoiser,
    "uniform_denoiser": UniformDenoiser,
    "gaussian_denoiser": GaussianDenoiser,
}
"""Networks that a corruption may name (`Corruption.network`)."""


def build_model(
    recipe: Recipe,
    vocab_size: int,
    corruption: Corruption | None = None,
    *,
    trunk_config: dict[str, Any] | None = None,
    head_classes: Sequence[Sequence[int]] = (),
) -> DiffusionModel | Autoregressive:
    """A model with weights drawn from the recipe's seed.

    Args:
        recipe: The recipe.
        vocab_size: Vocabulary V of the tokenizer.
        corruption: Says which types and speeds the model must predict; None: none.
        trunk_config: `config_values` of a pretrained trunk whose weights are about to be
            loaded; None reads the checkpoint that `model.pretrained` names, if any.
        head_classes: Class of each token id by which the head factors its output, one table per level, if the
            recipe's head has `classes`.

    Returns:
        The model, on the CPU.

    Raises:
        RecipeError: If head and model do not fit.
    """
    config = recipe.model
    if not recipe.data.cross_documents and (
        config.kind != "denoiser"
        or config.pretrained is not None
        or not (corruption is None or corruption.keeps_documents_apart)
    ):
        raise RecipeError(
            "data.cross_documents: false is for denoisers of masked units with hdiff's own trunk; model "
            f"'{config.kind if config.pretrained is None else config.pretrained}' with corruption "
            f"'{recipe.corruption['kind']}' reads whole rows; use",
            "data.cross_documents=true",
        )
    _check_attention(recipe, corruption)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        spec = dict(recipe.head)
        if head_classes_spec(spec) is not None:
            spec["classes"] = head_classes
        _check_sees_row(recipe, corruption)
        head: Head = build(spec, HEADS, section="head", vocab_size=vocab_size, width=config.width)
        if config.pretrained is not None or trunk_config is not None:
            trunk = start_from(recipe, head, corruption, trunk_config)
            model = _with_length_head(recipe, _denoiser(recipe, trunk, head, corruption))
            return choose_trainable(model, recipe)
        if recipe.train.trainable != "all":
            raise RecipeError(
                f"train.trainable is '{recipe.train.trainable}' and no checkpoint is given "
                "(model.pretrained), so that the trunk would stay as it was drawn; use",
                "train.trainable=all",
            )
        trunk = Trunk(
            config.width,
            depth=config.depth,
            num_heads=config.num_heads,
            dropout=config.dropout,
            causal=config.kind == "autoregressive",
            in_order=config.attention == "any_order",
        )
        if recipe.train.gradient_checkpointing:
            trunk.checkpoint_gradients()
        if config.kind == "denoiser":
            return _with_length_head(recipe, _denoiser(recipe, trunk, head, corruption))
        if recipe.length_head is not None:
            raise RecipeError(
                "model 'autoregressive' draws the end of a text as a token and has no length head; use",
                "length_head=null",
            )
        if recipe.planner is not None:
            raise RecipeError("model 'autoregressive' has no planner; use", "planner=null")
        if not isinstance(head, ProductHead):
            raise RecipeError(
                f"model 'autoregressive' with head '{recipe.head['kind']}'; it predicts one token at a time, "
                "so use",
                "'head={kind: product}'",
            )
        return Autoregressive(trunk, head)


def _check_attention(recipe: Recipe, corruption: Corruption | None) -> None:
    """Refuses attention in the order of reveal where there is no such order, or every token sees all."""
    config = recipe.model
    if config.attention == "bidirectional":
        return
    if config.kind == "autoregressive":
        what = "model 'autoregressive', which sees what stands on the left"
    elif config.pretrained is not None:
        what = f"model.pretrained '{config.pretrained}', whose every token sees all others"
    elif corruption is not None and not corruption.draws_order:
        what = (
            f"corruption '{recipe.corruption['kind']}', whose states say no order of reveal (masked units do)"
        )
    else:
        return
    raise RecipeError(
        f"model.attention is {config.attention} with {what}; use", "model.attention=bidirectional"
    )


def _check_sees_row(recipe: Recipe, corruption: Corruption | None) -> None:
    """Refuses a head that sees the row where later blocks or other documents are in it."""
    for section, head in (("head", recipe.head), ("type_head", recipe.type_head)):
        if not head.get("sees_row"):
            continue
        if corruption is not None and not corruption.sees_whole_rows:
            raise RecipeError(
                f"{section}.sees_row with block_masking: the row holds later blocks; leave it out"
            )
        if not recipe.data.cross_documents:
            raise RecipeError(
                f"{section}.sees_row with data.cross_documents: false, where the row holds other documents; "
                "leave one of them out"
            )


def _denoiser(recipe: Recipe, trunk: Trunk, head: Head, corruption: Corruption | None) -> DiffusionModel:
    if corruption is None:
        return Denoiser(trunk, head, planner=_planner(recipe))
    kind = recipe.corruption["kind"]
    if recipe.planner is not None and not corruption.can_be_planned:
        raise RecipeError(f"corruption '{kind}' asks no planner what is filled next; use", "planner=null")
    if not isinstance(head, ProductHead) and not corruption.takes_joint_heads:
        raise RecipeError(
            f"corruption '{kind}' with head '{recipe.head['kind']}'; it changes or weighs tokens one by one, "
            "so use",
            "'head={kind: product}'",
        )
    options = corruption.network_options(head.vocab_size)
    if corruption.network == "denoiser":
        if recipe.type_head.get("classes") is not None:
            raise RecipeError(
                "type_head has classes, which are of tokens and not of types; move them to the head"
            )
        options["type_heads"] = [
            build(recipe.type_head, HEADS, section="type_head", vocab_size=size, width=recipe.model.width)
            for size in corruption.type_sizes
        ]
        options["planner"] = _planner(recipe)
    return build_network(corruption.network, trunk, head, options)


def build_network(kind: str, trunk: Trunk, head: Head, options: Mapping[str, Any]) -> DiffusionModel:
    """A network of a family."""
    return NETWORKS[kind](trunk, head, **options)


def _with_length_head(recipe: Recipe, model: DiffusionModel) -> DiffusionModel:
    """The model with the length head that the recipe asks for; its weights have a seed of their own."""
    if recipe.length_head is None:
        return model
    if not isinstance(model, Denoiser | BlockDenoiser):
        raise RecipeError(
            f"corruption '{recipe.corruption['kind']}' hides no tokens, so none can stand for an answer of "
            f"unknown length; its answers end with end-of-text tokens, use",
            "length_head=null",
        )
    given = {"width": recipe.model.width, "longest": recipe.data.sequence_length, **recipe.length_head}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "length_head"))
        head: LengthHead = build(
            {"kind": "length_head", **given}, {"length_head": LengthHead}, section="length_head"
        )
    model.length_head = head
    return model


def _planner(recipe: Recipe) -> Planner | None:
    if recipe.planner is None:
        return None
    spec = {"kind": "planner", **recipe.planner}
    planner: Planner = build(spec, {"planner": Planner}, section="planner", width=recipe.model.width)
    return planner


def build_supervision(recipe: Recipe, table: Callable[[str, int], Sequence[int]]) -> Supervision | None:
    """What the trunk also predicts while a recipe is trained; None where the recipe has none."""
    if recipe.supervision is None:
        return None
    spec = {"kind": "labels", **recipe.supervision}
    given: dict[str, Any] = {"width": recipe.model.width}
    if component_class(spec["kind"], SUPERVISIONS, section="supervision") is LabelSupervision:
        given["table"] = table
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "supervision"))
        supervision: Supervision = build(spec, SUPERVISIONS, section="supervision", **given)
    return supervision


def build_corruption(
    spec: Mapping[str, Any],
    *,
    mask_id: int,
    unit_lengths: Callable[[str], Sequence[float]],
    token_classes: TokenClasses | None = None,
) -> Corruption:
    """The corruption of a recipe.

    Args:
        spec: `{kind: name, ...}`; `schedule` may be a name or `{kind: name, ...}`.
        mask_id: Id of the hidden token.
        unit_lengths: Gives the distribution of unit lengths of a level in the training split; called
            only where the recipe says `lengths: corpus`.
        token_classes: Gives the class of each token id in the training split; called only for lexical
            `soft_masking`.

    Returns:
        The corruption.
    """
    given: dict[str, Any] = {"mask_id": mask_id}
    if (schedule := spec.get("schedule")) is not None:
        schedule = {"kind": schedule} if isinstance(schedule, str) else schedule
        given["schedule"] = build(schedule, SCHEDULES, section="corruption.schedule")
        spec = {key: value for key, value in spec.items() if key != "schedule"}
    corruption: Corruption = build(spec, CORRUPTIONS, section="corruption", **given)
    return corruption.with_statistics(unit_lengths=unit_lengths, token_classes=token_classes)


def required_levels(corruption: Corruption, model: nn.Module) -> tuple[str, ...]:
    """Levels of the data that training needs: those of the corruption, then that of a planner."""
    planner = getattr(model, "planner", None)
    levels = (*corruption.required_levels(), *(() if planner is None else (planner.level,)))
    return tuple(dict.fromkeys(levels))


def count_parameters(model: DiffusionModel | Autoregressive) -> dict[str, int]:
    """Parameters that are used after training: total, trunk, heads (without the token table), embedding."""
    head = model.head
    table = head.embedding.weight.numel()
    table += 0 if head.output_embedding is None else head.output_embedding.numel()
    used = without_supervision(dict(model.named_parameters()))
    every = sum(parameter.numel() for parameter in used.values())
    trunk = sum(parameter.numel() for parameter in model.trunk.parameters())
    return {"total": every, "trunk": trunk, "head": every - trunk - table, "embedding": table}
