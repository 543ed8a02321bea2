"""first_weights: training that starts from the weights of a model, the recipe's `init`."""

from __future__ import annotations

import shlex
from pathlib import Path

from hdiff.config import Recipe
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError, RecipeError
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive
from hdiff.runs.folder import RunFolder
from hdiff.sharing.shared_run import load_model
from hdiff.supervision import without_supervision


def first_model(recipe: Recipe, tokenizer: Tokenizer) -> RunFolder | None:
    """The model that a training starts from; None if the recipe names none or the run resumes."""
    if recipe.init is None or RunFolder.has_checkpoint(recipe.output):
        return None
    first = load_model(Path(recipe.init))
    if first.tokenizer.sha256 != tokenizer.sha256:
        raise DataError(
            f"init={recipe.init} has another tokenizer than {recipe.data.path}; prepare the text with the "
            f"model's:",
            f"hdiff prepare SOURCE --out DATA --tokenizer {shlex.quote(recipe.init)}",
        )
    return first


def start_from(first: RunFolder, model: DiffusionModel | Autoregressive, recipe: Recipe) -> None:
    """Copies weights into a model that is to be trained; those of its supervision stay as they are."""
    theirs, ours = first.model.state_dict(), without_supervision(model.state_dict())
    for name in sorted({*theirs, *ours}):
        shapes = [tuple(part[name].shape) if name in part else None for part in (theirs, ours)]
        if shapes[0] != shapes[1]:
            sections = ", ".join(
                f"{section}: {getattr(first.recipe, section)}"
                for section in ("model", "head", "corruption")
                if getattr(first.recipe, section) != getattr(recipe, section)
            )
            raise RecipeError(
                f"init={recipe.init} has {name} of shape {shapes[0]}, the recipe builds {shapes[1]}; give "
                f"the recipe the sections of the model ({sections or 'the same head classes'})"
            )
    model.load_state_dict(theirs, strict=False)
