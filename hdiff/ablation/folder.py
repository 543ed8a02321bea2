"""find_ablation: the ablation that a YAML file describes, or that a folder of runs was made by."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hdiff.ablation.results import check_folders
from hdiff.ablation.specification import SAFE_NAME, Ablation, Run, load_ablation
from hdiff.config import Recipe
from hdiff.errors import CheckpointError, DataError
from hdiff.recipe import load_recipe

SOURCE_FILE = "source.json"
"""Beside the tables: which YAML file they were made from, and what the command line said beside it."""

UNKNOWN_FILE = Path("ABLATION.yaml")
"""Stands for the file of a folder that does not say which one it was."""


def find_ablation(path: Path) -> Ablation:
    """Finds an ablation that has run, by its YAML file or the folder with `ablation.json`."""
    if path.suffix in (".yaml", ".yml") and path.is_file():
        ablation = load_ablation(path)
        check_folders(ablation)
        if not ablation.output.is_dir():
            raise DataError(
                f"no runs in {ablation.output}; train them:", f"hdiff ablate {shlex.quote(str(path))}"
            )
        return ablation
    if not path.is_dir():
        raise DataError(
            f"nothing to report at '{path}'; give a run folder, or the folder or YAML file of an ablation, "
            f"which are made by",
            f"hdiff train RECIPE output={shlex.quote(str(path))}",
            "hdiff ablate ABLATION.yaml",
        )
    content = _content(path)
    if content is None:
        raise DataError(
            f"'{path}' holds neither run.json, so it is no run folder, nor the ablation.json of an ablation; "
            f"give a folder that hdiff train wrote, or the YAML file of an ablation"
        )
    try:
        return _of_folder(path, content)
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"'{path / 'ablation.json'}' is damaged ({error}); give the YAML file of the ablation"
        ) from error


def _content(folder: Path) -> dict[str, Any] | None:
    """ablation.json of a whole ablation; None if it is missing or that of a single run."""
    file = folder / "ablation.json"
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"'{file}' is damaged ({error}); give the YAML file of the ablation") from error
    return content if isinstance(content, dict) and "variants" in content else None


def _of_folder(folder: Path, content: Mapping[str, Any]) -> Ablation:
    """The ablation as its folder tells it: the folder may have been moved, and its YAML file may be gone."""
    seeds, baseline = tuple(content["seeds"]), str(content["baseline"])
    runs = [_run(folder, variant, seed) for seed in seeds for variant in content["variants"]]
    pairs = {(each["variant"], each["reference"]) for each in content["differences"]}
    file, overrides = _source(folder)
    return Ablation(
        name=str(content["name"]),
        file=file,
        output=folder,
        seeds=seeds,
        baseline=baseline,
        variants={run.variant: run.recipe for run in runs if run.seed == seeds[0]},
        patches={},
        control_of={variant: other for variant, other in sorted(pairs) if other != baseline},
        runs=tuple(runs),
        judge=_run(folder, "judge", seeds[0]) if _recipe_file(folder, f"judge-{seeds[0]}") else None,
        overrides=overrides,
    )


def _run(folder: Path, variant: str, seed: int) -> Run:
    name = f"{variant}-{seed}"
    if not SAFE_NAME.fullmatch(name):
        raise CheckpointError(
            f"'{folder / 'ablation.json'}' names a run {name[:80]!r}, which is no folder of it; give the "
            f"YAML file of the ablation"
        )
    file = _recipe_file(folder, name)
    if file is None:
        raise DataError(
            f"'{folder}' has no recipe of its run {name}; give the YAML file of the ablation instead of its "
            f"folder"
        )
    recipe: Recipe = load_recipe(file)
    return Run(variant, seed, recipe.model_copy(update={"output": str(folder / name)}))


def _recipe_file(folder: Path, name: str) -> Path | None:
    """The recipe of a run: as it was trained, else as it was about to be."""
    candidates = (folder / name / "recipe.yaml", folder / "recipes" / f"{name}.yaml")
    return next((file for file in candidates if file.is_file()), None)


def _source(folder: Path) -> tuple[Path, tuple[str, ...]]:
    try:
        content = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
        return Path(content["file"]), tuple(map(str, content.get("overrides", ())))
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN_FILE, ()
