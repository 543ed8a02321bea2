"""Checkpoints: whatever happens, the newest complete one loads, and damage is noticed."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from hdiff.errors import CheckpointError
from hdiff.files import write_atomically
from hdiff.runs.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint


def save(folder: Path, step: int, keep: int = 2) -> Path:
    return save_checkpoint(
        folder, step, {"model": {"w": torch.full((64,), float(step))}}, {"note": step}, keep=keep
    )


def test_newest_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    loaded = load_checkpoint(tmp_path)
    assert loaded.step == 3
    assert loaded.state["note"] == 3
    assert torch.equal(loaded.tensors["model"]["w"], torch.full((64,), 3.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_flipped_bit_is_noticed_and_the_one_before_is_used(tmp_path: Path) -> None:
    save(tmp_path, 1)
    newest = save(tmp_path, 2) / "model.safetensors"
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(bytes(content))
    with pytest.warns(
        UserWarning, match=r"step-00000002: model.safetensors does not .*step-00000001 is used"
    ):
        assert load_checkpoint(tmp_path).step == 1


def test_every_flipped_bit_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    """The manifest holds the hashes of everything else and has none itself."""
    save(tmp_path, 1)
    manifest = save(tmp_path, 2) / "manifest.json"
    content = manifest.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for bit in range(8 * len(content)):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            manifest.write_bytes(bytes(flipped))
            assert load_checkpoint(tmp_path).step == 1, flipped


@pytest.mark.parametrize(
    "text", ["[]", "null", "7", '{"sha256": []}', '{"sha256": "x"}', "{}", "[" * 100_000, "\xff"]
)
def test_manifest_of_another_form_is_damage(tmp_path: Path, text: str) -> None:
    (save(tmp_path, 1) / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path)


def test_checkpoint_under_the_name_of_another_step_is_damage(tmp_path: Path) -> None:
    save(tmp_path, 1).rename(tmp_path / "step-00000009")
    with pytest.raises(CheckpointError, match=r"step-00000009: it is of step 1"):
        load_checkpoint(tmp_path)


def test_damaged_later_checkpoint_does_not_push_out_the_new_one(tmp_path: Path) -> None:
    """Training goes on from step 1, because step 3 is damaged, and saves step 2 with room for one."""
    save(tmp_path, 1)
    (save(tmp_path, 3) / "model.safetensors").write_bytes(b"")
    save(tmp_path, 2, keep=1)
    assert load_checkpoint(tmp_path).step == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_damaged_checkpoint_is_kept_aside_and_pushes_no_good_one_out(tmp_path: Path) -> None:
    save(tmp_path, 3)
    damaged = save(tmp_path, 5)
    (damaged / "model.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match=r"kept there as \.damaged-step-\*; step-00000003 is used instead"):
        assert load_checkpoint(tmp_path, trains=True).step == 3
    save(tmp_path, 6)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".damaged-step-00000005", "step-00000003", "step-00000006"]
    assert (tmp_path / ".damaged-step-00000005" / "model.safetensors").read_bytes() == b"half"
    assert load_checkpoint(tmp_path).step == 6


def test_step_that_is_damaged_twice_is_kept_aside_once(tmp_path: Path) -> None:
    save(tmp_path, 3)
    for content in (b"one", b"two"):
        (save(tmp_path, 5) / "model.safetensors").write_bytes(content)
        with pytest.warns(UserWarning, match="step-00000003 is used instead"):
            assert load_checkpoint(tmp_path, trains=True).step == 3
    assert (tmp_path / ".damaged-step-00000005" / "model.safetensors").read_bytes() == b"two"


def test_reader_of_damaged_checkpoints_writes_nothing(tmp_path: Path) -> None:
    save(tmp_path, 3)
    (save(tmp_path, 5) / "model.safetensors").write_bytes(b"")
    (tmp_path / ".removing-step-00000001").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.warns(UserWarning, match="step-00000003 is used instead"):
        load_checkpoint(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_checkpoints_that_are_all_damaged_stay_where_they_are(tmp_path: Path) -> None:
    """Or the next start would find none, and train from the beginning over what is left."""
    (save(tmp_path, 1) / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path, trains=True)
    assert has_checkpoint(tmp_path)


def test_reader_takes_the_new_checkpoint_if_the_one_it_reads_is_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training saves step 6 and prunes step 3 after the reader has listed it, before or while it reads."""
    read_text, read_bytes = Path.read_text, Path.read_bytes

    def save_once(path: Path) -> None:
        if path.parent.name == "step-00000003" and path.exists():
            save(tmp_path / method, 6, keep=1)

    def text(path: Path, encoding: str | None = None) -> str:
        if method == "read_text":
            save_once(path)
        return read_text(path, encoding=encoding)

    def content(path: Path) -> bytes:
        if method == "read_bytes":
            save_once(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_text", text)
    monkeypatch.setattr(Path, "read_bytes", content)
    for method in ("read_text", "read_bytes"):
        save(tmp_path / method, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_checkpoint(tmp_path / method).step == 6


READING = """
import sys
from pathlib import Path
from hdiff.runs.checkpoint import load_checkpoint
steps = set()
while len(steps) < 20:
    steps.add(load_checkpoint(Path(sys.argv[1])).step)
"""


def test_reader_beside_a_training_that_keeps_one_checkpoint_finds_each_time_one(tmp_path: Path) -> None:
    save(tmp_path, 1, keep=1)
    words = [sys.executable, "-W", "error:damaged in", "-c", READING, str(tmp_path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as reader:
        step = 1
        while reader.poll() is None:
            step += 1
            save(tmp_path, step, keep=1)
        assert reader.stderr is not None
        assert reader.returncode == 0, reader.stderr.read()


def test_remains_of_a_killed_save_are_removed_by_the_next(tmp_path: Path) -> None:
    for left in (".writing-step-00000007", ".removing-step-00000006"):
        (tmp_path / left).mkdir()
    save(tmp_path, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000008"]


def test_remains_of_a_killed_pruning_are_removed_by_the_next_start(tmp_path: Path) -> None:
    """There may be no save any more: the run was killed while it pruned after its last update."""
    save(tmp_path, 8)
    (tmp_path / ".removing-step-00000006").mkdir()
    load_checkpoint(tmp_path, trains=True)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000008"]


def test_all_damaged_is_said_with_reasons(tmp_path: Path) -> None:
    (save(tmp_path, 1) / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"every checkpoint .* is damaged \(step-00000001: model.safetensors"
    ):
        load_checkpoint(tmp_path)


def test_half_written_folder_does_not_count(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-00000002").mkdir()
    (tmp_path / "step-00000002" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".writing-step-00000003").mkdir()
    assert load_checkpoint(tmp_path).step == 1
    assert save(tmp_path, 2).is_dir()
    assert load_checkpoint(tmp_path).step == 2


def test_manifest_cannot_name_files_outside(tmp_path: Path) -> None:
    manifest = save(tmp_path, 1) / "manifest.json"
    manifest.write_text(json.dumps({"step": 1, "sha256": {"../../secret": "00"}}, indent=1))
    with pytest.raises(CheckpointError, match="outside the checkpoint"):
        load_checkpoint(tmp_path)


def test_empty_folder_says_how_to_train(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train first: hdiff train"):
        load_checkpoint(tmp_path / "none")


FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from hdiff.runs.checkpoint import save_checkpoint
from hdiff.errors import CheckpointError
folder = Path(sys.argv[1])
save_checkpoint(folder, 1, {"model": {"w": torch.zeros(64)}}, {}, keep=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save_checkpoint(folder, 2, {"model": {"w": torch.zeros(100_000)}}, {}, keep=1)
except CheckpointError as error:
    print(error)
"""


def test_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """The kernel refuses to write past a limit, as it does on a full disk."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "no room on the disk" in done.stdout
    assert "resume=auto" in done.stdout
    assert load_checkpoint(tmp_path).step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


KILLED = """
import sys
from pathlib import Path
import torch
from hdiff.runs.checkpoint import save_checkpoint
for step in range(1, 10_000):
    save_checkpoint(Path(sys.argv[1]), step, {"model": {"w": torch.full((5000,), float(step))}}, {}, keep=1)
    print(step, flush=True)
"""


def test_kill_in_the_middle_of_saving_loses_nothing(tmp_path: Path) -> None:
    """Killed three times during back-to-back saves that keep only one: the newest announced one loads."""
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        announced = 0
        for _ in range(5 + 7 * attempt):
            announced = int(process.stdout.readline())
        process.kill()
        process.wait()
        loaded = load_checkpoint(folder)
        assert loaded.step >= announced
        assert torch.equal(loaded.tensors["model"]["w"], torch.full((5000,), float(loaded.step)))


def test_text_files_are_replaced_in_one_step(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", "one")
    write_atomically(tmp_path / "a.json", "two")
    assert (tmp_path / "a.json").read_text() == "two"
    assert len(list(tmp_path.iterdir())) == 1
