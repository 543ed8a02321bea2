"""Trackers get the numbers of metrics.jsonl, once each, also when a run is stopped and resumed."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from shared_models import CHECKOUT, TINY

from hdiff.cli import run as hdiff
from hdiff.training.trackers import TOLD_FILE, own_options
from hdiff.training.trainer import _Loop
from hdiff.training.update import Updates

event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="needs pip install '.[train]'"
)


def command(prepared_folder: Path, output: Path, *changes: str) -> list[str]:
    recipe = str(CHECKOUT / "recipes" / "e2e_control.yaml")
    return ["train", recipe, *TINY, f"data.path={prepared_folder}", f"output={output}", "-q", *changes]


def lines_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def points_of(output: Path) -> dict[str, list[tuple[int, float]]]:
    events = event_accumulator.EventAccumulator(str(output / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


class FileTracker(GeneralTracker):  # type: ignore[misc]
    """A tracker of a stranger: appends what it gets to a file."""

    name = "file"
    requires_logging_directory = True
    opened: ClassVar[list[str]] = []

    def __init__(self, run_name: str, logging_dir: Path) -> None:
        super().__init__()
        self.opened.append(run_name)
        self.path = logging_dir / "tracked.jsonl"

    @property
    def tracker(self) -> Path:
        return self.path

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.path.with_name("settings.json").write_text(json.dumps(values))

    def log(self, values: dict[str, Any], step: int | None = None, **_options: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def test_tensorboard_has_the_scalars_of_metrics_jsonl(prepared_folder: Path, tmp_path: Path) -> None:
    assert hdiff(command(prepared_folder, tmp_path / "run", "train.log_every=1")) == 0
    lines = lines_of(tmp_path / "run")
    points = points_of(tmp_path / "run")
    assert set(points) == {name for line in lines for name in line} - {"step"}
    for name, found in points.items():
        expected = [(line["step"], line[name]) for line in lines if name in line]
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-5)


def test_a_resumed_run_has_no_point_twice(
    prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "file", FileTracker)
    changes = ["train.log_every=1", "train.checkpoint_every=2", "train.steps=6", "train.keep_checkpoints=9"]
    changes.append("train.trackers=[tensorboard, file]")
    output = tmp_path / "run"
    assert hdiff(command(prepared_folder, output, *changes)) == 0
    before = lines_of(output)
    # As after a kill between step 5 and the checkpoint of step 6.
    for folder in sorted((output / "checkpoints").iterdir())[1:]:
        shutil.rmtree(folder)
    tracked = output / "tracked.jsonl"
    tracked.write_text("".join(tracked.read_text().splitlines(keepends=True)[:5]))
    (output / TOLD_FILE).write_text("[5, 1]")
    log = output / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:5]))
    assert hdiff(command(prepared_folder, output, *changes, "resume=auto")) == 0
    after = lines_of(output)
    assert [line["step"] for line in after] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in after] == [line["loss"] for line in before]
    assert [step for step, _ in points_of(output)["loss"]] == [1, 2, 3, 4, 5, 6]
    found = [json.loads(line) for line in tracked.read_text().splitlines()]
    assert [line["step"] for line in found] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in found] == [line["loss"] for line in before]
    assert FileTracker.opened == ["e2e_control", "e2e_control"]
    settings = json.loads((output / "settings.json").read_text())
    assert settings["train.steps"] == 6
    assert settings["train.trackers"] == '["tensorboard", "file"]'
    assert settings["head.kind"] == "product"


def test_a_run_that_is_killed_twice_has_no_point_twice_and_none_is_missing(
    prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second resume finds a log that the first one cut; one kill falls into the validation."""
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "file", FileTracker)
    changes = ["train.log_every=1", "train.checkpoint_every=3", "train.steps=6", "train.evaluate_every=2"]
    words = command(prepared_folder, tmp_path / "run", *changes, "train.trackers=[file]", "resume=auto")
    updating, validating = Updates.__call__, _Loop._validate

    def killed_at(step: int) -> None:
        def update(updates: Updates, number: int) -> dict[str, float]:
            if number == step:
                raise KeyboardInterrupt
            return updating(updates, number)

        monkeypatch.setattr(Updates, "__call__", update)

    killed_at(6)
    assert hdiff(words) == 130
    killed_at(5)
    assert hdiff(words) == 130
    monkeypatch.setattr(Updates, "__call__", updating)

    def killed(loop: _Loop, *_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(_Loop, "_validate", killed)
    assert hdiff(words) == 130
    monkeypatch.setattr(_Loop, "_validate", validating)
    assert hdiff(words) == 0
    found = [json.loads(line) for line in (tmp_path / "run" / "tracked.jsonl").read_text().splitlines()]
    told = [(line["step"], "validation_bound" in line) for line in found]
    assert told == [
        (1, False),
        (2, False),
        (2, True),
        (3, False),
        (4, False),
        (4, True),
        (5, False),
        (6, False),
        (6, True),
    ]
    assert [line["step"] for line in lines_of(tmp_path / "run")] == [step for step, _ in told]


def test_runs_have_names_of_their_own_and_are_gone_on_with(prepared_folder: Path, tmp_path: Path) -> None:
    changes = ["train.trackers=[]", "train.checkpoint_every=1", "train.keep_checkpoints=9"]
    for name in ("one", "two"):
        assert hdiff(command(prepared_folder, tmp_path / name, *changes)) == 0
    first = own_options("wandb", tmp_path / "one")
    shutil.rmtree(sorted((tmp_path / "one" / "checkpoints").iterdir())[-1])
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    (tmp_path / "one" / "run.json").write_text(json.dumps({**record, "steps": 0}))
    time.sleep(1.1)  # the record tells whole seconds
    assert hdiff(command(prepared_folder, tmp_path / "one", *changes, "resume=auto")) == 0
    assert first == own_options("wandb", tmp_path / "one")
    assert first["name"] == "one"
    assert first["id"] != own_options("wandb", tmp_path / "two")["id"]
    assert own_options("dvclive", tmp_path / "one") == {
        "dir": str(tmp_path / "one" / "dvclive"),
        "resume": True,
    }
    assert own_options("something else", tmp_path / "one") == {}


@pytest.mark.parametrize(
    ("trackers", "message"),
    [
        ("[tensorbord]", "no tracker 'tensorbord' in train.trackers; did you mean 'tensorboard'?"),
        ("[comet_ml]", "train.trackers names 'comet_ml', which is not installed"),
    ],
)
def test_a_tracker_that_cannot_be_opened_is_refused_before_training(
    trackers: str,
    message: str,
    prepared_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert hdiff(command(prepared_folder, tmp_path / "run", f"train.trackers={trackers}")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_no_tracker_leaves_the_file_alone(prepared_folder: Path, tmp_path: Path) -> None:
    assert hdiff(command(prepared_folder, tmp_path / "run", "train.trackers=[]")) == 0
    assert lines_of(tmp_path / "run")
    assert not (tmp_path / "run" / "tensorboard").exists()
