"""Places: where a run folder and its prepared data lie, on which no number of a run depends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hdiff.config import CorpusConfig, Recipe
from hdiff.errors import DataError
from hdiff.runs.record import read_run


def at_places_of(recipe: Recipe, other: Recipe) -> Recipe:
    """A recipe whose folders lie where another one has them."""
    mixture = recipe.data.mixture
    if len(mixture) == len(other.data.mixture):
        pairs = zip(mixture, other.data.mixture, strict=True)
        mixture = tuple(_at_place_of(member, theirs) for member, theirs in pairs)
    data = recipe.data.model_copy(update={"path": other.data.path, "mixture": mixture})
    return recipe.model_copy(update={"output": other.output, "data": data})


def without_places(facts: Any) -> Any:
    """What `run.json` says of the rows of a run, but for where the members of a mixture lie."""
    if not isinstance(facts, list):
        return facts
    return [
        {key: value for key, value in member.items() if key != "path"}
        if isinstance(member, Mapping)
        else member
        for member in facts
    ]


def was_trained_on(path: Path, recipe: Recipe) -> bool:
    """Whether a run was trained on the data in the prepared folders of a recipe; streams do not count."""
    from hdiff.data.prepared import PreparedData

    trained_on = read_run(path)["data"]
    members = [member.path for member in recipe.data.mixture if member.path is not None]
    recorded = [member["sha256"] for member in trained_on.get("mixture", ()) if "sha256" in member]
    try:
        fingerprints = [PreparedData.load(folder).fingerprint for folder in (recipe.data.path, *members)]
    except DataError:
        return False
    return fingerprints == [trained_on["sha256"], *recorded]


def _at_place_of(member: CorpusConfig, other: CorpusConfig) -> CorpusConfig:
    if member.path is None or other.path is None:
        return member
    return member.model_copy(update={"path": other.path})
