"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest
import torch

# Models are tiny: threads that wait for each other on a busy machine take minutes. Processes started by tests
# inherit it, so that they compute the same numbers.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

CHECKOUT = Path(__file__).resolve().parents[1]

# No test reaches beyond this machine: neither this process nor those that it starts.
NETWORK_GUARD = CHECKOUT / "tests" / "network_guard"
runpy.run_path(str(NETWORK_GUARD / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(NETWORK_GUARD), os.environ.get("PYTHONPATH")]))


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set, prepared for real: Python's manual, parsed by spaCy."""
    from hdiff.data.prepare.run import prepare

    out = tmp_path_factory.mktemp("prepared") / "pydoc"
    prepare("builtin:pydoc", out, limit=14, validation_fraction=0.3, tokenizer="train:512")
    return out


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real corpora beside the checkout; not everybody has it."""
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the corpora folder ../shared/data is not beside this checkout")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses names with an address of memory: processes of one run would have different tests."""
    bad = next((item.nodeid for item in items if " at 0x" in item.nodeid), None)
    if bad is not None:
        raise pytest.UsageError(f"the name of {bad} changes from process to process; give it ids=")
