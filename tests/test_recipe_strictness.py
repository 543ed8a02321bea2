"""A strict recipe is strict: every key of every section refuses what it cannot hold, and says what it can."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from hdiff.cli import run as hdiff
from hdiff.components import build
from hdiff.config import DataConfig, EvaluationConfig, ModelConfig, Recipe, StreamConfig
from hdiff.config.train import TrainConfig
from hdiff.corruption import CORRUPTIONS
from hdiff.errors import RecipeError, UserError
from hdiff.factory import build_corruption
from hdiff.heads import HEADS
from hdiff.models.planner import Planner
from hdiff.recipe import load_recipe
from hdiff.samplers import SAMPLERS
from hdiff.samplers.build import build_sampler
from hdiff.schedules import SCHEDULES

MINIMAL = "name: mine\noutput: runs/mine\ndata: {path: data/mine, stream: {source: a.txt}}\n"
SECTIONS = {
    "": Recipe,
    "train.": TrainConfig,
    "model.": ModelConfig,
    "data.": DataConfig,
    "data.stream.": StreamConfig,
    "evaluation.": EvaluationConfig,
}
KEYS = [prefix + name for prefix, section in SECTIONS.items() for name in section.model_fields]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "value", [".inf", "-.inf", ".nan", "1e999", "{a: 1}", "[{}]", "-1", '"\\0"', "{1: 2, x: }"]
)
def test_no_key_takes_what_none_can_hold(file: Path, key: str, value: str) -> None:
    if (
        key
        in ("planner", "supervision", "head", "type_head", "length_head", "corruption", "evaluation.sampler")
        and value[0] == "{"
    ):
        value = "3"  # their arguments are checked by their constructors
    with pytest.raises(RecipeError, match=rf"{re.escape(key)}\b.*override '{re.escape(key)}="):
        load_recipe(file, [f"{key}={value}"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.learning_rate=yes", "train.learning_rate is 'yes': expected a number"),
        ("train.learning_rate=true", "train.learning_rate is true: expected a number"),
        ("train.learning_rate='1e-3'", "train.learning_rate is '1e-3': expected a number"),
        ("train.learning_rate=1_000", "expected a number"),
        ("train.learning_rate=1,5", "expected a number"),
        ("train.learning_rate=0", "expected greater than 0"),
        ("train.steps=true", "train.steps is true: expected a whole number"),
        ("train.steps=1:30", "train.steps is '1:30': expected a whole number"),
        ("train.steps=10.0", "train.steps is 10.0: expected a whole number"),
        ("train.steps=1e3", "train.steps is 1000.0: expected a whole number"),
        ("train.steps=", "train.steps is null: expected a whole number"),
        ("train.steps=[5]", r"train.steps is \[5\]: expected a whole number"),
        ("train.steps=5000000000", "expected less than or equal to 2147483647"),
        ("train.stpes=5", "no key 'stpes' in train; did you mean 'steps'"),
        ("train.betas=[1.5, 2]", r"train.betas.0 is 1.5: expected less than 1 .*train.betas.1 is 2"),
        ("train.betas=0.9", "train.betas is 0.9: expected a list"),
        ("train.betas=[0.9]", r"train.betas(.1)?'? is"),
        ("train.trackers=tensorboard", "train.trackers is 'tensorboard': expected a list"),
        ("train.mixed_precision=false", "expected 'no', 'bf16' or 'fp16'"),
        ("train=5", "train is 5: expected a section of keys"),
        ("train=[]", "train is .*: expected a section of keys"),
        ("train.steps.x=5", "no key|train.steps is .*expected a whole number"),
        ("seed=100000000000000000000", "seed is 100000000000000000000: expected less than"),
        ("seed=-1", "expected greater than or equal to 0"),
        ("seed=10^20", r"seed is '10\^20': expected a whole number"),
        ("seed=1.5", "seed is 1.5: expected a whole number"),
        ("data.separator=yes", "data.separator is 'yes': expected true or false"),
        ("data.separator=1", "data.separator is 1: expected true or false"),
        ("data.path=2020", "data.path is 2020: expected a text"),
        ("data.path=", "data.path is null: expected a text"),
        ("data.path=~", "data.path is null: expected a text"),
        ('data.path=""', "data.path is '': expected a text that is not empty"),
        ("data.path=~/texts", r"only a shell expands that; write the path out, or put ./ before it: /"),
        ("data.path=$HOME/texts", "only a shell expands that"),
        ("output=${RUNS}/a", "only a shell expands that|is not valid YAML"),
        ('output="a\\tb"', r"is in it; expected text on one line"),
        ("output={a: b}", "output is {'a': 'b'}: expected a text"),
        ("output=a: b: c", "override 'output=a: b: c' is not valid YAML"),
        ("name=run #3", "'#3' is a comment, not part of the value; put the value in quotes"),
        ("name=3", "name is 3: expected a text"),
        ("resume=yes", "resume is 'yes': expected 'auto' or 'never'"),
        ("data.salience_buckets=[0.5, x]", "data.salience_buckets.1 is 'x': expected a number"),
        ("data.salience_buckets=true", "expected a whole number or a list"),
        ("data.mixture=[{weight: 1}]", "a corpus of a mixture has either a path or a stream"),
        ("data.mixture=[{path: a, weigth: 2}]", r"no key 'weigth' in data.mixture.0; did you mean 'weight'"),
        ("data.stream.sorce=a", "no key 'sorce' in data.stream; did you mean 'source'"),
        ("head=product", "head is 'product'"),
        ("head={kin: product}", "expected a kind in it"),
        ("head={kind: 3}", "expected a kind in it"),
        ("corruption={kind: token_masking, k: .inf}", "expected finite numbers"),
        ("model.width=١", "model.width is '١': expected a whole number"),
        ("model.width=🦆", "model.width is '🦆'"),
        ("evaluation.steps=4", "evaluation.steps is 4: expected a list"),
        ("evaluation.steps=[1, true]", "evaluation.steps.1 is true: expected a whole number"),
    ],
)
def test_an_override_names_key_value_and_expectation(file: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as refused:
        load_recipe(file, [override])
    assert "override '" in str(refused.value)


@pytest.mark.parametrize("override", ["", "=", "=5", "seed", ".seed=1", "seed.=1", "a b=1", "train..steps=1"])
def test_what_is_no_override_is_refused(file: Path, override: str) -> None:
    with pytest.raises(RecipeError, match=r"is not an override; write key=value"):
        load_recipe(file, [override])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.learning_rate=3e-4", 3e-4),
        ("train.learning_rate=1", 1.0),
        ("train.steps=010", 10),
        ("train.steps=0x10", 16),
        ("train.mixed_precision=no", "no"),
        ("data.separator=FALSE", False),
        ("name=yes", "yes"),
        ("name='3'", "3"),
        ("name=1_000", "1_000"),
        ("name=1:30", "1:30"),
        ("name=🦆 é", "🦆 é"),
        ("name='run #3'", "run #3"),
        ("name=a=b", "a=b"),
        ("data.path=./~x", "./~x"),
        ("evaluation.judge=", None),
    ],
)
def test_an_override_is_read_as_yaml_1_2(file: Path, override: str, value: Any) -> None:
    recipe = load_recipe(file, [override])
    for part in override.partition("=")[0].split("."):
        recipe = getattr(recipe, part)
    assert recipe == value
    assert type(recipe) is type(value)


FAMILIES = {
    "corruption": CORRUPTIONS,
    "head": HEADS,
    "sampler": SAMPLERS,
    "schedule": SCHEDULES,
    "planner": {"planner": Planner},
}
SUPPLIED = ("mask_id", "vocab_size", "width")
ARGUMENTS = [
    (section, kind, name)
    for section, family in FAMILIES.items()
    for kind, cls in family.items()
    for name in inspect.signature(cls).parameters
    if name not in SUPPLIED
]


def built(section: str, spec: dict[str, Any]) -> Any:
    if section == "corruption":
        return build_corruption(spec, mask_id=10, unit_lengths=lambda level: [0.5, 0.5])
    if section == "sampler":
        return build_sampler(
            {"gamma": 0.5, **spec} if spec["kind"] == "entropy_bounded" else spec, num_steps=2
        )
    given = {"head": {"vocab_size": 11, "width": 8}, "planner": {"width": 8}}.get(section, {})
    with torch.device("meta"):
        return build(spec, FAMILIES[section], section=section, **given)


@pytest.mark.parametrize(("section", "kind", "name"), ARGUMENTS)
def test_no_argument_of_a_component_takes_what_none_can_hold(section: str, kind: str, name: str) -> None:
    nothing_takes = [
        -5,
        -0.5,
        1e300,
        10**20,
        "\0",
        [[1]],
        {"x": 1},
        float("inf"),
        float("nan"),
        [1e308, 1e308],
        "yes",
    ]
    for value in nothing_takes:
        if name in ("log_snr_max", "log_snr_min") and value in (-5, -0.5):
            continue
        if (name, value) in (("classes", {"x": 1}), ("table", [[1]])):
            continue  # a section of its own, checked where classes are made; a table of one level
        if (name, value) == ("level", "yes"):
            continue  # a name; whether data have it is asked of the data
        with pytest.raises(UserError, match=name.removesuffix("es") if name == "classes" else name):
            built(section, {"kind": kind, name: value})


@pytest.mark.parametrize(
    ("section", "spec", "message"),
    [
        ("sampler", {"kind": "ancestral", "sampling": {"temperatur": 0.5}}, "temperatur"),
        ("sampler", {"kind": "ancestral", "sampling": {"temperature": True}}, "expected a number"),
        ("sampler", {"kind": "ancestral", "lengths": {"16": True}}, "expected a number"),
        ("sampler", {"kind": "ancestral", "lengths": {"1": 0.5, "1.0": 0.5}}, "two keys are one number"),
        (
            "sampler",
            {"kind": "ancestral", "num_steps": "4"},
            "sampler.num_steps is '4': expected a whole number",
        ),
        (
            "sampler",
            {"kind": "planned", "odrer": "random"},
            "no key 'odrer' in sampler .*did you mean 'order'",
        ),
        ("corruption", {"kind": "span_masking", "parsed_fraction": "0.5"}, "expected a number"),
        ("corruption", {"kind": "tree_cascade", "levels": "phrase"}, "expected a list"),
        (
            "corruption",
            {"kind": "token_masking", "schedule": {"kind": "polynomial", "k": "2"}},
            "expected a number",
        ),
        ("corruption", {"kind": "token_masking", "schedule": 3}, "corruption.schedule is 3"),
        ("corruption", {"kind": "soft_masking", "table": []}, "for every token id"),
        ("head", {"kind": "autoregressive", "num_layers": 1.0}, "expected a whole number"),
        ("head", {"kind": "autoregressive", "num_heads": 0}, "num_heads=0"),
        ("planner", {"kind": "planner", "detach": 1}, "expected true or false"),
    ],
)
def test_a_component_names_key_value_and_expectation(
    section: str, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        built(section, spec)


def test_the_command_says_it_in_one_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hdiff(["train", str(file), "train.steps=true", "train.betas=[1.5, 2]"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "train.steps is true: expected a whole number (override 'train.steps=true')" in said
