"""Workers: killed, hanging or on another engine, they give the same data; what kills them is left out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hdiff.cli import run as main
from hdiff.data.prepare import documents
from hdiff.data.prepare.run import prepare, prepare_share
from hdiff.errors import DataError

PARSER = '''
"""A parser that dies or hangs at certain words, the first so many times."""

import os
import signal
import time
from pathlib import Path

from hdiff.parsers import Parser, PlainParser


class Dangerous(Parser):
    name = "dangerous"
    levels = PlainParser.levels
    takes_model = True

    def __init__(self, folder):
        self.folder = Path(folder)

    def parse(self, texts):
        for text in texts:
            for word, times in (("ONCE", 1), ("ALWAYS", 1000), ("HANG", 1000)):
                marks = self.folder / word
                marks.mkdir(exist_ok=True)
                if word in text and len(list(marks.iterdir())) < times:
                    (marks / str(time.time_ns())).touch()
                    if word == "HANG":
                        time.sleep(1000)
                    os.kill(os.getpid(), signal.SIGKILL)
            yield from PlainParser().parse([text])

    def fingerprint(self):
        if (self.folder / "broken").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return {"name": "dangerous"}
'''

SCRIPT = """
import sys
from hdiff.data.prepare import documents
from hdiff.data.prepare.run import prepare, prepare_share
from hdiff.errors import DataError

if __name__ == "__main__":
    documents.SHARD_CHARACTERS = 500
    options = dict(levels=("sentence",), tokenizer="words", workers=2)
    try:
        prepare(sys.argv[1], sys.argv[2], parser=sys.argv[3], engine=sys.argv[4], timeout=5.0, **options)
    except DataError as error:
        sys.exit(f"DataError: {error}")
"""


@pytest.fixture
def texts() -> list[str]:
    return [f"Number {i} is here.\nThe next is {i + 1}." for i in range(60)]


def write(folder: Path, texts: list[str]) -> str:
    file = folder / "text.txt"
    file.write_text("\n\n".join(texts), encoding="utf-8")
    return str(file)


def digests(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.arrow"))
    }


def run(folder: Path, source: str, parser: str, engine: str = "local") -> subprocess.CompletedProcess[str]:
    (folder / "marks").mkdir(exist_ok=True)
    (folder / "dangerous").mkdir(exist_ok=True)
    (folder / "dangerous" / "parser.py").write_text(PARSER, encoding="utf-8")
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    command = [sys.executable, str(folder / "script.py"), source, str(folder / "out"), parser, engine]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=180)


def dangerous(folder: Path) -> str:
    return f"dangerous.parser:Dangerous:{folder / 'marks'}"


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "manifest.json").read_bytes())
    return found


def plain(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same texts without any danger, in this process."""
    monkeypatch.setattr(documents, "SHARD_CHARACTERS", 500)
    prepare(source, folder / "whole", parser="plain", levels=("sentence",), tokenizer="words")
    return digests(folder / "whole")


def test_a_killed_worker_is_replaced_and_nothing_is_lost(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts[20] += " ONCE"
    source = write(tmp_path, texts)
    healed = run(tmp_path, source, dangerous(tmp_path))
    assert healed.returncode == 0, healed.stderr
    assert len(list((tmp_path / "marks" / "ONCE").iterdir())) == 1
    assert manifest(tmp_path)["rejected"] == {}
    assert digests(tmp_path / "out") == plain(tmp_path, source, monkeypatch)


def test_a_document_that_kills_three_times_is_left_out(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = [7, 41]
    for number in deadly:
        texts[number] += " ALWAYS"
    done = run(tmp_path, write(tmp_path, texts), dangerous(tmp_path))
    assert done.returncode == 0, done.stderr
    assert manifest(tmp_path)["rejected"] == {"parsing it kills its process": 2}
    rows = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert sorted(row["text"] for row in rows) == sorted(texts[number] for number in deadly)
    assert sum(counts["documents"] for counts in manifest(tmp_path)["counts"].values()) == 58


def test_a_document_that_hangs_is_left_out(texts: list[str], tmp_path: Path) -> None:
    texts[30] += " HANG"
    began = time.monotonic()
    done = run(tmp_path, write(tmp_path, texts), dangerous(tmp_path))
    assert done.returncode == 0, done.stderr
    assert manifest(tmp_path)["rejected"] == {"parsing it takes longer than 5 seconds": 1}
    assert time.monotonic() - began < 120


def test_workers_that_die_before_any_document_are_reported(texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    parser = PARSER.replace('(self.folder / "broken").exists()', "os.getppid() != int(os.environ['MAIN'])")
    source = write(tmp_path, texts)
    script = SCRIPT.replace("import sys", "import os, sys", 1).replace(
        "    documents", "    os.environ['MAIN'] = str(os.getppid())\n    documents", 1
    )
    (tmp_path / "dangerous").mkdir()
    (tmp_path / "dangerous" / "parser.py").write_text(parser, encoding="utf-8")
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(tmp_path / "script.py"), source, str(tmp_path / "out")]
    failed = subprocess.run(
        [*command, dangerous(tmp_path), "local"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert "DataError: parsing workers were killed 3 times at the same shard" in failed.stderr
    assert "finished shards are kept: --workers 1" in failed.stderr


@pytest.mark.parametrize("engine", ["ray", "datatrove"])
@pytest.mark.slow
def test_other_engines_give_the_same_data(
    engine: str, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(engine, reason=f"pip install '.[{engine}]'")
    source = write(tmp_path, texts)
    done = run(tmp_path, source, "plain", engine)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "out") == plain(tmp_path, source, monkeypatch)


@pytest.mark.parametrize("engine", ["ray", "datatrove"])
@pytest.mark.slow
def test_other_engines_leave_out_what_kills_or_hangs(engine: str, texts: list[str], tmp_path: Path) -> None:
    pytest.importorskip(engine, reason=f"pip install '.[{engine}]'")
    texts[7] += " ALWAYS"
    texts[41] += " HANG"
    done = run(tmp_path, write(tmp_path, texts), dangerous(tmp_path), engine)
    assert done.returncode == 0, done.stderr
    assert manifest(tmp_path)["rejected"] == {
        "parsing it kills its process": 1,
        "parsing it takes longer than 5 seconds": 1,
    }
    assert sum(counts["documents"] for counts in manifest(tmp_path)["counts"].values()) == 58


def test_unknown_engines_are_refused(texts: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'local'"):
        prepare(write(tmp_path, texts), tmp_path / "out", parser="plain", engine="locl")


def test_a_cache_spares_the_parser(texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "SHARD_CHARACTERS", 500)
    source = write(tmp_path, texts)
    options: dict[str, Any] = {"parser": "plain", "levels": ("sentence",)}
    cache = tmp_path / "cache"
    prepare(source, tmp_path / "one", **options, tokenizer="words", cache=cache)
    shards = {path: path.stat().st_mtime_ns for path in cache.rglob("*.jsonl")}
    assert len(shards) > 3
    without = prepare(source, tmp_path / "two", **options, tokenizer="train:300")
    monkeypatch.setattr("hdiff.data.prepare.parse_step.parse_texts", _must_not_run)
    cached = prepare(source, tmp_path / "three", **options, tokenizer="train:300", cache=cache)
    assert cached["sha256"] == without["sha256"]
    damaged = next(iter(shards))
    damaged.write_bytes(b"x")
    with pytest.raises(AssertionError, match="parsed again"):
        prepare(source, tmp_path / "four", **options, tokenizer="words", cache=cache)


def _must_not_run(*_: Any) -> None:
    raise AssertionError("parsed again")


def test_shares_parsed_apart_give_the_same_data(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, texts)
    expected = plain(tmp_path, source, monkeypatch)
    options: dict[str, Any] = {"parser": "plain", "levels": ("sentence",), "tokenizer": "words"}
    out = tmp_path / "out"
    with pytest.raises(DataError, match="holds no plan; run the same command once without --shard-index"):
        prepare_share(source, out, share=(0, 2), **options)
    shards = prepare_share(source, out, share=None, **options)
    assert shards == sum(prepare_share(source, out, share=(index, 2), **options) for index in (1, 0))
    with pytest.raises(DataError, match=r"plan for other inputs \(different: tokenizer\)"):
        prepare_share(source, out, share=(0, 2), **{**options, "tokenizer": "words:9"})
    with pytest.raises(DataError, match="share 2 of 2 does not exist"):
        prepare_share(source, out, share=(2, 2), **options)
    monkeypatch.setattr("hdiff.data.prepare.parse_step.parse_texts", _must_not_run)
    prepare(source, out, **options)
    assert digests(out) == expected
    with pytest.raises(DataError, match="holds a finished data set"):
        prepare_share(source, out, share=(0, 2), **options)


@pytest.mark.slow
def test_an_executor_of_datatrove_parses_shares(texts: list[str], tmp_path: Path) -> None:
    pytest.importorskip("datatrove", reason="pip install '.[datatrove]'")
    from datatrove.executor import LocalPipelineExecutor

    from hdiff.data.prepare.datatrove_engine import ShareStep

    source, out = write(tmp_path, texts), tmp_path / "out"
    options: dict[str, Any] = {"parser": "plain", "levels": ("sentence",), "tokenizer": "words"}
    shards = prepare_share(source, out, share=None, **options)
    LocalPipelineExecutor(
        pipeline=[ShareStep(source, str(out), **options)],
        tasks=2,
        workers=2,
        logging_dir=str(tmp_path / "logs"),
    ).run()
    assert len(list((out / "unfinished" / "trees").glob("*.ok.json"))) == shards
    assert prepare(source, out, **options)["rejected"] == {}


def test_the_command_plans_parses_shares_and_finishes(
    texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prepare", write(tmp_path, texts), "--out", str(tmp_path / "out"), "--parser", "plain"]
    command += ["--levels", "sentence", "--tokenizer", "words"]
    assert main([*command, "--shard-index", "0"]) == 2
    assert "run the same command once without --shard-index and with --plan" in capsys.readouterr().err
    assert main([*command, "--plan"]) == 0
    assert "2 shards to parse" in capsys.readouterr().out
    for index in ("0", "1"):
        assert main([*command, "--shard-index", index, "--num-shards", "2"]) == 0
    assert "share 1 of 2: 1 shards" in capsys.readouterr().out
    assert main(command) == 0
    assert "train: " in capsys.readouterr().out


def test_a_treebank_is_source_and_parser(tmp_path: Path) -> None:
    tree = "(S (NP (DT The) (NN dog)) (VP (VBD saw) (NP (CD {})))  (. .))"
    file = tmp_path / "gold.ptb"
    file.write_text("\n".join(tree.format(number) for number in range(40)), encoding="utf-8")
    spec = f"treebank:{file}"
    found = prepare(spec, tmp_path / "out", parser=spec, tokenizer="words", validation_fraction=0.2)
    assert found["counts"]["train"]["spans"]["phrase"] == 3 * found["counts"]["train"]["documents"]
    assert found["labels"] == ["DET", "NOUN", "NP", "NUM", "PUNCT", "VERB", "VP"]
