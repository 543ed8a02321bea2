"""Packaging: what a wheel holds, and that the files for installation agree with each other."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SOURCES = ("hdiff", "parsers", "recipes")

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "pyproject.toml").is_file(),
    reason="these tests need a checkout, not an installed package",
)


@pytest.fixture(scope="module")
def project():
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is packaged, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (CHECKOUT / name).is_file():
            shutil.copy(CHECKOUT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel_names(source, tmp_path_factory):
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("building a wheel without network needs setuptools in this environment")
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    built = subprocess.run(
        [*command, "--wheel-dir", out, source],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = out.glob("hdiff-*.whl")
    assert wheel.stat().st_size < 8_000_000
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_owns_one_top_level_name(wheel_names, project):
    top = {name.split("/")[0] for name in wheel_names}
    assert top == {"hdiff", f"hdiff-{project['project']['version']}.dist-info"}


def test_every_source_file_is_in_the_wheel(wheel_names, source):
    expected = set()
    for folder, installed in (("hdiff", "hdiff"), ("parsers", "hdiff/parsers"), ("recipes", "hdiff/recipes")):
        for file in (source / folder).rglob("*"):
            # A script beside the recipes is run from a checkout; it is no module of the package.
            is_script = (
                folder == "recipes" and file.suffix == ".py" and not (file.parent / "__init__.py").exists()
            )
            is_shipped = file.is_file() and "shipped" in file.parts  # model, stories, licence
            if (
                is_shipped or file.suffix in {".py", ".yaml", ".html", ".css", ".js", ".typed"}
            ) and not is_script:
                expected.add(f"{installed}/{file.relative_to(source / folder).as_posix()}")
    missing = expected - set(wheel_names)
    assert not missing, f"add these to packages or package-data in pyproject.toml: {sorted(missing)}"
    assert "hdiff/py.typed" in wheel_names


def test_the_wheel_holds_no_tests_or_caches(wheel_names):
    assert not [name for name in wheel_names if re.search(r"(^|/)(tests?|docs|__pycache__)/|\.pyc$", name)]


def test_constraints_pin_every_direct_dependency(project):
    text = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, flags=re.MULTILINE))
    assert "+" not in "".join(pins.values()), "local versions such as +cpu cannot be installed everywhere"
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["project"]["dependencies"],
        *(r for name in extras if name != "dev" for r in extras[name]),
    ]
    names = {re.match(r"[A-Za-z0-9_-]+", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    assert names - {"hdiff"} <= set(pins)


def test_constraints_agree_with_what_is_installed_here():
    from importlib import metadata

    text = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, flags=re.MULTILINE))
    if metadata.version("torch").split("+")[0] != pins["torch"]:
        pytest.skip("this environment was not installed with constraints.txt")
    for package in ("numpy", "spacy", "transformers", "datasets", "accelerate"):
        try:
            assert metadata.version(package) == pins[package]
        except metadata.PackageNotFoundError:
            continue


def test_make_and_the_project_ask_for_the_same_torch():
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    constraints = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"torch==(\S+) setuptools", makefile)
    assert f"torch=={version}\n" in constraints


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_refuses_an_old_python_and_says_what_to_do(tmp_path):
    old = tmp_path / "python-old"
    pretend = "import sys; sys.version_info = (3, 8, 0); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{pretend}' \"$2\"\n")
    old.chmod(0o755)
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    done = subprocess.run(
        ["make", "demo", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "needs Python 3.10 or newer" in done.stderr
    assert "3.8" in done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_names_every_target():
    done = subprocess.run(
        ["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True
    )
    for target in ("demo", "test", "lint", "docs", "clean"):
        assert f"make {target}" in done.stdout


def test_ci_is_executable_and_sound():
    script = CHECKOUT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True, timeout=10)
