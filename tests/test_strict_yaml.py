"""YAML as version 1.2 has it: what a value looks like is what it is, and what is written is read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdiff.errors import RecipeError
from hdiff.strict_yaml import parse_yaml, write_yaml

SCALARS: dict[str, Any] = {
    "true": True,
    "False": False,
    "TRUE": True,
    "yes": "yes",
    "no": "no",
    "on": "on",
    "off": "off",
    "tRue": "tRue",
    "y": "y",
    "null": None,
    "~": None,
    "": None,
    "nUll": "nUll",
    "010": 10,
    "0o10": 8,
    "0x1F": 31,
    "0b1": "0b1",
    "0o8": "0o8",
    "-0": 0,
    "+12": 12,
    "1:30": "1:30",
    "190:20:30.15": "190:20:30.15",
    "1_000": "1_000",
    "3e-4": 3e-4,
    "1e5": 1e5,
    "1E+2": 100.0,
    ".5": 0.5,
    "5.": 5.0,
    "1.e3": 1000.0,
    "1e": "1e",
    "e5": "e5",
    "2020-01-01": "2020-01-01",
    "2020-01-01 10:00:00": "2020-01-01 10:00:00",
    "=": "=",
    "<<": "<<",
    "'1'": "1",
    '"true"': "true",
    "1 000": "1 000",
    "1,5": "1,5",
    "0x_": "0x_",
    "١": "١",
    "1.2.3": "1.2.3",
    "--1": "--1",
    ".": ".",
    "-": [None],
    "NO": "NO",
}


@pytest.mark.parametrize("text", SCALARS)
def test_a_scalar_is_what_yaml_1_2_says(text: str) -> None:
    found = parse_yaml(text, where="here")
    assert found == SCALARS[text]
    assert type(found) is type(SCALARS[text])


@pytest.mark.parametrize("text", [".inf", "-.INF", "+.Inf", "1e999"])
def test_infinities_are_numbers_that_a_recipe_may_refuse(text: str) -> None:
    assert abs(parse_yaml(text, where="here")) == float("inf")


def test_keys_are_texts_as_written() -> None:
    assert parse_yaml("{16: a, 1.50: b, true: c, ~: d, 010: e}", where="here") == {
        "16": "a",
        "1.50": "b",
        "true": "c",
        "~": "d",
        "010": "e",
    }
    with pytest.raises(RecipeError, match=r"key '16' is given twice"):
        parse_yaml("{16: 1.0, '16': 2.0}", where="here")


def test_aliases_do_not_share_what_they_stand_for() -> None:
    values = parse_yaml("a: &x {b: 1}\nc: *x", where="here")
    values["a"]["b"] = 2
    assert values["c"] == {"b": 1}


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from([*SCALARS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(PLAIN)
def test_what_is_written_is_read_back(values: Any) -> None:
    found = parse_yaml(write_yaml(values), where="here")
    assert found == values
    assert repr(found) == repr(values), "1 is not 1.0 and not true"
