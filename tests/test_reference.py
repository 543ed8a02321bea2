"""The reference pages say what the code says: `python docs/make_reference.py` writes them again."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from hdiff import config
from hdiff.corruption import CORRUPTIONS
from hdiff.data.token_classes import CLASSES
from hdiff.heads import HEADS
from hdiff.parsers import PARSERS
from hdiff.parsers.salience_base import SALIENCES
from hdiff.samplers import SAMPLERS
from hdiff.schedules import SCHEDULES
from hdiff.supervision import SUPERVISIONS

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_code_says(script: ModuleType) -> None:
    for name, text in script.pages().items():
        written = (DOCS / "reference" / name).read_text(encoding="utf-8")
        assert written == text, f"docs/reference/{name} is old; run: python docs/make_reference.py"


def test_every_key_of_a_recipe_stands_once_with_a_meaning(script: ModuleType) -> None:
    page = script.recipe_page()
    sections: list[type[BaseModel]] = [config.Recipe, *script.SECTIONS.values()]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", page, re.MULTILINE)
    assert [row[0] for row in rows] == [key for cls in sections for key in cls.model_fields]
    assert all(len(meaning) > 8 for *_, meaning in rows)


def test_every_component_and_every_key_has_a_meaning(script: ModuleType) -> None:
    page = script.components_page()
    families = (CORRUPTIONS, SCHEDULES, HEADS, CLASSES, SAMPLERS, SUPERVISIONS)
    for name in [name for family in families for name in family]:
        assert f"\n### {name}\n" in page
    for name in [*PARSERS, *SALIENCES]:
        assert re.search(rf"^\| `{name}` \| \w.+ \|$", page, re.MULTILINE), name
    assert not re.search(r"\|\s+\|$", page, re.MULTILINE)


def test_a_constructor_that_does_not_say_what_a_key_means_is_named(script: ModuleType) -> None:
    class Silent:
        def __init__(self, *, loudness: int = 3) -> None: ...

    with pytest.raises(SystemExit, match="Silent does not say what 'loudness' means; add it to its Args"):
        script.meaning(Silent, "loudness")


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 2**31 - 1}, "whole number ≥ 1"),
        ({"type": "integer", "minimum": 0, "maximum": 1024}, "whole number ≥ 0, ≤ 1,024"),
        ({"type": "number", "exclusiveMinimum": 0}, "number > 0"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "number ≥ 0, < 1"),
        ({"type": "number", "maximum": 0.5}, "number ≤ 0.5"),
        ({"enum": ["a", "b"], "type": "string"}, "`a` or `b`"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text or `null`"),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2}, "list of number and number"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "section of number"),
        ({"type": "object", "additionalProperties": True}, "section"),
        ({"$ref": "#/$defs/DataConfig"}, "section"),
        ({}, "any value"),
    ],
)
def test_types_are_words(script: ModuleType, schema: dict[str, object], text: str) -> None:
    assert script.type_text(schema) == text


def test_a_cell_is_neither_html_nor_two_cells(script: ModuleType) -> None:
    made = script.table(("a", "b"), [("x < y", "`p(x | x_<i)`")])
    assert made == "| a | b |\n|---|---|\n| x &lt; y | `p(x \\| x_<i)` |"


def test_every_command_names_its_options(script: ModuleType) -> None:
    page = script.commands_page()
    for name in ("prepare", "train", "eval", "sample", "audit", "ablate", "doctor", "parser train"):
        assert f"\n## hdiff {name}\n" in page
    for option in ("--json", "--sampler", "--given-structure", "--trajectory", "--open"):
        assert f"| `{option}` |" in page


CITED = re.compile(r'docs/concepts\.md,\s+"([^"]+)"')


def test_headings_of_concepts_that_code_cites_exist() -> None:
    page = (DOCS / "concepts.md").read_text(encoding="utf-8")
    headings = {heading.lower() for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}
    cited = [
        (file, heading)
        for folder in ("hdiff", "parsers", "tests")
        for file in (DOCS.parent / folder).rglob("*.py")
        for heading in CITED.findall(file.read_text(encoding="utf-8"))
    ]
    assert len(cited) >= 10
    assert [(str(file), heading) for file, heading in cited if heading.lower() not in headings] == []


def test_nothing_cites_a_design_that_is_not_in_the_repository() -> None:
    number = "DESIGN" + r" \d"
    for folder, kind in (("hdiff", "*.py"), ("parsers", "*.py"), ("tests", "*.py"), ("docs", "*.md")):
        for file in (DOCS.parent / folder).rglob(kind):
            assert not re.search(number, file.read_text(encoding="utf-8")), file


def test_files_and_tests_that_concepts_names_exist() -> None:
    page = (DOCS / "concepts.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"`((?:hdiff|tests|recipes)/[\w/]+\.(?:py|yaml))`", page)):
        assert (DOCS.parent / name).is_file(), name


def test_formulas_need_nothing_from_elsewhere() -> None:
    text = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for file in ("katex.min.js", "katex.min.css", "auto-render.min.js", "start.js"):
        assert f"katex/{file}" in text
        assert "http" not in (DOCS / "katex" / file).read_text(encoding="utf-8").replace(XML_NAMES, "")
    style = (DOCS / "katex" / "katex.min.css").read_text(encoding="utf-8")
    fonts = re.findall(r"url\(([^)]+)\)", style)
    assert len(fonts) == 20
    assert all((DOCS / "katex" / font).is_file() for font in fonts)
    assert (DOCS / "katex" / "LICENSE").is_file()


XML_NAMES = "http://www.w3.org/"
"""Names of XML languages look like addresses; nothing is asked of them."""
