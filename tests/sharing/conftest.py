"""Runs of every family of corruption, after a few updates, and one that is exported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from shared_models import CHECKOUT, FAMILIES, TINY

from hdiff.cli import run as hdiff


@pytest.fixture(scope="session")
def families(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each family; the folder of one is named after it."""
    folder = tmp_path_factory.mktemp("families")
    recipe = str(CHECKOUT / "recipes" / "e2e_control.yaml")
    for name, changes in FAMILIES.items():
        own = [*TINY, f"data.path={prepared_folder}", f"output={folder / name}", f"name={name}"]
        assert hdiff(["train", recipe, *own, *changes, "-q"]) == 0, name
    return folder


@pytest.fixture(scope="session")
def exported(families: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of spans, evaluated and exported; do not change it."""
    assert hdiff(["eval", str(families / "spans"), "--steps", "1,4", "-q"]) == 0
    folder = tmp_path_factory.mktemp("exported") / "spans"
    assert hdiff(["export", str(families / "spans"), str(folder), "--license", "apache-2.0"]) == 0
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(exported, tmp_path / "copied"))
