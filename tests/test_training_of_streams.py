"""Training on mixtures and streams: resumed runs repeat the uninterrupted one, other data is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stops import stop_at

from hdiff.config import Recipe
from hdiff.data.prepared import PreparedData
from hdiff.errors import CheckpointError, DataError, RecipeError
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.metrics_file import read_metrics
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

RECIPE = """
name: streamed
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2, dropout: 0.1}}
head: {{kind: product}}
corruption: {{kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}}
train: {{steps: 8, batch_size: 4, warmup_steps: 2, ema_decay: 0.9, log_every: 1, checkpoint_every: 3}}
"""


@pytest.fixture
def texts(tmp_path: Path, prepared_folder: Path) -> Path:
    """The prepared documents as text, in four files."""
    folder = tmp_path / "texts"
    folder.mkdir()
    rows = [row["text"] for row in PreparedData.load(prepared_folder).split("train")]
    for number in range(4):
        lines = [json.dumps({"text": text[:1500]}) + "\n" for text in rows[number::4]]
        (folder / f"{number}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path, prepared_folder: Path) -> Path:
    file = tmp_path / "streamed.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    return file


def streaming(file: Path, texts: Path, output: Path, *overrides: str) -> Recipe:
    stream = f"data.stream={{source: {texts}, shuffle_buffer: 3}}"
    return load_recipe(file, [stream, f"output={output}", *overrides])


def mixing(file: Path, data: Path, output: Path, *overrides: str) -> Recipe:
    copy = file.parent / "copy"
    if not copy.exists():
        shutil.copytree(data, copy)
    members = f"data.mixture=[{{path: {data}, weight: 2}}, {{path: {copy}, weight: 1}}]"
    return load_recipe(file, [members, f"output={output}", *overrides])


def assert_equal_runs(one: Path, other: Path) -> None:
    whole, parts = (load_checkpoint(run / "checkpoints") for run in (one, other))
    for name, tensor in whole.tensors["model"].items():
        assert torch.equal(tensor, parts.tensors["model"][name]), name
    losses = [
        [(line["step"], line["loss"]) for line in read_metrics(run / "metrics.jsonl")] for run in (one, other)
    ]
    assert losses[0] == losses[1]
    assert whole.state.get("rows") == parts.state.get("rows")


def test_stopped_stream_goes_on_bit_for_bit(recipe_file: Path, tmp_path: Path, texts: Path) -> None:
    assert fit(build_training(streaming(recipe_file, texts, tmp_path / "whole"))).stopped_by is None
    interrupted = build_training(streaming(recipe_file, texts, tmp_path / "parts"))
    assert fit(interrupted, before_update=stop_at(5)).stopped_by == signal.SIGTERM
    assert (
        fit(build_training(streaming(recipe_file, texts, tmp_path / "parts", "resume=auto"))).stopped_by
        is None
    )
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    record = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert record["data"]["stream"]["source"] == str(texts)
    assert record["data"]["train_tokens"] is None
    (state,) = load_checkpoint(tmp_path / "whole" / "checkpoints").state["rows"]
    assert state["rows"] == 8 * 4


@pytest.mark.slow
def test_workers_of_a_stream_change_no_number(recipe_file: Path, tmp_path: Path, texts: Path) -> None:
    """Not even where a run with workers goes on with one that has none."""
    fit(build_training(streaming(recipe_file, texts, tmp_path / "whole")))
    helped = build_training(streaming(recipe_file, texts, tmp_path / "helped", "data.stream.workers=2"))
    fit(helped, before_update=stop_at(4))
    fit(build_training(streaming(recipe_file, texts, tmp_path / "helped", "resume=auto")))
    assert_equal_runs(tmp_path / "whole", tmp_path / "helped")


def test_workers_leave_nothing_behind(recipe_file: Path, tmp_path: Path, texts: Path) -> None:
    """Killed at their work they would leave semaphores, of which Python warns at the end of the training."""
    stream = f"data.stream={{source: {texts}, shuffle_buffer: 3, workers: 2}}"
    words = ["train", str(recipe_file), stream, f"output={tmp_path / 'run'}", "train.steps=2", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "hdiff", *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr


def test_stopped_mixture_goes_on_bit_for_bit(
    recipe_file: Path, tmp_path: Path, prepared_folder: Path
) -> None:
    assert fit(build_training(mixing(recipe_file, prepared_folder, tmp_path / "whole"))).stopped_by is None
    interrupted = build_training(mixing(recipe_file, prepared_folder, tmp_path / "parts"))
    assert fit(interrupted, before_update=stop_at(4)).stopped_by == signal.SIGTERM
    assert (
        fit(
            build_training(mixing(recipe_file, prepared_folder, tmp_path / "parts", "resume=auto"))
        ).stopped_by
        is None
    )
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    members = json.loads((tmp_path / "whole" / "run.json").read_text())["data"]["mixture"]
    assert [member["weight"] for member in members] == [2.0, 1.0]
    assert members[0]["sha256"] == members[1]["sha256"], "a copy"


def mixing_streams(
    file: Path, data: Path, texts: Path, output: Path, *overrides: str, workers: int = 0
) -> Recipe:
    stream = f"{{source: {texts}, shuffle_buffer: 3, workers: {workers}}}"
    members = f"data.mixture=[{{path: {data}, weight: 1}}, {{stream: {stream}, weight: 2}}]"
    return load_recipe(file, [members, f"output={output}", *overrides])


def test_stopped_mixture_with_a_stream_goes_on_bit_for_bit(
    recipe_file: Path, tmp_path: Path, prepared_folder: Path, texts: Path
) -> None:
    """Also where the number of workers is another one."""

    def recipe(name: str, *overrides: str, workers: int = 0, source: Path = texts) -> Recipe:
        return mixing_streams(
            recipe_file, prepared_folder, source, tmp_path / name, *overrides, workers=workers
        )

    assert fit(build_training(recipe("whole"))).stopped_by is None
    interrupted = build_training(recipe("parts"))
    assert fit(interrupted, before_update=stop_at(4)).stopped_by == signal.SIGTERM
    assert fit(build_training(recipe("parts", "resume=auto", workers=1))).stopped_by is None
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    record = json.loads((tmp_path / "whole" / "run.json").read_text())["data"]
    assert record["train_tokens"] is None
    assert record["mixture"][1]["stream"]["source"] == str(texts)
    with pytest.raises(RecipeError, match=r"another recipe \(different: data\.mixture\)"):
        fit(build_training(recipe("whole", "resume=auto", source=texts / "0.jsonl")))


def test_other_text_is_not_resumed(recipe_file: Path, tmp_path: Path, texts: Path) -> None:
    run = tmp_path / "run"
    trainer = build_training(streaming(recipe_file, texts, run))
    fit(trainer, before_update=stop_at(1))
    with pytest.raises(RecipeError, match=r"another recipe \(different: data\.stream\.shuffle_buffer\)"):
        fit(build_training(streaming(recipe_file, texts, run, "resume=auto", "data.stream.shuffle_buffer=4")))
    file = texts / "0.jsonl"
    file.write_text(file.read_text() + '{"text": "One more."}\n')
    with pytest.raises(DataError, match=r"trained on another stream of texts than data\.stream names now"):
        fit(build_training(streaming(recipe_file, texts, run, "resume=auto")))


def test_other_member_of_a_mixture_is_not_resumed(
    recipe_file: Path, tmp_path: Path, prepared_folder: Path
) -> None:
    trainer = build_training(mixing(recipe_file, prepared_folder, tmp_path / "run"))
    fit(trainer, before_update=stop_at(1))
    file = tmp_path / "copy" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "levels": [*manifest["levels"], "sentence"]}))
    with pytest.raises(DataError, match=r"another mixture of texts than data\.mixture names now"):
        fit(build_training(mixing(recipe_file, prepared_folder, tmp_path / "run", "resume=auto")))


def test_mixture_whose_members_were_moved_goes_on(
    recipe_file: Path, tmp_path: Path, prepared_folder: Path
) -> None:
    assert fit(build_training(mixing(recipe_file, prepared_folder, tmp_path / "whole"))).stopped_by is None
    interrupted = build_training(mixing(recipe_file, prepared_folder, tmp_path / "parts"))
    fit(interrupted, before_update=stop_at(4))
    for name in ("one", "two"):
        shutil.copytree(prepared_folder, tmp_path / name)

    def moved(*weights: int) -> Recipe:
        members = [
            f"{{path: {tmp_path / name}, weight: {w}}}"
            for name, w in zip(("one", "two"), weights, strict=True)
        ]
        places = [f"output={tmp_path / 'parts'}", f"data.mixture=[{', '.join(members)}]"]
        return load_recipe(recipe_file, [*places, "resume=auto"])

    with pytest.raises(RecipeError, match=r"another recipe \(different: data\.mixture\)"):
        fit(build_training(moved(1, 1)))
    assert fit(build_training(moved(2, 1))).stopped_by is None
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    recorded = json.loads((tmp_path / "parts" / "run.json").read_text())["data"]["mixture"]
    renewed = load_recipe(tmp_path / "parts" / "recipe.yaml").data.folders()
    places = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert renewed[1:] == [member["path"] for member in recorded] == places


def test_damaged_member_of_a_mixture_is_not_trained_on(
    recipe_file: Path, tmp_path: Path, prepared_folder: Path
) -> None:
    recipe = mixing(recipe_file, prepared_folder, tmp_path / "run")
    file = next((tmp_path / "copy" / "train").glob("*.arrow"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"copy/train/.* has changed since it was prepared"):
        build_training(recipe)


@pytest.mark.slow
def test_two_processes_read_different_rows_and_resume(recipe_file: Path, tmp_path: Path, texts: Path) -> None:
    """torchrun with gloo; then one process alone is refused."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    stream = f"data.stream={{source: {texts}, shuffle_buffer: 3}}"

    def train(name: str, *overrides: str) -> None:
        words = [
            "train",
            str(recipe_file),
            stream,
            f"output={tmp_path / name}",
            "train.batch_size=2",
            *overrides,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        subprocess.run(
            [*command, "-m", "hdiff", *words, "-q"], check=True, env=environment, timeout=600, cwd=tmp_path
        )

    train("whole")
    train("parts")
    newest = sorted((tmp_path / "parts" / "checkpoints").iterdir())[-1]
    shutil.rmtree(newest)  # as if both had been killed after the one before
    train("parts", "resume=auto")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    states = load_checkpoint(tmp_path / "whole" / "checkpoints").state["rows"]
    assert [state["rows"] for state in states] == [16, 16]
    assert states[0]["sha256"] != states[1]["sha256"]
    with pytest.raises(CheckpointError, match="read by 2 processes, now there are 1"):
        fit(build_training(streaming(recipe_file, texts, tmp_path / "parts", "resume=auto")))


@pytest.mark.slow
def test_damage_that_one_process_finds_stops_both(
    recipe_file: Path, tmp_path: Path, prepared_folder: Path
) -> None:
    """Only the first process of a machine hashes the data; the other one must not wait for it for ever."""
    shutil.copytree(prepared_folder, tmp_path / "data")
    (tmp_path / "data" / "rejected.jsonl").write_text("{}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    words = [sys.executable, "-m", "hdiff", "train", str(recipe_file), f"data.path={tmp_path / 'data'}", "-q"]
    processes = [
        subprocess.Popen(
            words,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], said
    assert "rejected.jsonl has changed since it was prepared" in said[0]
    assert "the data is damaged, as another process says" in said[1]
