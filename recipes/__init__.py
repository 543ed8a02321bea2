"""Recipes: YAML files that make a run. `path("quickstart")` finds an installed one."""

from pathlib import Path


def path(name: str) -> Path:
    """Path of an installed recipe.

    Args:
        name: Recipe name, with or without `.yaml`.

    Returns:
        Its path (it may not exist).
    """
    file = Path(__file__).parent / name
    return file if file.suffix == ".yaml" else file.with_suffix(".yaml")
