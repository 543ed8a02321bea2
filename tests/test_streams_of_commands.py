"""-q, --json and NO_COLOR in every command: what goes to stdout, what to stderr, and what is left out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import on_a_terminal
from typer.main import get_command

from hdiff.cli import app
from hdiff.cli import run as hdiff

CHECKOUT = Path(__file__).resolve().parents[1]
TREES = """(S (NP (DT The) (NN list)) (VP (VBZ is) (ADJP (JJ long))))
(S (NP (DT The) (JJ old) (NN list)) (VP (VBZ is) (ADJP (JJ long))))
"""
ABLATION = """
name: two
base: {recipe}
output: {output}
seeds: [0]
set:
  data.path: {data}
  data.sequence_length: 32
  train: {{steps: 2, warmup_steps: 1, batch_size: 4}}
  model: {{width: 16, depth: 1, num_heads: 2}}
  evaluation: {{steps: [1], blocks: 1, draws: 1, samples: 2}}
baseline: one
variants:
  one: {{}}
  two: {{model: {{width: 32, depth: 1, num_heads: 2}}}}
"""
SMALL = ["--prefixes", "3", "--masks", "8", "--pairs", "4"]

COMMANDS: dict[str, list[str]] = {
    "tour": ["tour", "builtin:stories"],
    "prepare": [
        "prepare",
        "builtin:phrase_bank",
        "--out",
        "OUT",
        "--parser",
        "plain",
        "--levels",
        "",
        "--limit",
        "40",
    ],
    "plan": ["prepare", "builtin:phrase_bank", "--out", "OUT", "--parser", "plain", "--levels", "", "--plan"],
    "train": [
        "train",
        "RECIPES/baselines/token_masking.yaml",
        "output=OUT",
        "data.path=DATA",
        "train.steps=2",
        "train.warmup_steps=1",
        "train.batch_size=4",
        "data.sequence_length=32",
        "model={width: 16, depth: 1, num_heads: 2}",
    ],
    "eval": ["eval", "RUN", "--steps", "1"],
    "sample": ["sample", "RUN", "--num", "1"],
    "trajectory": ["sample", "RUN", "--num", "1", "--trajectory", "OUT"],
    "inspect": ["inspect", "The old dog slept.", "--parser", "plain", "--level", "word", "--html", "OUT"],
    "report": ["report", "RUN"],
    "export": ["export", "RUN", "OUT"],
    "diagnose": ["diagnose", "RUN", *SMALL],
    "doctor": ["doctor"],
    "audit": ["audit", "--corruption", "token_masking"],
    "parser eval": ["parser", "eval", "GOLD", "--parser", "spacy"],
    "ablate plan": ["ablate", "ABLATION", "--plan"],
    "ablate": ["ablate", "ABLATION"],
}
SILENT = {"prepare", "plan", "train", "report", "export"}
"""Commands that only write files: with -q nothing is printed."""
WITH_JSON = [
    "tour",
    "eval",
    "sample",
    "trajectory",
    "diagnose",
    "doctor",
    "audit",
    "parser eval",
    "ablate plan",
    "ablate",
]


@pytest.fixture(scope="module")
def run(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams") / "run"
    recipe = str(CHECKOUT / "recipes" / "baselines" / "token_masking.yaml")
    tiny = ["model={width: 16, depth: 1, num_heads: 2}", "train={steps: 2, batch_size: 4, warmup_steps: 1}"]
    tiny += ["data.sequence_length=32", "evaluation={steps: [1], blocks: 1, draws: 1, samples: 2}"]
    assert hdiff(["train", recipe, *tiny, f"data.path={prepared_folder}", f"output={folder}", "-q"]) == 0
    return folder


@pytest.fixture
def words(run: Path, prepared_folder: Path, tmp_path: Path):
    """The words of a command, on a run of its own."""
    gold = tmp_path / "gold.ptb"
    gold.write_text(TREES)
    ablation = tmp_path / "two.yaml"
    recipe = CHECKOUT / "recipes" / "baselines" / "token_masking.yaml"
    ablation.write_text(ABLATION.format(recipe=recipe, output=tmp_path / "two", data=prepared_folder))
    own = Path(shutil.copytree(run, tmp_path / "run"))
    places = {"RECIPES": CHECKOUT / "recipes", "OUT": tmp_path / "out", "DATA": prepared_folder}
    places |= {"RUN": own, "GOLD": gold, "ABLATION": ablation}

    def fill(name: str) -> list[str]:
        pattern = re.compile("|".join(places))
        return [pattern.sub(lambda match: str(places[match[0]]), word) for word in COMMANDS[name]]

    return fill


def test_every_command_is_quiet_on_demand_and_tried_here() -> None:
    known = get_command(app)
    names = {name: command for name, command in known.commands.items() if name not in ("parser", "serve")}
    names |= {f"parser {name}": command for name, command in known.commands["parser"].commands.items()}
    quiet = {name for name, command in names.items() if any("-q" in option.opts for option in command.params)}
    assert quiet == set(names)
    assert set(names) - {"parser train"} <= set(COMMANDS)
    as_json = {
        name for name, command in names.items() if any("--json" in option.opts for option in command.params)
    }
    assert as_json <= set(WITH_JSON)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_quiet_command_prints_results_only(name: str, words, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    code = hdiff([*words(name), "-q"])
    captured = capfd.readouterr()
    assert code == 0, captured.err
    assert captured.err == ""
    assert (captured.out == "") == (name in SILENT)


@pytest.mark.parametrize("name", WITH_JSON)
def test_json_is_one_value_that_any_reader_takes(name: str, words, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    capfd.readouterr()
    assert hdiff([*words(name), "--json"]) == 0
    out = capfd.readouterr().out
    assert json.loads(out, parse_constant=refuse)
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["prepare", "train", "eval", "sample", "inspect", "diagnose", "doctor", "parser eval"]
)
def test_without_colour_a_terminal_is_sent_no_style(name: str, words) -> None:
    shown = on_a_terminal([sys.executable, "-m", "hdiff", *words(name)], NO_COLOR="1")
    assert re.findall(rb"\x1b\[[\d;]*m", shown) == []


def test_with_colour_a_terminal_is_sent_some(words) -> None:
    shown = on_a_terminal([sys.executable, "-m", "hdiff", *words("doctor")])
    assert re.findall(rb"\x1b\[[\d;]*m", shown)


@pytest.mark.parametrize("name", ["train", "eval", "diagnose", "ablate"])
def test_progress_goes_to_stderr(name: str, words) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hdiff", *words(name)], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stderr
    before = done.stdout.partition("trained")[0]
    assert not re.search(r"step \d+ of|left out:", before) or name == "diagnose"


@pytest.mark.parametrize("name", ["diagnose", "ablate"])
def test_people_are_shown_no_markup(name: str, words, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert hdiff(words(name)) == 0
    out = capfd.readouterr().out
    for markup in ("&lt;", "&amp;", "|---", "![", "\n#"):
        assert markup not in out
    assert not re.search(r"(?<!\|)\| ", out), "a column of a Markdown table"
    assert not out.startswith("#")
