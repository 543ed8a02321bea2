"""Code in README and docs runs; recipes and commands they name exist."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from shared_models import save_untrained

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{index}")
    for page in PAGES
    for index, block in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
]
SHARED = "shared/quickstart"
"""What pages call the folder that `hdiff export` made of the quickstart."""


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `hdiff export` with an untrained model of the quickstart's kind."""
    return save_untrained(tmp_path_factory.mktemp("docs") / SHARED)


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(
    block: str, shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "from transformers import" in block and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    if SHARED in block:  # folders that a block writes are named beside it
        block = block.replace(SHARED, str(shared_folder))
        monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # a block may add a package; later tests must not see it
    exec(compile(block, "<docs>", "exec"), {"__name__": "docs"})


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_named_recipes_and_relative_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for recipe in re.findall(r"recipes/[\w/]+\.yaml", text):
        assert (CHECKOUT / recipe).is_file(), recipe
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_nobody_is_sent_to_a_package_that_no_index_has(page: Path) -> None:
    """hdiff is installed from its checkout; in an index another package may have its name one day."""
    found = re.findall(r"pip install[^`\n#]*[ '\"]hdiff\b[^`\n]*", page.read_text(encoding="utf-8"))
    assert not found, f"{found}; write pip install '.[extra]'"
