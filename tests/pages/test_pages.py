"""Explorer pages: self-contained, escaped, and faithful to the data they were given."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdiff.errors import DataError
from hdiff.pages.page import TEMPLATES, embed_json, inspection_page, trajectory_page


def embedded(page: str) -> object:
    """The data inside a page, found the way a browser finds it: up to the first closing tag."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', page, flags=re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


@pytest.fixture
def pages(make_exploration, make_trajectory):
    return [inspection_page(make_exploration()), trajectory_page(make_trajectory())]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_embedded_json_reads_back_and_cannot_leave_its_element(value):
    text = str(embed_json(value))
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)
    assert text.isascii()


def test_numbers_that_json_lacks_become_null():
    assert json.loads(embed_json([float("nan"), float("inf"), 1.5])) == [None, None, 1.5]


def test_lone_surrogates_can_be_written_to_a_file(make_exploration):
    inspection_page(make_exploration(text_of_a_word="\U0001f600é")).encode("utf-8")
    embed_json("\ud800").encode("utf-8")


def test_data_round_trips_through_the_page(make_exploration, make_trajectory, hostile):
    exploration = make_exploration(text_of_a_word=hostile)
    trajectory = make_trajectory(text_of_a_piece=hostile)
    assert embedded(inspection_page(exploration, exploration)) == [exploration, exploration]
    assert embedded(trajectory_page(trajectory)) == trajectory


def test_hostile_text_stays_text(make_exploration, make_trajectory, hostile):
    exploration = make_exploration(text_of_a_word=hostile)
    exploration["title"] = exploration["spans"][1]["label"] = exploration["level"] = hostile
    trajectory = make_trajectory(text_of_a_piece=hostile)
    trajectory["title"] = hostile
    for page in (inspection_page(exploration), trajectory_page(trajectory)):
        assert "<script>alert" not in page
        assert "49" not in page.split("<body>")[1].split('id="data"')[0]
        assert len(re.findall("<script", page)) == 2
        assert len(re.findall("</script", page)) == 2


def test_pages_name_no_address_but_the_svg_namespace(pages):
    for page in pages:
        assert set(re.findall(r"\w+://[^\s\"'`)<]*", page)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"<(link|script|img|iframe)[^>]*(src|href)=\"(?!data:,)", page)
        assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|eval\(|innerHTML", page)


def test_text_can_be_read_without_scripts(make_exploration, make_trajectory):
    assert "The old man mended his nets." in inspection_page(make_exploration()).split("<script")[0]
    assert "The man mended nets." in trajectory_page(make_trajectory()).split("<script")[0]


def test_templates_are_listed_as_package_data():
    assert {file.suffix for file in TEMPLATES.iterdir() if file.is_file()} == {".html", ".css", ".js"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": []}, "no words"),
        (
            {"spans": [{"start": 2, "end": 9, "label": "X", "level": "phrase"}]},
            r"\[2, 9\) does not fit 7 words",
        ),
        ({"spans": [{"start": 2, "end": 3, "level": "phrase"}]}, "span lacks label"),
        ({"words": [{"text": "a", "space_before": False, "time": 0.5}]}, "word lacks unit"),
    ],
)
def test_malformed_explorations_are_refused(make_exploration, change, message):
    with pytest.raises(DataError, match=message):
        inspection_page({**make_exploration(), **change})


@pytest.mark.parametrize(("num_steps", "message"), [(3, "steps are 1 to 3"), (0, "at least 1")])
def test_malformed_trajectories_are_refused(make_trajectory, num_steps, message):
    with pytest.raises(DataError, match=message):
        trajectory_page({**make_trajectory(), "num_steps": num_steps})
