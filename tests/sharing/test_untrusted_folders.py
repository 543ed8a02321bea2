"""Folders that are no model, damaged, or made to harm are refused with a remedy, before anything is built."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import damaged_folders as damaged
import pytest
from damaged_folders import MARK
from shared_models import change_config

from hdiff.cli import run as hdiff
from hdiff.errors import CheckpointError, UserError
from hdiff.sharing import PretrainedModel
from hdiff.strict_yaml import parse_yaml, write_yaml

MOST_SECONDS = 20.0
MOST_KILOBYTES = 1_000_000
"""Peak of this process over what it was before; sizes that are claimed are thousands of times larger."""


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a newer format": (
        partial(change_config, format_version=2, hdiff_version="9.0", unheard_of=1),
        "format version 2, this hdiff reads up to 1; install hdiff 9.0.*its checkout",
    ),
    "a version that is none": (
        partial(change_config, format_version="1; rm -rf /"),
        "format version '1; rm -rf /'",
    ),
    "a model of transformers": (damaged.of_transformers, "one of transformers .'bert'.; .* model.pretrained"),
    "a configuration cut off": (damaged.cut_off, "is not JSON"),
    "an unknown key": (partial(change_config, surprise=1), "surprise.*download or export it again"),
    "another tokenizer": (damaged.renamed_token, "tokenizer.json is not the tokenizer .* put the file back"),
    "other weights": (damaged.other_weights, "is not the weights .* put the file back"),
    "pickled weights": (damaged.pickle_beside, "pytorch_model.bin, a pickle.*safetensors only"),
    "a pickle called safetensors": (damaged.pickle_inside, "a pickle under another name"),
    "no safetensors": (damaged.not_tensors, "is no safetensors file"),
    "tensors of another shape": (damaged.other_shape, "head.embedding.weight of shape"),
    "a file above the folder": (
        partial(change_config, sha256={"model.safetensors": "0", "../../etc/passwd": "0"}),
        "names the files .*passwd",
    ),
    "a file anywhere": (
        partial(change_config, sha256={"/etc/passwd": "0", "tokenizer.json": "0"}),
        "names the files .*passwd",
    ),
    "a link out of the folder": (damaged.link, "a link that leads out of the folder"),
    "a linked configuration": (damaged.link_to_config, "a link that leads out of the folder"),
    "a configuration of a gigabyte": (damaged.huge_config, "at most .* are read"),
    "nested without end": (damaged.deep_json, "is not JSON"),
    "a width without weights": (partial(damaged.changed_model, width=10**6), "config.json asks for"),
    "a depth without weights": (
        partial(damaged.changed_model, depth=10**6),
        "model.depth: Input should be less than or equal to",
    ),
    "an absurd number": (
        partial(change_config, head={"kind": "mixture", "num_components": 10**15}),
        "num_components: 1000000000000000",
    ),
    "a width beyond reason": (
        partial(damaged.changed_model, width=10**9),
        "model.width: Input should be less than or equal to",
    ),
    "a depth beyond reason": (
        partial(damaged.changed_model, depth=10**9),
        "model.depth: Input should be less than or equal to",
    ),
    "a foreign trunk deep beyond reason": (
        partial(change_config, trunk_config={"model_type": "bert", "num_hidden_layers": 10**9}),
        "too few for the 1000000000 layers",
    ),
    "a vocabulary beyond reason": (
        partial(change_config, vocab_size=10**12),
        "config.json says 1000000000000",
    ),
    "a header that claims terabytes": (
        damaged.one_tensor("F32", [1 << 20, 1 << 20], [0, 1 << 42]),
        "its tensors end at 4,398,046,511,104 of 0 bytes",
    ),
    "terabytes of nothing": (damaged.sparse_terabytes, "at most 137,438,953,472 are read"),
    "a shape that overflows": (
        damaged.one_tensor("F32", [1 << 33, 1 << 33], [0, 4], 4),
        "in 4 bytes",
    ),
    "a negative shape": (
        damaged.one_tensor("F32", [-1], [4, 0]),
        "is no safetensors file .*shape",
    ),
    "a shape of fractions": (
        damaged.one_tensor("F32", [1.5], [0, 4], 4),
        "is no safetensors file .*shape",
    ),
    "a header nested without end": (
        partial(damaged.headed_weights, header=b"[" * 200_000),
        "is no safetensors file",
    ),
    "a header that is a list": (partial(damaged.headed_weights, header=[1, 2]), "is no safetensors file"),
    "complex numbers": (
        damaged.one_tensor("C64", [1], [0, 8], 8),
        "has type 'C64'",
    ),
    "whole numbers as weights": (damaged.whole_weights, "head.embedding.weight has type 'I32'"),
    "no byte of weights": (damaged.no_weights, "is no safetensors file"),
    "a pickle of torch called safetensors": (damaged.zip_inside, "a pickle under another name"),
    "a link to itself": (damaged.loop, "a link that leads to itself"),
    "a link to nothing": (damaged.link_to_nothing, "a link to nothing"),
    "a link to a device": (damaged.link_to_device, "leads out of the folder, to /dev/zero"),
    "a link through a linked folder": (damaged.link_through_folder, "leads out of the folder"),
    "a pipe as configuration": (damaged.pipe, "no file but a folder, a pipe or a device"),
    "a pipe as weights": (damaged.pipe_of_weights, "no file but a folder, a pipe or a device"),
    "a folder as weights": (damaged.folder_of_weights, "no file but a folder, a pipe or a device"),
    "a socket as tokenizer": (damaged.listening_socket, "no file but a folder, a pipe or a device"),
    "a tokenizer of a gigabyte": (damaged.huge_tokenizer, "at most 268,435,456 are read"),
    "a tokenizer nested without end": (
        partial(damaged.other_tokenizer, content=b"[" * 200_000),
        "cannot read the tokenizer",
    ),
    "a tokenizer that is no text": (
        partial(damaged.other_tokenizer, content=bytes(range(256))),
        "cannot read the tokenizer",
    ),
    "a key given twice": (damaged.key_twice, "key 'vocab_size' is given twice"),
    "NaN": (partial(change_config, unit_lengths={"phrase": [float("nan")]}), "NaN is not a number of JSON"),
    "a number without end": (damaged.infinite, "step: "),
    "bytes that are no text": (damaged.not_utf8, "is not JSON"),
    "an object of YAML": (damaged.object_of_yaml, "is not JSON"),
    "text for a number": (partial(damaged.changed_model, width="wide"), "model.width"),
    "a negative depth": (partial(damaged.changed_model, depth=-1), "model.depth"),
    "a shell as head": (
        partial(change_config, head={"kind": "os:system", "command": f"touch {MARK}"}),
        "uses the class 'os:system'",
    ),
    "a shell as planner": (
        partial(change_config, planner={"kind": "os:system", "command": f"touch {MARK}"}),
        "uses the class 'os:system'",
    ),
    "a shell in a list": (
        partial(change_config, corruption={"kind": "token_masking", "schedule": [{"kind": "os:system"}]}),
        "uses the class 'os:system'",
    ),
    "a vocabulary of another size": (partial(change_config, vocab_size=3), "config.json says 3"),
    "a script for a number": (
        partial(
            change_config, name="<script>alert(1)</script>", sequence_length="<img src=x onerror=alert(1)>"
        ),
        "sequence_length",
    ),
    "a class of another package": (
        partial(
            change_config,
            corruption={"kind": "token_masking", "schedule": {"kind": "pathlib:Path.touch", "self": MARK}},
        ),
        "uses the class 'pathlib:Path.touch'.*components=",
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_it_is_refused_with_a_remedy(
    case: str, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    damage, expected = CASES[case]
    damage(copied)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with pytest.raises(UserError, match=expected):
        PretrainedModel.from_pretrained(copied)
    assert time.monotonic() - began < MOST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES
    assert not (tmp_path / MARK).exists(), "code of the folder ran"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_says_so(copied: Path) -> None:
    (copied / "model.safetensors").chmod(stat.S_IWUSR)
    with pytest.raises(CheckpointError, match="may not be read; change its permissions"):
        PretrainedModel.from_pretrained(copied)


def test_a_run_of_a_stranger_imports_no_class_of_its_choice(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that looks like a run is loaded by the same call, and is no more to be trusted."""
    run = Path(shutil.copytree(families / "spans", tmp_path / "run"))
    (tmp_path / "harmful.py").write_text(
        f"import pathlib\npathlib.Path({MARK!r}).touch()\nclass Head: pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    recipe = parse_yaml((run / "recipe.yaml").read_text(), where="recipe")
    (run / "recipe.yaml").write_text(write_yaml({**recipe, "head": {"kind": "harmful:Head"}}))
    with pytest.raises(CheckpointError, match=r"uses the class 'harmful:Head'.*components="):
        PretrainedModel.from_pretrained(run)
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("shape", ["run", "shared"])
def test_a_schedule_that_is_its_name_alone_is_no_way_around(
    shape: str, families: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "harmful_schedule.py").write_text(f"import pathlib\npathlib.Path({MARK!r}).touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    corruption = {"kind": "token_masking", "schedule": "harmful_schedule:Mine"}
    if shape == "shared":
        folder = copied
        change_config(folder, corruption=corruption)
    else:
        folder = Path(shutil.copytree(families / "spans", tmp_path / "run"))
        recipe = parse_yaml((folder / "recipe.yaml").read_text(), where="recipe")
        (folder / "recipe.yaml").write_text(write_yaml({**recipe, "corruption": corruption}))
    with pytest.raises(CheckpointError, match=r"uses the class 'harmful_schedule:Mine'.*components="):
        PretrainedModel.from_pretrained(folder)
    assert not (tmp_path / MARK).exists()


def test_a_run_of_a_stranger_calls_nothing_that_is_no_component(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line trusts a run folder to name classes; whatever else it names is not called."""
    run = Path(shutil.copytree(families / "spans", tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    recipe = parse_yaml((run / "recipe.yaml").read_text(), where="recipe")
    schedule = {"kind": "os:system", "command": f"touch {MARK}"}
    recipe["corruption"] = {"kind": "token_masking", "schedule": schedule}
    (run / "recipe.yaml").write_text(write_yaml(recipe))
    assert hdiff(["sample", str(run)]) == 2
    assert "'os:system' is no subclass of hdiff.schedules.Schedule" in capsys.readouterr().err
    assert not (tmp_path / MARK).exists()


def test_scripts_in_names_and_texts_are_only_shown(families: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(families / "spans", tmp_path / "run"))
    script = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    recipe = parse_yaml((run / "recipe.yaml").read_text(), where="recipe")
    (run / "recipe.yaml").write_text(write_yaml({**recipe, "name": script}))
    record = json.loads((run / "run.json").read_text())
    data = {**record["data"], "source": script, "labels": {script: {script: 1}}}
    (run / "run.json").write_text(json.dumps({**record, "name": script, "data": data}))
    assert hdiff(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_a_folder_that_is_no_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json; make one .* hdiff export RUN FOLDER"):
        PretrainedModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["../model", "/nowhere/model", "a/b/c", "user/..", ".hidden", "user/mo del"])
def test_a_name_that_is_no_repository_asks_nobody(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"no folder .* it is no name of a repository"):
        PretrainedModel.from_pretrained(name)


def test_a_class_of_yours_loads_if_you_name_it(copied: Path) -> None:
    kind = "hdiff.corruption:TokenMasking"
    change_config(copied, corruption={"kind": kind})
    assert PretrainedModel.from_pretrained(copied, components=[kind]).description.corruption["kind"] == kind


def test_a_folder_with_other_files_is_not_written_over(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], families: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("ten years of work")
    assert hdiff(["export", str(families / "spans"), str(tmp_path)]) == 2
    assert "holds other files (thesis.tex ...); give an empty or new folder" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
