"""memory_errors: an error for too little memory that says which setting to halve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hdiff.config import Recipe
from hdiff.errors import CPU_ALLOCATOR, RecipeError


@contextmanager
def memory_errors(recipe: Recipe, *, evaluating: bool = False) -> Iterator[None]:
    """Turns running out of memory while training into advice.

    Args:
        recipe: The recipe that is trained.
        evaluating: Whether held-out rows are scored, not an update made.

    Raises:
        RecipeError: If memory ran out: it names the setting to halve.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and CPU_ALLOCATOR not in str(error):
            raise
        halve = _halve_evaluation if evaluating else _halve
        raise RecipeError(
            f"out of memory while training; halve {halve(recipe)}; the last checkpoint is intact"
        ) from error


def _halve_evaluation(recipe: Recipe) -> str:
    rows = recipe.evaluation.batch_size
    if rows == 1:
        return f"data.sequence_length (now {recipe.data.sequence_length}) or model.width and model.depth"
    return f"evaluation.batch_size (now {rows}): evaluation.batch_size={rows // 2} resume=auto"


def _halve(recipe: Recipe) -> str:
    train, length = recipe.train, recipe.data.sequence_length
    if train.batch_size == 1:
        return f"data.sequence_length (now {length}) or model.width and model.depth"
    half = train.batch_size // 2
    if train.batch_size % 2:
        return f"train.batch_size (now {train.batch_size}): train.batch_size={half}"
    return (
        f"train.batch_size (now {train.batch_size}): train.batch_size={half} "
        f"train.gradient_accumulation={2 * train.gradient_accumulation} keeps the rows per update"
    )
