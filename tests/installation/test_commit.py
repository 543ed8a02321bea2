"""The commit of an installed hdiff: noted when it is built, from a checkout or from a source archive."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from installations import CHECKOUT, build_wheel, copy_checkout, without_git_variables

BUILD = "import sys, setuptools.build_meta as b; print(b.build_sdist(sys.argv[1]))"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> str:
    """What git says in a folder."""
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *who, *words],
        cwd=folder,
        env=without_git_variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def commit_in(wheel: Path) -> str | None:
    """The commit that a wheel holds."""
    with zipfile.ZipFile(wheel) as archive:
        if "hdiff/commit.txt" not in archive.namelist():
            return None
        return archive.read("hdiff/commit.txt").decode().strip()


def test_a_wheel_holds_the_commit(checkout: Path, wheel: Path) -> None:
    assert commit_in(wheel) == git(checkout, "rev-parse", "--short=12", "HEAD")


def test_a_source_archive_hands_the_commit_on_and_old_builds_are_forgotten(tmp_path: Path) -> None:
    source = copy_checkout(tmp_path / "source")
    with (source / "README.md").open("a", encoding="utf-8") as file:
        file.write("changed\n")
    stale = source / "build" / "lib" / "hdiff" / "gone.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    built = subprocess.run(
        [sys.executable, "-c", BUILD, tmp_path],
        cwd=source, capture_output=True, text=True, check=True,
    )  # fmt: skip
    with tarfile.open(tmp_path / built.stdout.splitlines()[-1]) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    shutil.copytree(source / "build", unpacked / "build")
    wheel = build_wheel(unpacked, tmp_path / "wheels")
    assert commit_in(wheel) == git(source, "rev-parse", "--short=12", "HEAD") + "+changes"
    assert not (source / "hdiff" / "commit.txt").exists()
    with zipfile.ZipFile(wheel) as archive:
        assert "hdiff/gone.py" not in archive.namelist()


def of_a_repository(folder: Path) -> str | None:
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "all")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def of_changes(folder: Path) -> str | None:
    commit = of_a_repository(folder)
    (folder / "hdiff" / "runs" / "provenance.py").open("a").write("\n")
    return f"{commit}+changes"


def of_new_files(folder: Path) -> str | None:
    commit = of_a_repository(folder)
    (folder / "new.txt").touch()
    return commit


def of_a_worktree(folder: Path) -> str | None:
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    commit = of_a_repository(other)
    shutil.rmtree(folder)
    git(other, "worktree", "add", "--quiet", "--detach", str(folder))
    return commit


def of_a_repository_without_commits(folder: Path) -> str | None:
    git(folder, "init", "--quiet")
    return None


def of_a_repository_around_it(folder: Path) -> str | None:
    """A virtual environment lies in somebody's repository: that commit is not ours."""
    of_a_repository(folder.parent)
    return None


def of_a_damaged_repository(folder: Path) -> str | None:
    (folder / ".git").mkdir()
    return None


def of_a_note(folder: Path) -> str | None:
    (folder / "hdiff" / "commit.txt").write_text("0123456789ab\n")
    return "0123456789ab"


def of_an_empty_note(folder: Path) -> str | None:
    (folder / "hdiff" / "commit.txt").touch()
    return None


def of_a_damaged_note(folder: Path) -> str | None:
    (folder / "hdiff" / "commit.txt").write_bytes(b"\xff\xfe")
    return None


def of_nothing(folder: Path) -> str | None:
    return None


@pytest.mark.parametrize(
    "make",
    [of_a_repository, of_changes, of_new_files, of_a_worktree, of_a_repository_without_commits,
     of_a_repository_around_it, of_a_damaged_repository, of_a_note, of_an_empty_note, of_a_damaged_note,
     of_nothing],
)  # fmt: skip
@pytest.mark.parametrize(
    "environment", [{}, {"GIT_DIR": "/nonexistent"}, {"GIT_INDEX_FILE": "/nonexistent"}], ids=str
)
def test_the_commit_is_that_of_hdiff_or_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], str | None],
    environment: dict[str, str],
) -> None:
    folder = tmp_path / "around" / "checkout"
    (folder / "hdiff" / "runs").mkdir(parents=True)
    shutil.copy(CHECKOUT / "hdiff" / "runs" / "provenance.py", folder / "hdiff" / "runs")
    expected = make(folder)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert runpy.run_path(str(folder / "hdiff" / "runs" / "provenance.py"))["commit"]() == expected


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "checkout"
    (folder / "hdiff" / "runs").mkdir(parents=True)
    file = shutil.copy(CHECKOUT / "hdiff" / "runs" / "provenance.py", folder / "hdiff" / "runs")
    of_a_repository(folder)
    monkeypatch.setitem(os.environ, "PATH", "")
    assert runpy.run_path(str(file))["commit"]() is None
