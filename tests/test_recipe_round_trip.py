"""A recipe survives being written and read, whatever constructors of components may be given."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdiff.components import build
from hdiff.config import Recipe
from hdiff.corruption import CORRUPTIONS
from hdiff.errors import UserError
from hdiff.heads import HEADS
from hdiff.models.planner import Planner
from hdiff.recipe import differences, flattened, load_recipe, to_yaml
from hdiff.samplers import SAMPLERS
from hdiff.schedules import SCHEDULES, Schedule

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text() | st.sampled_from(
    ["yes", "1e5", "010", "~", "null", "1:30", "0x1F", "- a", "a: b", "é", "=", "<<"]
)
OF_TYPES: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(),
    float: NUMBERS | st.integers(),
    str: TEXTS,
    types.NoneType: st.none(),
}
SUPPLIED = ("mask_id", "vocab_size", "width")


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values that a parameter of a constructor may be given in Python or in a file."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return st.one_of(list(OF_TYPES.values()))
    if hint in OF_TYPES:
        return OF_TYPES[hint]
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(branch) for branch in inner])
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(values(inner[0]), values(inner[1]), max_size=3)
    if origin is not None and issubclass(origin, Sequence):
        return st.lists(values(inner[0]), max_size=3).flatmap(
            lambda found: st.sampled_from([found, tuple(found)])
        )
    if isinstance(hint, type) and issubclass(hint, Schedule):
        return st.sampled_from([*SCHEDULES]) | st.one_of(
            [specs(kind, cls) for kind, cls in SCHEDULES.items()]
        )
    assert is_dataclass(hint), f"no strategy for {hint}"
    hints = typing.get_type_hints(hint)
    return st.fixed_dictionaries(
        {}, optional={field.name: values(hints[field.name]) for field in fields(hint)}
    )


def specs(kind: str, cls: type) -> st.SearchStrategy[dict[str, Any]]:
    """Descriptions of a component with any of its arguments."""
    hints = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    names = [name for name in inspect.signature(cls).parameters if name not in SUPPLIED]
    return st.fixed_dictionaries(
        {"kind": st.just(kind)}, optional={name: values(hints[name]) for name in names}
    )


def of_family(family: Mapping[str, type]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of([specs(kind, cls) for kind, cls in family.items()])


RECIPES = st.builds(
    Recipe,
    name=st.sampled_from(["mine", "yes", "3", "1e5", "é: #", "null"]),
    output=st.sampled_from(["runs/mine", "0x1F", "true"]),
    data=st.just({"path": "2020-01-01"}),
    head=of_family(HEADS),
    type_head=of_family(HEADS),
    corruption=of_family(CORRUPTIONS),
    planner=specs("planner", Planner).map(lambda spec: {k: v for k, v in spec.items() if k != "kind"})
    | st.none(),
    evaluation=st.builds(dict, sampler=of_family(SAMPLERS) | st.none()),
    train=st.builds(dict, learning_rate=st.floats(1e-9, 1e9), betas=st.tuples(*[st.floats(0, 0.999)] * 2)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@settings(max_examples=500, deadline=None)
@given(recipe=RECIPES)
def test_what_is_read_is_what_was_written(folder: Path, recipe: Recipe) -> None:
    file = folder / "recipe.yaml"
    file.write_text(to_yaml(recipe), encoding="utf-8")
    again = load_recipe(file)
    assert again == recipe
    assert repr(again) == repr(recipe), "1 is not 1.0"
    assert differences(again, recipe) == []
    assert flattened(again) == flattened(recipe)
    assert json.dumps(again.model_dump(mode="json")) == json.dumps(recipe.model_dump(mode="json"))
    assert Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe
    assert Recipe(**dict(recipe)) == recipe, "its normal form is its own normal form"


@pytest.mark.parametrize(("kind", "cls"), [*SAMPLERS.items()])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_sampler_is_built_alike_from_what_was_said_and_what_was_saved(
    kind: str, cls: type, data: st.DataObject, folder: Path
) -> None:
    said = data.draw(specs(kind, cls))
    recipe = Recipe(name="a", output="b", data={"path": "c"}, evaluation={"sampler": said})  # type: ignore[arg-type]
    outcomes = []
    for spec in (said, recipe.evaluation.sampler):
        try:
            outcomes.append(str(vars(build(spec, SAMPLERS, section="sampler"))))
        except UserError as error:
            outcomes.append(type(error).__name__)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lengths": {16: 1.0}}, {"lengths": {"16": 1.0}}),
        ({"lengths": (1, 2)}, {"lengths": [1, 2]}),
        ({"lengths": {1: 0.5, 2: 0.5}}, {"lengths": {"2": 0.5, "1": 0.5}}),
        ({"sampling": {"banned": (3,)}}, {"sampling": {"banned": [3]}}),
        ({"k": {"token": (1.0, 2.0)}}, {"k": {"token": [1.0, 2.0]}}),
        ({"a": {1.5: "x"}}, {"a": {"1.5": "x"}}),
        ({"a": {True: 1}}, {"a": {"true": 1}}),
        ({"a": {None: 1}}, {"a": {"null": 1}}),
        ({"a": [{2: [(1,)]}]}, {"a": [{"2": [[1]]}]}),
        ({"a": ()}, {"a": []}),
    ],
)
def test_two_spellings_of_one_value_are_one_recipe(one: dict[str, Any], other: dict[str, Any]) -> None:
    base = Recipe(name="a", output="b", data={"path": "c"})  # type: ignore[arg-type]
    first, second = (
        Recipe(**{**dict(base), "corruption": {"kind": "mine:Mine", **spec}}) for spec in (one, other)
    )
    assert first == second
    assert differences(first, second) == []


def test_a_value_that_no_file_holds_is_refused() -> None:
    for value in (object(), {1, 2}, float("nan"), {1: 2, "1": 3}, b"x"):
        with pytest.raises(ValueError, match=r"expected|two keys"):
            Recipe(name="a", output="b", data={"path": "c"}, head={"kind": "product", "x": value})  # type: ignore[arg-type]
