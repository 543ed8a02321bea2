"""The shipped ablations: their variants build and differ in nothing but what they patch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hdiff.ablation import load_ablation
from hdiff.ablation.checks import check_ablation
from hdiff.recipe import differences, load_recipe

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((CHECKOUT / "recipes" / "ablations").glob("*.yaml"))


def test_there_are_the_ablations_the_docs_name() -> None:
    names = {path.stem for path in SHIPPED}
    wanted = {"levels", "heads", "units", "salience_order", "typed_masks", "planner", "span_length"}
    assert names == {*wanted, "model_size", "families", "structure", "attention"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_variants_build_and_differ_in_nothing_but_their_patches(
    path: Path, prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pydoc").symlink_to(prepared_folder)
    monkeypatch.chdir(tmp_path)
    ablation = load_ablation(path)
    header = path.read_text(encoding="utf-8").split("\nname:")[0]
    assert all(line.startswith("# ") for line in header.splitlines())
    assert all(word in header for word in ("Shows:", "Before:", "Takes:", "Run: hdiff ablate recipes/abl"))
    check_ablation(ablation)
    values = load_recipe_values(path)
    plain = load_recipe(path.parent / values["base"])
    for variant, recipe in ablation.variants.items():
        patched = {*values.get("set", {}), *ablation.patches[variant], "name", "output", "resume", "seed"}
        for key in differences(plain, recipe):
            assert any(key == patch or key.startswith(f"{patch}.") for patch in patched), (variant, key)


def load_recipe_values(path: Path) -> dict[str, Any]:
    from hdiff.strict_yaml import parse_yaml

    values: dict[str, Any] = parse_yaml(path.read_text(encoding="utf-8"), where=str(path))
    return values


UNMATCHED = {
    "gaussian": "projects embeddings of its own",
    "uniform_state": "reads the time",
    "autoregressive": "predicts one token at a time",
    "spans_parsed": "has vectors of classes",
    "spans_distributional": "has vectors of classes",
    "spans_classes": "has vectors of classes",
}
"""Variants of a comparison of families that may differ in size or figures, and why."""


@pytest.mark.parametrize("name", ["ablations/families", "benchmarks/tournament", "benchmarks/data_limited"])
def test_families_are_compared_fairly(
    name: str, prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    for data in ("pydoc", "mixture"):
        (tmp_path / "data" / data).symlink_to(prepared_folder)
    monkeypatch.chdir(tmp_path)
    ablation = load_ablation(CHECKOUT / "recipes" / f"{name}.yaml")
    sizes = check_ablation(ablation).parameters
    inner = {variant: size["total"] - size["embedding"] for variant, size in sizes.items()}
    baseline = ablation.variants[ablation.baseline]
    for variant, recipe in ablation.variants.items():
        # The same tokens in the same order, the same rows, states and samples of the evaluation.
        assert recipe.train == baseline.train, variant
        assert recipe.data.model_copy(update={"salience_buckets": None}) == baseline.data, variant
        assert recipe.model.width == baseline.model.width, variant
        own, other = (r.evaluation.model_dump(exclude={"sampler"}) for r in (recipe, baseline))
        assert own == other, variant
        if variant not in UNMATCHED:
            assert abs(inner[variant] / inner[ablation.baseline] - 1) < 0.02, (variant, inner)


def test_levels_compares_models_of_equal_size(
    prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pydoc").symlink_to(prepared_folder)
    monkeypatch.chdir(tmp_path)
    sizes = check_ablation(load_ablation(CHECKOUT / "recipes/ablations/levels.yaml")).parameters
    inner = {variant: size["total"] - size["embedding"] for variant, size in sizes.items()}
    assert inner["all"] == inner["order_without_plan"] == inner["order_without_keywords"]
    assert inner["all"] == inner["output_random"]
    for variant in set(sizes) - {"judge"}:
        assert abs(inner[variant] / inner["tokens"] - 1) < 0.03, variant  # classes have vectors


def test_each_row_of_levels_takes_away_one_level() -> None:
    """Units, trunk, output or order: no row but the flat one mixes two of them."""
    variants = load_ablation(CHECKOUT / "recipes/ablations/levels.yaml").variants
    sections = {
        "units": "corruption",
        "trunk": "supervision",
        "random": "corruption",
        "output": "head",
        "order": "evaluation",
    }
    for name, recipe in variants.items():
        changed = {path.partition(".")[0] for path in differences(variants["all"], recipe)}
        if name not in ("all", "tokens"):
            assert changed - {"name", "output"} == {sections[name.partition("_")[0]]}, name
