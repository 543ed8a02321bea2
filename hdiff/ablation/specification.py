"""Ablation: a base recipe, variants as dotted patches, and seeds, resolved to recipes of runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hdiff.config import Recipe
from hdiff.config.section import Section
from hdiff.errors import RecipeError, nearest
from hdiff.recipe import DOTTED_KEY, differences, installed, patched_recipe, read_override, validated
from hdiff.strict_yaml import read_yaml
from hdiff.value_types import Folder, Seed, Text, plain_values

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
OWN_KEYS = ("name", "output", "seed", "resume")
"""Keys that the ablation gives each run; a patch may not set them."""
FILE_KEYS = ("name", "output", "seeds")
"""Keys of the file itself that a command line may set."""
JUDGE_SECTIONS = ("data", "train", "evaluation")
"""Sections of `set` that a judge has too; the others describe the models that are compared."""

Patches = Annotated[dict[str, Any], BeforeValidator(plain_values)]


class JudgeFile(Section):
    """The autoregressive model that scores samples: a recipe beside the file, and patches (`set`) of it."""

    recipe: Folder
    patches: Patches = Field(default_factory=dict, alias="set")


class AblationFile(Section):
    """What an ablation file says.

    Attributes:
        name: Name of the ablation.
        base: Recipe that all variants start from, relative to the file.
        output: Folder of the runs and tables.
        seeds: Every variant is trained with each of them.
        patches: Written `set`: dotted patches of every run; sections the judge has reach it too.
        judge: Scores samples; None leaves judged figures out.
        baseline: Variant that differences are taken to.
        variants: Name -> dotted patches, applied after `set`.
        control_of: Variant -> another variant that it is compared with as well.
    """

    name: Text
    base: Folder
    output: Folder
    seeds: tuple[Seed, ...]
    patches: Patches = Field(default_factory=dict, alias="set")
    judge: JudgeFile | None = None
    baseline: Text
    variants: dict[str, Patches]
    control_of: dict[str, Text] = Field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training of an ablation: variant (`judge` for the judge), seed, and recipe with `resume: auto`."""

    variant: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """`VARIANT-SEED`, the name of its folder."""
        return f"{self.variant}-{self.seed}"

    @property
    def path(self) -> Path:
        """Its run folder."""
        return Path(self.recipe.output)


@dataclass(frozen=True)
class Ablation:
    """An ablation, ready to run.

    Attributes:
        name: Its name.
        file: Where it was read from.
        output: Folder of the runs and tables.
        seeds: Seeds of every variant.
        baseline: Variant that differences are taken to.
        variants: Name -> resolved recipe with the first seed.
        patches: Name -> dotted patches as written.
        control_of: Variant -> its control.
        runs: All runs but the judge, seed by seed.
        judge: The judge's run, with the first seed.
        overrides: What the command line said beside the file.
    """

    name: str
    file: Path
    output: Path
    seeds: tuple[int, ...]
    baseline: str
    variants: Mapping[str, Recipe]
    patches: Mapping[str, Patches]
    control_of: Mapping[str, str]
    runs: tuple[Run, ...]
    judge: Run | None
    overrides: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command line that goes on with it."""
        return shlex.join(["hdiff", "ablate", str(self.file), *self.overrides])

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """The judge, if there is one, and all runs."""
        return (*(() if self.judge is None else (self.judge,)), *self.runs)

    def changes(self, variant: str) -> dict[str, Any]:
        """Dotted keys in which a variant differs from the baseline, with its values (None: not there)."""
        chosen, baseline = self.variants[variant], self.variants[self.baseline]
        keys = [key for key in differences(baseline, chosen) if key not in OWN_KEYS]
        values = chosen.model_dump(mode="json")
        return {key: _value_at(values, key) for key in keys}


def load_ablation(path: str | Path, overrides: Iterable[str] = ()) -> Ablation:
    """Reads an ablation file and resolves every run of it.

    Args:
        path: YAML file.
        overrides: `key=value` texts: `name`, `output` and `seeds` of the file, every other key as if it
            stood last in `set`; the value is YAML.

    Returns:
        The ablation; nothing is written.

    Raises:
        RecipeError: If the file, its base or its judge is missing or malformed, a key is unknown, two
            variants are the same, or a name cannot be one.
    """
    path, overrides = installed(Path(path), "ablation"), tuple(overrides)
    spec = _read(path, overrides)
    _check_names(spec, path)
    base = path.parent / spec.base
    _resolve(base, {}, where=f"base of {path}")
    everywhere = f"set of {path}"
    _resolve(base, spec.patches, where=everywhere)
    recipes: dict[str, Recipe] = {}
    for variant, patches in spec.variants.items():
        recipe = _resolve(base, spec.patches, patches, where=f"variant '{variant}' of {path}")
        for other, earlier in recipes.items():
            if earlier == recipe:
                raise RecipeError(
                    f"{path}: variants '{other}' and '{variant}' resolve to the same recipe; change a key in "
                    f"one of them or remove it"
                )
        recipes[variant] = recipe
    output = Path(spec.output)
    runs = [
        _run(recipe, variant, seed, spec.name, output)
        for seed in spec.seeds
        for variant, recipe in recipes.items()
    ]
    first = spec.seeds[0]
    return Ablation(
        name=spec.name,
        file=path,
        output=output,
        seeds=spec.seeds,
        baseline=spec.baseline,
        variants={run.variant: run.recipe for run in runs if run.seed == first},
        patches=spec.variants,
        control_of=spec.control_of,
        runs=tuple(runs),
        judge=None if spec.judge is None else _judge(spec.judge, spec, path),
        overrides=overrides,
    )


def _read(path: Path, overrides: Iterable[str]) -> AblationFile:
    values = read_yaml(path, what="ablation", remedy="those in recipes/ablations/")
    if "variants" not in values and {"data", "model", "train"} & values.keys():
        raise RecipeError(
            f"{path} is a recipe, not an ablation; run:", f"hdiff train {shlex.quote(str(path))}"
        )
    origins = {}
    for override in overrides:
        key, value = read_override(override)
        if key in FILE_KEYS:
            values[key] = value
            origins[key] = f"override '{override}'"
        else:
            # Last, so that a key inside a section which `set` replaces as a whole is still the one given.
            patches = values.get("set") or {}
            if isinstance(patches, dict):  # else the check below says what is wrong with it
                values["set"] = {**{k: v for k, v in patches.items() if k != key}, key: value}
    return validated(AblationFile, values, where=str(path), whole="the ablation", origins=origins)


def _check_names(spec: AblationFile, path: Path) -> None:
    if not spec.seeds:
        raise RecipeError(f"{path}: seeds is empty; give at least one, three for an interval: [0, 1, 2]")
    if len(set(spec.seeds)) < len(spec.seeds):
        raise RecipeError(f"{path}: seeds are {list(spec.seeds)}; give each once")
    for name in spec.variants:
        if not SAFE_NAME.fullmatch(name):
            raise RecipeError(
                f"{path}: variant '{name}' names a folder; use letters, digits, '_', '-' and '.', and begin "
                f"with a letter or a digit"
            )
    folded = [name.casefold() for name in spec.variants]
    if "judge" in folded or len(set(folded)) < len(folded):
        raise RecipeError(
            f"{path}: variants are {list(spec.variants)}; names must differ in more than case, and "
            f"'judge' is taken"
        )
    compared = [("baseline", spec.baseline), *(("control_of", v) for v in spec.control_of)]
    compared += [(f"control_of.{variant}", control) for variant, control in spec.control_of.items()]
    for key, name in compared:
        if name not in spec.variants:
            hint = nearest(name, spec.variants)
            raise RecipeError(
                f"{path}: {key} is '{name}', which is no variant{hint} (known: {', '.join(spec.variants)})"
            )
    for variant, control in spec.control_of.items():
        if variant == control:
            raise RecipeError(f"{path}: '{variant}' is its own control; name another variant")


def _resolve(base: Path, *patches: Patches, where: str) -> Recipe:
    """The base with patches applied one after another."""
    assigned: list[tuple[str, Any, str]] = []
    for key, value in ((key, value) for changes in patches for key, value in changes.items()):
        if key in OWN_KEYS or not DOTTED_KEY.fullmatch(key):
            reason = "the ablation sets it" if key in OWN_KEYS else "write a dotted key such as train.steps"
            raise RecipeError(f"{where} patches '{key}'; {reason}")
        assigned.append((key, value, f"patch '{key}'"))
    try:
        return patched_recipe(base, assigned)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error.args[0]}", *error.remedies) from error


def _run(recipe: Recipe, variant: str, seed: int, ablation: str, output: Path) -> Run:
    name = f"{variant}-{seed}"
    own = {"name": f"{ablation}/{name}", "output": str(output / name), "seed": seed, "resume": "auto"}
    return Run(variant, seed, recipe.model_copy(update=own))


def _judge(judge: JudgeFile, spec: AblationFile, path: Path) -> Run:
    shared = {key: value for key, value in spec.patches.items() if key.split(".")[0] in JUDGE_SECTIONS}
    where = f"judge of {path}"
    recipe = _resolve(path.parent / judge.recipe, shared, judge.patches, where=where)
    if recipe.model.kind != "autoregressive":
        raise RecipeError(
            f"{where} has model.kind '{recipe.model.kind}'; a judge is autoregressive, as recipes/judge.yaml"
        )
    return _run(recipe, "judge", spec.seeds[0], spec.name, Path(spec.output))


def _value_at(values: Any, dotted: str) -> Any:
    """The value at a dotted key, of which any part may itself hold no dots; None if it is not there."""
    for part in dotted.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
