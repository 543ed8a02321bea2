"""Components in files of the user: in the current folder and beside the recipe; errors say what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from hdiff.cli import run as hdiff
from hdiff.errors import UserError
from hdiff.parsers import load_parser
from hdiff.plugins import import_class
from hdiff.recipe import load_recipe

PAIR = "from hdiff.corruption import TokenMasking\nclass Pair(TokenMasking):\n"
PAIR += "    class Inner(TokenMasking):\n        pass\n"
LINES = "from hdiff.parsers.plain import PlainParser\nclass Lines(PlainParser):\n    pass\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that Python does not look into by itself, as for the command hdiff."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


FOUND = {
    "a file": ({"own_a.py": PAIR}, "own_a:Pair"),
    "a class in a class": ({"own_b.py": PAIR}, "own_b:Pair.Inner"),
    "a package": ({"own_c/__init__.py": "", "own_c/noise.py": PAIR}, "own_c.noise:Pair"),
    "a folder without __init__": ({"own_d/noise.py": PAIR}, "own_d.noise:Pair"),
    "a file that imports another": ({"own_e.py": "from own_f import Pair\n", "own_f.py": PAIR}, "own_e:Pair"),
}


@pytest.mark.parametrize(("files", "kind"), FOUND.values(), ids=FOUND)
def test_a_class_in_the_current_folder_is_found(files: dict[str, str], kind: str, folder: Path) -> None:
    write(folder, files)
    assert import_class(kind, what="corruption.kind", error=UserError).__name__ in ("Pair", "Inner")


REFUSED = {
    "no such module": (
        {},
        "own_none:Pair",
        "no module 'own_none' is installed, in the current folder or beside",
    ),
    "no such submodule": (
        {"own_g/__init__.py": ""},
        "own_g.noise:Pair",
        "no module 'own_g.noise' is installed",
    ),
    "a package that is missing": (
        {"own_h.py": "import own_absent\n"},
        "own_h:Pair",
        "pip install own_absent",
    ),
    "no such class": ({"own_i.py": PAIR}, "own_i:Pairs", "own_i.py; did you mean 'Pair'?"),
    "a circle": (
        {"own_j.py": "from own_k import X\n", "own_k.py": "from own_j import Pair\nX = 1\n"},
        "own_j:Pair",
        "circular import",
    ),
    "a syntax error": ({"own_l.py": "class Pair(\n"}, "own_l:Pair", "SyntaxError"),
    "an error of its own": ({"own_m.py": "1 / 0\n"}, "own_m:Pair", "ZeroDivisionError"),
    "a name of Python's library": ({"random.py": PAIR}, "random:Pair", "no class 'Pair' is in"),
}


@pytest.mark.parametrize(("files", "kind", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_imported_is_named(
    files: dict[str, str], kind: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, files)
    assert hdiff(["audit", "--corruption", kind]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert f"'{kind}' cannot be imported" in message


def test_a_class_beside_the_recipe_is_found(folder: Path) -> None:
    write(
        folder,
        {
            "there/own_n.py": PAIR,
            "there/own.yaml": "name: n\noutput: x\ndata: {path: y}\ncorruption: {kind: 'own_n:Pair'}\n",
        },
    )
    load_recipe(folder / "there" / "own.yaml")
    assert import_class("own_n:Pair", what="corruption.kind", error=UserError).__name__ == "Pair"


@pytest.mark.parametrize("spec", ["own_o:Lines", "own_p.lines:Lines"])
def test_a_parser_of_the_current_folder_is_found(spec: str, folder: Path) -> None:
    write(folder, {"own_o.py": LINES, "own_p/lines.py": LINES})
    assert list(load_parser(spec).parse(["a b"]))


def test_the_installed_command_finds_it_too(folder: Path) -> None:
    write(folder, {"own_q.py": PAIR})
    command = Path(sys.executable).with_name("hdiff")
    if not command.exists():
        pytest.skip("hdiff is not installed as a command")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [command, "audit", "--corruption", "own_q:Absent"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert "no class 'Absent' is in" in done.stderr


RAISING = """
from hdiff.corruption import UnitMasking


class Failing(UnitMasking):
    conditional_on_structure = False

    def unconditional(self):
        return self

    def units(self, batch, *, generator=None):
        {statement}
"""


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("return batch.unit_lengths", "AttributeError: 'Batch' object has no attribute 'unit_lengths'"),
        ("return missing", "NameError: name 'missing' is not defined"),
        ("return {}['key']", "KeyError: 'key'"),
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("return int('x')", "ValueError: invalid literal"),
        ("return batch.input_ids.view(7, 7, 7)", "RuntimeError: shape"),
        ("return batch.input_ids @ batch.input_ids", "RuntimeError: "),
        ("return batch.units('token', 'phrase')", "TypeError: "),
        ("raise NotImplementedError('later')", "NotImplementedError: later"),
        ("assert False, 'never'", "AssertionError: never"),
        ("raise StopIteration", "StopIteration"),
    ],
)
def test_what_a_component_raises_names_its_file_and_line(
    folder: Path, capsys: pytest.CaptureFixture[str], statement: str, said: str
) -> None:
    """It is no internal error: who wrote the file can mend it."""
    name = f"own_raises_{zlib.crc32(statement.encode())}"
    write(folder, {f"{name}.py": RAISING.format(statement=statement)})
    assert hdiff(["audit", "--corruption", f"{name}:Failing"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert said in message
    assert f"{name}.py, line 12, in units" in message
    assert "internal error" not in message
