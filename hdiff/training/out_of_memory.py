"""memory_errors: an error for too little memory that says which setting to halve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hdiff.config import Recipe
from hdiff.errors import CPU_ALLOCATOR, RecipeError


@contextmanager
def memory_errors(recipe: Recipe, *, evaluating: bool = False) -> Iterator[None]:
    """Turns running out of memory while training into advice."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and CPU_ALLOCATOR not in str(error):
            raise
        halve = _halve_evaluation if evaluating else _halve
        raise RecipeError(
            "out of memory while training; the last checkpoint is intact; use half of what takes memory:",
            halve(recipe),
        ) from error


def _halve_evaluation(recipe: Recipe) -> str:
    rows = recipe.evaluation.batch_size
    if rows == 1:
        return f"output=DIR data.sequence_length={max(1, recipe.data.sequence_length // 2)}"
    return f"evaluation.batch_size={rows // 2} resume=auto"


def _halve(recipe: Recipe) -> str:
    train, length = recipe.train, recipe.data.sequence_length
    if train.batch_size == 1:
        return f"output=DIR data.sequence_length={max(1, length // 2)}"
    half = f"train.batch_size={train.batch_size // 2}"
    if train.batch_size % 2:  # other rows per update make another run
        return f"output=DIR {half}"
    return f"{half} train.gradient_accumulation={2 * train.gradient_accumulation} resume=auto"
