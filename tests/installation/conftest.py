"""Installations that the tests of this folder share: each is made once, and only if a test asks for it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from installations import Installation, build_wheel, closure, copy_checkout, create, install, link_packages

RECIPE = """\
name: tiny
output: runs/tiny
data: {path: data, sequence_length: 32}
model: {width: 16, depth: 1, num_heads: 2}
head: {kind: product}
corruption: {kind: span_masking, segmentation: random, lengths: {1: 0.5, 3: 0.5}}
train: {steps: 2, batch_size: 2, warmup_steps: 1, checkpoint_every: 2}
evaluation: {steps: [1], blocks: 2, draws: 2, samples: 2, sampler: {kind: ancestral}}
"""
ABLATION = """\
name: pair
base: tiny.yaml
output: runs/pair
seeds: [0]
baseline: spans
variants:
  spans: {}
"""


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own, in a folder whose name has blanks and letters beyond ASCII."""
    return copy_checkout(tmp_path_factory.mktemp("source") / "der Ordner für hdiff")


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip builds of it."""
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def all_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every package that is installed here."""
    return link_packages(tmp_path_factory.mktemp("all") / "site-packages", None)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, an ablation and a file of gold trees, far from any checkout."""
    return write_work(tmp_path_factory.mktemp("work"))


def write_work(folder: Path) -> Path:
    """Writes what the commands work on."""
    (folder / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    (folder / "ablation.yaml").write_text(ABLATION, encoding="utf-8")
    (folder / "gold.ptb").write_text("(S (NP (DT The) (NN dog)) (VP (VBD slept)))\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def editable(all_packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """`pip install -e .`, used elsewhere."""
    source = copy_checkout(tmp_path_factory.mktemp("editable") / "checkout")
    python = create(tmp_path_factory.mktemp("editable-venv"), all_packages)
    install(python, "--editable", source)
    return Installation(python, write_work(tmp_path_factory.mktemp("editable-work")))


@pytest.fixture(scope="session")
def elsewhere(
    all_packages: Path, wheel: Path, work: Path, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    """A wheel, used far from the checkout."""
    python = create(tmp_path_factory.mktemp("venv with blanks"), all_packages)
    install(python, wheel)
    return Installation(python, work)


@pytest.fixture(scope="session")
def plain(elsewhere: Installation, checkout: Path) -> Installation:
    """`pip install .`, used in the checkout: the current folder shadows what is installed."""
    write_work(checkout)
    return Installation(elsewhere.python, checkout)


@pytest.fixture(scope="session")
def uninstalled(all_packages: Path, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """No hdiff but the checkout in the current folder."""
    return Installation(create(tmp_path_factory.mktemp("bare-venv"), all_packages), checkout)


@pytest.fixture(scope="session")
def light(wheel: Path, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """`pip install .` without extras: other packages are absent. It works on what a whole one has trained."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    marks = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    requirements = [line for line in marks if "extra ==" not in line]
    packages = link_packages(tmp_path_factory.mktemp("light") / "site-packages", closure(requirements))
    python = create(tmp_path_factory.mktemp("light-venv"), packages)
    install(python, wheel)
    return Installation(python, work)
