"""start_from: the trunk of a recipe that starts from weights of others, its tables copied into the head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from hdiff.config import Recipe
from hdiff.corruption import Corruption
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import RecipeError
from hdiff.heads.base import Head
from hdiff.layers.trunk import Trunk
from hdiff.models.pretrained_checkpoint import build_trunk, load_trunk
from hdiff.models.token_table import TokenTable


def start_from(
    recipe: Recipe, head: Head, corruption: Corruption | None, trunk_config: dict[str, Any] | None
) -> Trunk:
    """A trunk that starts from weights of others.

    Args:
        recipe: The recipe.
        head: Its head, whose tables start as the checkpoint's.
        corruption: Its corruption; None for none.
        trunk_config: `config_values` of a trunk whose weights are about to be loaded; None reads
            `model.pretrained`.

    Returns:
        The trunk.

    Raises:
        RecipeError: If the recipe does not fit the checkpoint.
    """
    config = recipe.model
    if config.kind != "denoiser" or not (corruption is None or corruption.sees_whole_rows):
        kind = recipe.corruption["kind"]
        what = "model 'autoregressive'" if config.kind != "denoiser" else f"corruption '{kind}'"
        raise RecipeError(
            f"{what} with model.pretrained, whose every token sees all others; use", "model.pretrained=null"
        )
    table: TokenTable | None = None
    if trunk_config is None:
        assert config.pretrained is not None, "the caller has one of the two"
        trunk, table = load_trunk(config.pretrained, dropout=config.dropout, shifted=config.shifted)
        table.check_tokenizer(config.pretrained, head.vocab_size, recipe.data.path)
    else:
        trunk = build_trunk(trunk_config, dropout=config.dropout)
    own = trunk.shape
    if own != {"width": config.width, "depth": config.depth, "num_heads": config.num_heads}:
        wanted = " ".join(f"model.{name}={value}" for name, value in own.items())
        raise RecipeError(
            f"model.pretrained '{config.pretrained}' has another shape than the recipe says (width "
            f"{config.width}, depth {config.depth}, num_heads {config.num_heads}); use",
            wanted,
        )
    trunk.check_length(recipe.data.sequence_length)
    if table is not None:
        table.copy_to(head)
    elif trunk.origin.get("untied"):
        head.untie()
    if trunk.origin.get("layout") and not trunk.origin.get("biased"):
        head.output_bias.requires_grad_(False)  # so that the model can be written as it was released
    trunk.keep_weights_in(config.weights)
    return cast(Trunk, trunk)  # it answers what denoisers ask of a trunk


def starting_point(origin: Mapping[str, Any], tokenizer: Tokenizer) -> str:
    """What a model starts as, in a sentence; `origin` is that of a `PretrainedTrunk`."""
    mask_id = origin.get("mask_id")
    if mask_id is None:
        return "the checkpoint has no mask token; the hidden token starts as the mean of all tokens"
    token = tokenizer.backend.id_to_token(mask_id) or "no token of the tokenizer"
    return f"the hidden token starts as the checkpoint's mask, {mask_id} ({token})"
