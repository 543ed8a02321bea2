"""Cases of ../shared/cases that need a run: read-only folders, scripts, components, requests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from case_commands import CASES, PLAIN, case, prepare, train
from read_only import read_only

from hdiff.cli import run as hdiff

MOVED = {
    "hdiff.pipeline": "hdiff.sharing.pipeline",
    "hdiff.models.trunk": "hdiff.layers.trunk",
    "hdiff.data.prepare import": "hdiff.data.prepare.run import",
}
"""Modules that the scripts import from where they were."""
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not beside this checkout")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of English sentences about code."""
    folder = tmp_path_factory.mktemp("cases")
    sentence = "The list of {0} words is returned by the function. A class has {0} arguments and one name."
    (folder / "t.txt").write_text("\n\n".join(sentence.format(number) for number in range(90)))
    prepare(folder / "t.txt", folder / "data", *PLAIN, "--tokenizer", "train:400")
    return folder / "data"


@pytest.fixture(scope="module")
def trained(plain: Path) -> Path:
    spans = "corruption={kind: span_masking, segmentation: random, lengths: {1: 0.5, 3: 0.5}}"
    return train(plain, plain.parent / "runs" / "quickstart", spans)


@pytest.mark.parametrize(
    "words", [["sample", "RUN", "--num", "1"], ["eval", "RUN", "--steps", "1"], ["report", "RUN"]]
)
def test_a_run_that_may_not_be_written_prints_or_refuses(
    words: list[str], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case("63").is_dir()
    with read_only(trained):
        code = hdiff([str(trained) if word == "RUN" else word for word in words])
    said = capsys.readouterr()
    assert code in (0, 2)
    assert said.out if code == 0 else len(said.err.splitlines()[-1]) < 300


@pytest.mark.parametrize("way", ["own reader", "json"])
def test_a_null_in_a_stream_is_counted(
    way: str, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case("82").is_dir()
    rows = [json.dumps({"text": f"Number {index} is here, and that is all."}) for index in range(200)]
    (tmp_path / "t.jsonl").write_text("\n".join([*rows, '{"text": null}', *rows[:20]]))
    source = {"own reader": f"source: {tmp_path / 't.jsonl'}"}.get(
        way, f"source: json, data_files: {tmp_path / 't.jsonl'}"
    )
    train(plain, tmp_path / "run", f"data.stream={{{source}}}", "train.steps=60")
    assert "null in column 'text'" in capsys.readouterr().out
    (row,) = map(json.loads, (tmp_path / "run" / "rejected.jsonl").read_text().splitlines())
    assert row["place"].endswith("t.jsonl line 201")


def test_a_foreign_model_is_diagnosed_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="foreign models need transformers")
    from tiny_checkpoints import TEXT, make_bert, make_llama

    assert case("84").is_dir()
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    for model in (make_bert(tmp_path / "a"), make_llama(tmp_path / "b", is_causal=True)):
        words = ["diagnose", f"hf:{model}", "--text", str(tmp_path / "t.txt"), "--prefixes", "2"]
        assert hdiff([*words, "--pairs", "2", "-q"]) in (0, 2)


def script(name: str, folder: Path) -> list[str]:
    """Runs a script whole; its lines."""
    text = (case(name) / "t.py").read_text(encoding="utf-8")
    for old, new in MOVED.items():
        text = text.replace(old, new)
    (folder / "t.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "t.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def failures(lines: list[str]) -> dict[str, str]:
    """What failed, and with which sentence of hdiff; no other error may come."""
    found = dict(line.split(" FAIL ", 1) for line in lines if " FAIL " in line)
    strange = {
        what: said for what, said in found.items() if not re.match(r"(Data|Parser|Recipe)Error ", said)
    }
    assert strange == {}
    return found


def test_a_script_without_a_main_guard_prepares_with_workers(tmp_path: Path) -> None:
    assert case("71").is_dir()
    (tmp_path / "base.txt").write_text(
        "\n\n".join(f"Number {n} is here.\nAnd that is all." for n in range(40))
    )
    (line,) = script("71", tmp_path)
    assert "'documents': 37" in line


@pytest.mark.slow
def test_components_work_or_refuse_with_a_sentence(trained: Path) -> None:
    assert case("72").is_dir()
    lines = script("72", trained.parents[1])
    refused = failures(lines)
    assert {what for what in refused if not what.startswith("Batch ")} == {"pipeline 0 samples"}
    assert len(lines) >= 45
    assert not [
        line for line in lines if re.search(r" ok .*\b(False|nan)\b", line) and "True, False" not in line
    ]


@pytest.mark.slow
def test_requests_of_the_harness_have_numbers_that_fit_or_a_sentence(trained: Path) -> None:
    pytest.importorskip("lm_eval", reason="the harness is not installed; pip install '.[harness]'")
    assert case("76").is_dir()
    lines = script("76", trained.parents[1])
    refused = failures(lines)
    assert {
        what.rpartition(", '")[2].partition("'")[0] if what.startswith("gen {") else what for what in refused
    } == {
        *("lone surrogate", "gen infill no gap", "max_new_tokens", "max_length", "num_beams"),
        *("skip_special_tokens", "max_gen_toks", "repetition_penalty", "seed"),
    }
    scores = [float(nats) for line in lines for nats in re.findall(r"\((-?[\d.]+), (?:True|False)\)", line)]
    assert len(scores) > 12
    assert all(nats <= 0 for nats in scores)
