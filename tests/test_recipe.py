"""Recipes: strict, with the nearest known key; every shipped one loads and builds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hdiff.components import build
from hdiff.corruption import CORRUPTIONS, SpanMasking
from hdiff.errors import RecipeError
from hdiff.factory import build_corruption, build_model, count_parameters
from hdiff.recipe import differences, load_recipe, to_yaml

FILES = sorted((Path(__file__).resolve().parents[1] / "recipes").rglob("*.yaml"))
RECIPES = [file for file in FILES if "\nvariants:" not in file.read_text()]  # ablations: tests/ablation
MINIMAL = "name: mine\noutput: runs/mine\ndata: {path: data/mine}\n"


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_and_builds(path: Path) -> None:
    is_released = "pretrained:" in path.read_text()  # those weights are not here
    recipe = load_recipe(path, ["model.pretrained=null", "train.trainable=all"] if is_released else [])
    classes = [[token % 4 for token in range(100)]] if recipe.head.get("classes") else []
    model = build_model(recipe, vocab_size=100, head_classes=classes)
    corruption = build_corruption(recipe.corruption, mask_id=100, unit_lengths=lambda level: [0.5, 0.5])
    assert count_parameters(model)["total"] == sum(p.numel() for p in model.parameters())
    assert not corruption.unconditional().conditional_on_structure
    assert path.read_text().startswith("# "), "a recipe begins by saying what it shows"


def test_there_are_the_recipes_the_readme_names() -> None:
    assert {"quickstart", "judge", "phrase_bank", "tinystories"} <= {path.stem for path in RECIPES}


def test_resolved_recipe_reads_back_equal(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, MINIMAL), ["train.learning_rate=3e-4", "corruption={kind: span_masking}"]
    )
    again = load_recipe(write(tmp_path, to_yaml(recipe)))
    assert again == recipe
    assert differences(again, load_recipe(write(tmp_path, to_yaml(recipe)), ["seed=4"])) == ["seed"]


def test_exponents_that_yaml_reads_as_text_become_numbers(tmp_path: Path) -> None:
    assert yaml.safe_load("3e-4") == "3e-4", "the trap this test is about"
    assert (
        load_recipe(write(tmp_path, MINIMAL + "train: {learning_rate: 3e-4}\n")).train.learning_rate == 3e-4
    )


def test_a_bare_no_is_a_precision_although_yaml_reads_it_as_false(tmp_path: Path) -> None:
    assert yaml.safe_load("no") is False, "the trap this test is about"
    recipe = load_recipe(write(tmp_path, MINIMAL + "train: {mixed_precision: no}\n"))
    assert recipe.train.mixed_precision == "no"
    assert load_recipe(write(tmp_path, to_yaml(recipe)), ["train.mixed_precision=no"]) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {stpes: 5}\n", r"no key 'stpes' in train; did you mean 'steps'\?"),
        ("modle: {}\n", r"no key 'modle' in the recipe; did you mean 'model'\?"),
        ("train: {steps: many}\n", "train.steps is 'many'"),
        ("train: {steps: 0}\n", "greater than or equal to 1"),
        ("seed: 1\nseed: 2\n", r"key 'seed' is given twice \(line 5\)"),
        ("train: {steps: [\n", "not valid YAML"),
        ("head: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_malformed_recipes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, MINIMAL + text))


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"(?s)stpes.*widht|widht.*stpes"):
        load_recipe(write(tmp_path, MINIMAL + "train: {stpes: 5}\nmodel: {widht: 5}\n"))


def test_override_errors_name_the_override(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"override 'train\.steps=x'"):
        load_recipe(write(tmp_path, MINIMAL), ["train.steps=x"])
    with pytest.raises(RecipeError, match="not an override"):
        load_recipe(write(tmp_path, MINIMAL), ["train.steps"])
    with pytest.raises(RecipeError, match="'seed' is 3, a value, so no key 'x'"):
        load_recipe(write(tmp_path, MINIMAL + "seed: 3\n"), ["seed.x=1"])


def test_missing_empty_and_binary_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="holds no keys"):
        load_recipe(write(tmp_path, ""))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_recipe(tmp_path / "binary.yaml")


def test_component_keys_are_checked_against_the_signature() -> None:
    with pytest.raises(
        RecipeError, match=r"no key 'lenghts' in corruption of kind 'span_masking'; did you mean 'lengths'"
    ):
        build({"kind": "span_masking", "lenghts": {2: 1.0}}, CORRUPTIONS, section="corruption")
    with pytest.raises(RecipeError, match=r"no corruption 'span_maskin'; did you mean 'span_masking'"):
        build({"kind": "span_maskin"}, CORRUPTIONS, section="corruption")
    with pytest.raises(RecipeError, match="has no kind"):
        build({}, CORRUPTIONS, section="corruption")
    with pytest.raises(RecipeError, match="parsed_fraction is 'half'"):
        build({"kind": "span_masking", "parsed_fraction": "half"}, CORRUPTIONS, section="corruption")
    with pytest.raises(RecipeError, match="cannot be imported"):
        build({"kind": "no_such_module:Mine"}, CORRUPTIONS, section="corruption")


def test_kind_reaches_a_class_of_the_users() -> None:
    built = build(
        {"kind": "hdiff.corruption.span_masking:SpanMasking", "level": "clause"},
        CORRUPTIONS,
        section="corruption",
    )
    assert isinstance(built, SpanMasking)
    assert built.level == "clause"


def test_schedule_is_a_name_or_a_component() -> None:
    spec = {"kind": "token_masking", "schedule": {"kind": "polynomial", "k": 3}}
    corruption = build_corruption(spec, mask_id=5, unit_lengths=lambda level: [1.0])
    assert corruption.schedule.k == 3.0  # type: ignore[attr-defined]
    spec["schedule"] = "cosine"
    build_corruption(spec, mask_id=5, unit_lengths=lambda level: [1.0])
    spec["schedule"] = "cosin"
    with pytest.raises(RecipeError, match="did you mean 'cosine'"):
        build_corruption(spec, mask_id=5, unit_lengths=lambda level: [1.0])


def test_autoregressive_model_refuses_a_joint_head(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, MINIMAL), ["model.kind=autoregressive", "head={kind: autoregressive}"]
    )
    with pytest.raises(RecipeError, match=r"head=\{kind: product\}"):
        build_model(recipe, 10)
