"""The classes of token ids by which the head of a recipe factors its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdiff.components import build
from hdiff.data.token_classes import CLASSES


def head_classes_spec(head: Mapping[str, Any]) -> dict[str, Any] | None:
    """Which classes, `{kind: name, ...}`, a head of a recipe factors its output by; None for none."""
    classes = head.get("classes")
    return {"kind": classes} if isinstance(classes, str) else classes


def stand_in_classes(head: Mapping[str, Any], vocab_size: int) -> list[list[int]]:
    """Classes of about the sizes that a head of a recipe asks for, where only shapes count: no text is read.

    Args:
        head: `{kind: name, ...}`.
        vocab_size: Vocabulary V.

    Returns:
        Class of each token id, one table per level, coarse to fine; empty for a head without classes.

    Raises:
        RecipeError: If the head's section `classes` is wrong.
    """
    spec = head_classes_spec(head)
    if spec is None:
        return []
    sizes = list(build(spec, CLASSES, section="head.classes").sizes or (20,))
    tables: list[list[int]] = []
    finer, of = vocab_size, list(range(vocab_size))
    for size in reversed(sizes):
        size = max(1, min(size, finer - 1))
        of = [number * size // finer for number in of]
        tables.insert(0, of)
        finer = size
    return tables
