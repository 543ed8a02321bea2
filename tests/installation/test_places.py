"""Where hdiff lies and what lies beside it: the right package is imported, by parents and children alike."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installations import CHECKOUT, Installation, install

import hdiff
from hdiff.children import child_command, child_environment

MISSING = ("parser", "eval", "none.ptb")
WHERE = "import hdiff.parsers, hdiff.recipes; print(hdiff.parsers.__file__)"


def run(command: list[str], cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder."""
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def copy_packages(folder: Path, *, project: str | None = None) -> Path:
    """The folders of a checkout with what is imported from `hdiff.parsers` at once, and a project file."""
    for name in ("hdiff", "parsers", "recipes"):
        (folder / name).mkdir(parents=True)
    shutil.copy(CHECKOUT / "hdiff" / "__init__.py", folder / "hdiff")
    (folder / "parsers" / "__init__.py").touch()
    (folder / "recipes" / "__init__.py").touch()
    text = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8") if project is None else project
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["plain", "with blanks", "für Ünicode 模型", "a:colon", "a'quote", "%41"])
def test_a_checkout_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = copy_packages(tmp_path / name)
    done = run([sys.executable, "-c", WHERE], folder)
    assert done.stdout.strip() == str(folder / "parsers" / "__init__.py"), done.stderr


@pytest.mark.parametrize("linked", ["checkout", "package"])
def test_a_checkout_may_be_reached_by_a_link(tmp_path: Path, linked: str) -> None:
    folder = copy_packages(tmp_path / "real")
    place = tmp_path / "link"
    if linked == "checkout":
        place.symlink_to(folder)
    else:
        place.mkdir()
        (place / "hdiff").symlink_to(folder / "hdiff")
    done = run([sys.executable, "-c", WHERE], place)
    assert Path(done.stdout.strip()).resolve() == folder / "parsers" / "__init__.py", done.stderr


@pytest.mark.parametrize("project", ["", '[project]\nname = "other"\n', "\0", None], ids=repr)
def test_folders_of_others_are_not_taken_for_parsers(tmp_path: Path, project: str | None) -> None:
    """A copy of the `hdiff` folder in a project that has a folder `parsers` of its own."""
    folder = copy_packages(tmp_path / "foreign", project=project or "")
    if project is None:
        (folder / "pyproject.toml").unlink()
    done = run([sys.executable, "-c", "import hdiff; print(len(hdiff.__path__))"], folder)
    assert done.stdout == "1\n", done.stderr


def test_an_installed_package_never_looks_beside_itself(tmp_path: Path) -> None:
    folder = copy_packages(tmp_path / "site-packages")
    (folder / "hdiff" / "parsers").mkdir()
    done = run([sys.executable, "-c", "import hdiff; print(len(hdiff.__path__))"], folder)
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize(
    "name", ["hdiff", "parsers", "recipes", "torch", "datasets", "typer", "json", "errors"]
)
@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_children_ignore_what_lies_in_the_current_folder(tmp_path: Path, name: str, is_folder: bool) -> None:
    decoy = tmp_path / name / "__init__.py" if is_folder else tmp_path / f"{name}.py"
    decoy.parent.mkdir(exist_ok=True)
    decoy.write_text("raise SystemExit('the wrong module')\n")
    done = run(child_command(*MISSING), tmp_path)
    assert (done.returncode, done.stderr[:21]) == (2, "hdiff: none.ptb is no"), done.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONPATH": "decoys"},
        {"PYTHONSAFEPATH": "1"},
        {"PATH": ""},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONHASHSEED": "0"},
        {"PYTHONDONTWRITEBYTECODE": "1"},
        {"PYTHONNOUSERSITE": "1"},
        {"HOME": "/nonexistent"},
        {"LC_ALL": "C"},
    ],
    ids=str,
)
def test_children_run_in_any_environment(tmp_path: Path, variables: dict[str, str]) -> None:
    decoy = tmp_path / "decoys" / "hdiff" / "__init__.py"
    decoy.parent.mkdir(parents=True)
    decoy.write_text("raise SystemExit('the wrong hdiff')\n")
    done = run(child_command(*MISSING), tmp_path, **variables)
    assert (done.returncode, done.stderr[:21]) == (2, "hdiff: none.ptb is no"), done.stderr


def test_children_and_their_workers_find_the_modules_of_the_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parser that the parent could import; workers are processes of the child."""
    modules = tmp_path / "modules: of the parent"
    (modules / "ours").mkdir(parents=True)
    (modules / "ours" / "parser.py").write_text(
        "from hdiff.parsers import PlainParser\n\nclass Ours(PlainParser):\n    pass\n", encoding="utf-8"
    )
    (tmp_path / "hdiff.py").write_text("raise SystemExit('the wrong hdiff')\n")
    (tmp_path / "text.txt").write_text("A dog slept.\n\nA cat slept.\n\n" * 40, encoding="utf-8")
    monkeypatch.syspath_prepend(str(modules))
    words = ["prepare", "text.txt", "--out", "data", "--parser", "ours.parser:Ours", "--levels", "sentence"]
    command = child_command(
        *words, "--tokenizer", "train:300", "--workers", "2", "--validation-fraction", "0.3"
    )
    done = run(command, tmp_path, **child_environment())
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "manifest.json").is_file()


def test_a_child_imports_the_hdiff_of_its_own_folder_among_several(
    elsewhere: Installation, tmp_path: Path
) -> None:
    """The interpreter of one installation starts the package of another: a checkout that is not installed."""
    main = Path(hdiff.__file__).with_name("__main__.py")
    code = f"""
import runpy, sys
sys.argv = ["hdiff", "--version"]
sys.path[0] = {str(main.parent)!r}
try:
    runpy.run_path({str(main)!r}, run_name="__main__")
finally:
    import hdiff
    print(hdiff.__file__)
"""
    done = elsewhere.start(elsewhere.python, "-c", code)
    assert done.stdout.splitlines()[-1] == hdiff.__file__, done.stderr


@pytest.mark.parametrize(
    "options", [["--target"], ["--prefix"], ["--root"], ["--target", "--no-compile"]], ids=" ".join
)
def test_packages_may_lie_anywhere(
    uninstalled: Installation, wheel: Path, tmp_path: Path, options: list[str]
) -> None:
    place, *more = options
    install(uninstalled.python, place, tmp_path / "place", *more, wheel)
    (package,) = tmp_path.rglob("hdiff/__init__.py")
    before = (os.environ.get("PYTHONPATH", ""), str(package.parents[1]))
    done = run(
        [str(uninstalled.python), "-m", "hdiff", *MISSING], tmp_path, PYTHONPATH=os.pathsep.join(before)
    )
    assert (done.returncode, done.stderr[:21]) == (2, "hdiff: none.ptb is no"), done.stderr
