"""Running out of memory says which setting to halve; other errors stay what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hdiff.config import Recipe
from hdiff.errors import RecipeError
from hdiff.recipe import load_recipe
from hdiff.training.out_of_memory import memory_errors

CHECKOUT = Path(__file__).resolve().parents[1]


def recipe(*overrides: str) -> Recipe:
    return load_recipe(CHECKOUT / "recipes" / "quickstart.yaml", overrides)


def test_halved_batch_with_twice_the_accumulation_is_advised() -> None:
    """A real allocation that no machine has room for."""
    chosen = recipe("train.batch_size=16", "train.gradient_accumulation=2")
    with (
        pytest.raises(RecipeError, match=r"train.batch_size=8 train.gradient_accumulation=4 resume=auto"),
        memory_errors(chosen),
    ):
        torch.empty(1 << 55)


def test_shorter_rows_are_advised_where_a_batch_is_one_row() -> None:
    with (
        pytest.raises(RecipeError, match=r"output=DIR data.sequence_length=32"),
        memory_errors(recipe("train.batch_size=1", "data.sequence_length=64")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_fewer_rows_at_a_time_are_advised_where_held_out_text_is_scored() -> None:
    with (
        pytest.raises(RecipeError, match=r"evaluation.batch_size=16"),
        memory_errors(recipe()),
        memory_errors(recipe(), evaluating=True),
    ):
        torch.empty(1 << 55)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), memory_errors(recipe()):
        torch.zeros(2, 3) @ torch.zeros(2, 3)
