"""Kept states: a frozen trunk reads a few corruptions of every row once, and training reads the rest."""

from __future__ import annotations

import json
import shutil
from collections import Counter, namedtuple
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_llada import command, llada, recipe
from torch import Tensor

from hdiff.cli import run as hdiff
from hdiff.config import Recipe
from hdiff.corruption.corrupted import Corrupted
from hdiff.data.prepare.run import prepare
from hdiff.data.sources.prompts import PromptFormat
from hdiff.errors import CheckpointError, RecipeError
from hdiff.recipe import resolve
from hdiff.training.build import Training, build_training
from hdiff.training.keeping import FOLDER, keep_states
from hdiff.training.kept_states import KeptStates
from hdiff.training.trainer import fit
from hdiff.training.update import Updates

pytest.importorskip("transformers", reason="pretrained trunks need transformers")

KEEP = ["train.trainable=head", "train.kept_states=2", "data.train_tokens=60", "supervision=null"]
TOKEN_MASKING = {"corruption": {"kind": "token_masking"}}


@pytest.fixture(scope="module")
def base(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released") / "base"
    llada(folder, prepared_folder)
    return folder


def weights(run: Path, part: str) -> dict[str, Tensor]:
    newest = max((run / "checkpoints").glob("step-*"))
    return load_file(newest / f"{part}.safetensors")


def changed(of: Recipe, **sections: Any) -> Recipe:
    """A recipe with keys of its sections added, or other sections."""
    values = of.model_dump()
    for name, section in sections.items():
        own = values.get(name)
        values[name] = {**own, **section} if name in ("train", "data", "model") and own else section
    return resolve(values, where="test")


def training_of(base: Path, data: Path, output: Path, **sections: Any) -> Training:
    own = recipe(base, data, output, trainable="head", kept_states=2, trackers=[])
    training = build_training(changed(own, data={"train_tokens": 60}, **sections))
    training.path.mkdir(exist_ok=True)
    return training


def all_of(training: Training, kept: KeptStates, row: int) -> dict[int, tuple[Corrupted, Tensor]]:
    """Number of each state of a row -> the state, and the trunk's output at its hidden tokens."""
    batch = training.state.rows.samples(range(row, row + 1))
    asked = torch.arange(1, 4 * kept.num_kept)[:, None] / (4 * kept.num_kept)
    return {int(kept.corrupted(batch, t)[1]) // kept.num_rows: kept(batch, t) for t in asked}


@pytest.mark.parametrize(
    "sections",
    [{}, TOKEN_MASKING, {"train": {"batch_size": 3, "kept_states": 3}}],
    ids=["spans", "tokens", "uneven batches"],
)
def test_what_is_kept_is_what_the_trunk_makes_of_the_state(
    sections: dict[str, Any], base: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    training = training_of(base, prepared_folder, tmp_path / "run", **sections)
    kept = keep_states(training, None)
    assert kept is not None
    model: Any = training.model.eval()
    for row in range(kept.num_rows):
        found = all_of(training, kept, row)
        assert sorted(found) == list(range(kept.num_kept))
        for state, output in found.values():
            with torch.no_grad():
                expected = model.hidden(state.x_t, state.token_mask)[state.is_masked]
            assert torch.allclose(output, expected.bfloat16().float(), rtol=2e-2, atol=1e-2)
            assert torch.equal(output, output.bfloat16().float())


def test_levels_are_evenly_apart_and_the_nearest_is_read(
    base: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    training = training_of(
        base, prepared_folder, tmp_path / "run", train={"kept_states": 4, "steps": 10}, **TOKEN_MASKING
    )
    kept = keep_states(training, None)
    assert kept is not None
    batch = training.state.rows.samples(range(1))
    asked = torch.arange(1, 401) / 400
    hidden, numbers = [], []
    for t in asked:
        corrupted, entries = kept.corrupted(batch, t[None])
        hidden.append(float(corrupted.is_masked.sum()) / 16)
        numbers.append(int(entries) // kept.num_rows)
    assert set(Counter(numbers).values()) <= {99, 100, 101}, "each state is as likely"
    apart = (torch.tensor(hidden) - asked).abs()
    assert bool(((apart < 1 / 8 + 1 / 16) | (apart > 1 - 1 / 8 - 1 / 16)).all()), "levels close in a ring"
    levels = sorted({number: level for number, level in zip(numbers, hidden, strict=True)}.values())
    assert all(abs(b - a - 1 / 4) < 1 / 8 for a, b in pairwise(levels))


def test_updates_do_not_call_the_trunk(base: Path, prepared_folder: Path, tmp_path: Path) -> None:
    training = training_of(base, prepared_folder, tmp_path / "run")
    assert keep_states(training, None) is not None
    calls: list[object] = []
    training.model.trunk.register_forward_pre_hook(lambda *_: calls.append(1))
    update = Updates(training)
    losses = [update(step)["loss"] for step in (1, 2, 3)]
    assert calls == []
    assert all(0 < loss < 20 for loss in losses)


def test_the_states_are_gone_when_the_run_is_finished_and_said_before(
    base: Path, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*command(base, prepared_folder, tmp_path / "run", *KEEP)]
    assert hdiff([word for word in words if word != "-q"]) == 0
    assert "2 x 4 trunk states take" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run" / FOLDER).exists()
    assert hdiff(["eval", str(tmp_path / "run"), "--steps", "1", "--samples", "0", "-q"]) == 0


@pytest.fixture(scope="module")
def whole(base: Path, prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert hdiff(command(base, prepared_folder, run, *KEEP)) == 0
    return run


def lost(folder: Path) -> None:
    shutil.rmtree(folder)


def cut(folder: Path) -> None:
    with (folder / "outputs.bin").open("r+b") as file:
        file.truncate(40)


def begun(folder: Path) -> None:
    """As a kill in the midst of the computation leaves it."""
    known = json.loads((folder / "states.json").read_text())
    hidden = len((folder / "outputs.bin").read_bytes()) // 32
    half = {"key": known["key"], "batches": 0, "tokens": 0}
    (folder / "states.json").write_text(json.dumps(half))
    assert hidden == known["tokens"]


def longer(folder: Path) -> None:
    with (folder / "outputs.bin").open("ab") as file:
        file.write(b"begun")


def of_another(folder: Path) -> None:
    known = json.loads((folder / "states.json").read_text())
    (folder / "states.json").write_text(json.dumps({**known, "key": "of another run"}))
    (folder / "outputs.bin").write_bytes(b"\1" * 32 * known["tokens"])


def damaged(folder: Path) -> None:
    (folder / "states.json").unlink()


@pytest.mark.parametrize(
    "harm",
    [None, lost, cut, begun, longer, of_another, damaged],
    ids=lambda harm: getattr(harm, "__name__", ""),
)
def test_resuming_gives_the_same_bits(
    harm: Any, whole: Path, base: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"

    class Killed(Exception):
        pass

    def kill(step: int) -> None:
        if step == 4:
            raise Killed

    own = recipe(base, prepared_folder, parts, trainable="head", kept_states=2, trackers=[], ema_decay=0.9)
    own = changed(own, data={"train_tokens": 60})
    with pytest.raises(Killed):
        fit(build_training(own), before_update=kill)
    assert (parts / FOLDER / "outputs.bin").is_file()
    if harm is not None:
        harm(parts / FOLDER)
    fit(build_training(own.model_copy(update={"resume": "auto"})))
    for part in ("model", "optimizer", "ema"):
        expected, found = weights(whole, part), weights(parts, part)
        assert all(torch.equal(expected[name], found[name]) for name in expected), part


def test_rows_of_a_mixture_and_answers_to_prompts_are_kept_too(
    base: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    text = tmp_path / "more.txt"
    text.write_text("\n\n".join(f"The old list of {n} words is returned. It is long." for n in range(40)))
    rows = [{"prompt": f"say {n}", "answer": "It is " + "long and " * (n % 5) + "done."} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plain: dict[str, Any] = {"tokenizer": str(prepared_folder), "parser": "plain", "levels": ("sentence",)}
    prepare(str(text), tmp_path / "more", **plain)
    prepare(str(tmp_path / "rows.jsonl"), tmp_path / "asked", text_column=PromptFormat(), **plain)
    both = [{"path": str(prepared_folder)}, {"path": str(tmp_path / "more")}]
    many = {"steps": 40000, "kept_states": 1}
    for name, sections in {
        "mixture": {"data": {"mixture": both}, "train": many},
        "asked": {"data": {"path": str(tmp_path / "asked"), "sequence_length": 48}, "train": many},
    }.items():
        own = recipe(base, prepared_folder, tmp_path / f"run-{name}", trainable="head", trackers=[])
        training = build_training(changed(own, **sections))
        training.path.mkdir()
        kept = keep_states(training, None)
        assert kept is not None
        model: Any = training.model.eval()
        batch = training.state.rows.batch(range(6))  # other neighbours than where they were computed
        corrupted, output = kept(batch, torch.full((6,), 0.7))
        assert batch.given is None or not bool((corrupted.is_masked & batch.given).any())
        with torch.no_grad():
            expected = model.read_spans(corrupted)[1]
        assert torch.allclose(output, expected, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"trainable": "all"}}, "keeps what a frozen trunk computes, and trainable is all"),
        ({"train": {"trainable": "lora"}}, "and trainable is lora"),
        ({"train": {"kept_states": -1}}, "train.kept_states is -1"),
        (
            {"train": {"steps": 3}},
            r"2 x 4 states would be computed, and 6 are read; use train\.kept_states=1",
        ),
        ({"train": {"steps": 1}}, r"and 2 are read; use train\.kept_states=0"),
        ({"length_head": {}}, "the length head reads"),
        ({"supervision": {"targets": ["pos"]}}, "supervision reads"),
        ({"planner": {"level": "phrase"}}, "the planner reads"),
        ({"head": {"kind": "autoregressive", "num_heads": 2, "sees_row": True}}, "sees_row reads"),
        (
            {"corruption": {"kind": "tree_cascade", "levels": ["word"], "types": ["label"], "num_labels": 8}},
            "corruption 'tree_cascade' does not hide whole units alone",
        ),
        (
            {
                "corruption": {
                    "kind": "span_masking",
                    "segmentation": "mixture",
                    "lengths": [1, 1],
                    "final_parsed_fraction": 0.0,
                }
            },
            "final_parsed_fraction changes what is hidden",
        ),
        (
            {
                "corruption": {
                    "kind": "span_masking",
                    "segmentation": "mixture",
                    "lengths": [1, 1],
                    "flagged": True,
                }
            },
            "flags, which corruption.flagged trains",
        ),
    ],
)
def test_states_that_cannot_be_kept_are_refused(
    sections: dict[str, Any], message: str, base: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    own = recipe(base, prepared_folder, tmp_path / "run", trainable="head", kept_states=2, trackers=[])
    with pytest.raises(RecipeError, match=message):
        build_training(changed(own, **{"data": {"train_tokens": 60}, **sections}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("free", "fewer"), [(0, 0), (1500, 1)])
def test_too_little_disk_is_said_before(
    free: int, fewer: int, base: Path, prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(10**9, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    training = training_of(base, prepared_folder, tmp_path / "run")
    with pytest.raises(CheckpointError, match=rf"are free; .*output=DIR train\.kept_states={fewer}$"):
        keep_states(training, None)
    assert not (training.path / FOLDER).exists()
