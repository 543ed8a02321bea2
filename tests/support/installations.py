"""Kinds of installation: real environments, each of which sees only the packages it would have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGED = ("hdiff", "parsers", "recipes", "docs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
"""What of a checkout installations and the snippets of the documentation need."""
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
UNCHANGED = ["--no-deps", "--no-index", "--no-build-isolation"]
"""Options of pip that keep it off the network; without `--no-deps` torch would be looked for."""


DRIVER = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from hdiff.cli import run
outcomes = []
for words in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = run(words)
    outcomes.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(outcomes))
"""


@dataclass(frozen=True)
class Outcome:
    """What a command line of hdiff did: its exit code and what it printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Installation:
    """An environment that has hdiff, and the folder in which its commands are run.

    Attributes:
        python: Its interpreter.
        cwd: The folder.
    """

    python: Path
    cwd: Path

    @property
    def script(self) -> Path:
        """The command `hdiff`."""
        return self.python.with_name("hdiff")

    def start(
        self, *words: str | Path, timeout: float = 300, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program in the folder, with the environment of the tests and more variables."""
        return subprocess.run(
            [str(word) for word in words],
            cwd=self.cwd, env={**os.environ, **variables}, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip

    def commands(self, lines: Sequence[Sequence[str]], *, timeout: float = 300) -> list[Outcome]:
        """Runs command lines of hdiff in one process, in which the current folder comes first on the path."""
        done = self.start(self.python, "-c", DRIVER, json.dumps(lines), timeout=timeout)
        assert done.returncode == 0, done.stderr
        return [Outcome(*outcome) for outcome in json.loads(done.stdout.splitlines()[-1])]


def copy_checkout(folder: Path) -> Path:
    """A checkout of its own, with a repository, so that building leaves nothing in the real one."""
    folder.mkdir(parents=True)
    for name in PACKAGED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, folder)
    if shutil.which("git") is not None:
        who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        for words in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "all"]):
            subprocess.run(["git", *words], cwd=folder, check=True, env=without_git_variables())
    return folder


def without_git_variables() -> dict[str, str]:
    """The environment, for a git that works where it is started."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of the packages that requirements pull in, followed through what is installed here."""
    found: set[str] = set()
    pending = [(Requirement(line), "") for line in requirements]
    while pending:
        wanted, extra = pending.pop()
        name = wanted.name.lower().replace("_", "-")
        if name in found or (wanted.marker is not None and not wanted.marker.evaluate({"extra": extra})):
            continue
        found.add(name)
        try:
            pending += [(Requirement(line), "") for line in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            continue
    return found


def link_packages(folder: Path, names: set[str] | None) -> Path:
    """A folder of links to installed packages, all that there are or those of some names, and never hdiff."""
    folder.mkdir(parents=True)
    for package in metadata.distributions():
        name = package.metadata["Name"].lower().replace("_", "-")
        if name == "hdiff" or (names is not None and name not in names):
            continue
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            link, target = folder / top, Path(str(package.locate_file(top)))
            if not link.exists() and target.exists():
                link.symlink_to(target)
    return folder


def create(folder: Path, packages: Path) -> Path:
    """A virtual environment that sees a folder of packages; its interpreter."""
    venv.create(folder, symlinks=os.name != "nt")
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{packages}\n", encoding="utf-8")
    return folder / "bin" / "python"


def install(python: Path, *words: str | Path) -> None:
    """`pip install` into an environment, from this machine alone."""
    command = [*PIP, "--python", str(python), "install", *UNCHANGED, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def build_wheel(source: Path, out: Path) -> Path:
    """Builds a wheel of a checkout or a source archive."""
    done = subprocess.run(
        [*PIP, "wheel", *UNCHANGED, "--wheel-dir", str(out), str(source)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("hdiff-*.whl")
    return wheel
