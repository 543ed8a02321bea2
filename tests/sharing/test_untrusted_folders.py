"""Folders that are no model, damaged, or made to harm are refused with a remedy, before anything is built."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import socket
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from shared_models import change_config

from hdiff.cli import run as hdiff
from hdiff.errors import CheckpointError, UserError
from hdiff.sharing import PretrainedModel
from hdiff.strict_yaml import parse_yaml, write_yaml

MARK = "was-here"
MOST_SECONDS = 20.0
MOST_KILOBYTES = 1_000_000
"""Peak of this process over what it was before; sizes that are claimed are thousands of times larger."""


def _config(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "config.json").read_text())
    return found


def _newer(folder: Path) -> None:
    change_config(folder, format_version=2, hdiff_version="9.0", unheard_of=1)


def _no_version(folder: Path) -> None:
    change_config(folder, format_version="1; rm -rf /")


def _of_transformers(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def _cut_off(folder: Path) -> None:
    file = folder / "config.json"
    file.write_bytes(file.read_bytes()[:100])


def _unknown_key(folder: Path) -> None:
    change_config(folder, surprise=1)


def _other_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace("<eos>", "<EOS>"))


def _other_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _pickle_beside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


class _Harm:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(MARK),)


def _rehash(folder: Path, name: str) -> None:
    """Makes config.json agree with a file, as an attacker would."""
    from hdiff.files import file_sha256

    sha256 = {**json.loads((folder / "config.json").read_text())["sha256"], name: file_sha256(folder / name)}
    change_config(folder, sha256=sha256)


def _pickle_inside(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(_Harm()))
    _rehash(folder, "model.safetensors")


def _not_tensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    _rehash(folder, "model.safetensors")


def _other_shape(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["head.embedding.weight"] = tensors["head.embedding.weight"][:-1].contiguous()
    save_file(tensors, file)
    _rehash(folder, "model.safetensors")


def _parent_file(folder: Path) -> None:
    change_config(folder, sha256={"model.safetensors": "0", "../../etc/passwd": "0"})


def _absolute_file(folder: Path) -> None:
    change_config(folder, sha256={"/etc/passwd": "0", "tokenizer.json": "0"})


def _link(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    (folder / "model.safetensors").rename(outside)
    (folder / "model.safetensors").symlink_to(outside)


def _link_to_config(folder: Path) -> None:
    outside = folder.parent / "outside.json"
    (folder / "config.json").rename(outside)
    (folder / "config.json").symlink_to(outside)


def _huge_config(folder: Path) -> None:
    with (folder / "config.json").open("ab") as file:
        file.truncate(1 << 30)  # sparse


def _deep_json(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 200_000)


def _wide(folder: Path) -> None:
    change_config(folder, model={**dict(_config(folder)["model"]), "width": 10**6})  # type: ignore[call-overload]


def _deep(folder: Path) -> None:
    change_config(folder, model={**dict(_config(folder)["model"]), "depth": 10**6})  # type: ignore[call-overload]


def _absurd(folder: Path) -> None:
    change_config(folder, head={"kind": "mixture", "num_components": 10**15})


def _foreign_class(folder: Path) -> None:
    schedule = {"kind": "pathlib:Path.touch", "self": MARK}
    change_config(folder, corruption={"kind": "token_masking", "schedule": schedule})


def _changed_model(folder: Path, **changes: object) -> None:
    change_config(folder, model={**dict(_config(folder)["model"]), **changes})  # type: ignore[call-overload]


def _wide_beyond_reason(folder: Path) -> None:
    _changed_model(folder, width=10**9)


def _deep_beyond_reason(folder: Path) -> None:
    _changed_model(folder, depth=10**9)


def _vocabulary_beyond_reason(folder: Path) -> None:
    change_config(folder, vocab_size=10**12)


def _header(folder: Path, header: object, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    _rehash(folder, "model.safetensors")


def _terabytes(folder: Path) -> None:
    _header(folder, {"w": {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}})


def _sparse_terabytes(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.truncate(1 << 42)


def _overflowing_shape(folder: Path) -> None:
    _header(folder, {"w": {"dtype": "F32", "shape": [1 << 33, 1 << 33], "data_offsets": [0, 4]}}, bytes(4))


def _negative_shape(folder: Path) -> None:
    _header(folder, {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}})


def _fractional_shape(folder: Path) -> None:
    _header(folder, {"w": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]}}, bytes(4))


def _deep_header(folder: Path) -> None:
    _header(folder, b"[" * 200_000)


def _listed_header(folder: Path) -> None:
    _header(folder, [1, 2])


def _complex_weights(folder: Path) -> None:
    _header(folder, {"w": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8))


def _whole_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["head.embedding.weight"] = tensors["head.embedding.weight"].int()
    save_file(tensors, file)
    _rehash(folder, "model.safetensors")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    _rehash(folder, "model.safetensors")


def _zip_inside(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:  # what torch.save writes
        archive.writestr("data.pkl", pickle.dumps(_Harm()))
    _rehash(folder, "model.safetensors")


def _loop(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder / "tokenizer.json")


def _link_to_nothing(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder / "nothing")


def _link_to_device(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("/dev/zero")


def _link_through_folder(folder: Path) -> None:
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    (folder / "tokenizer.json").rename(outside / "tokenizer.json")
    (folder / "inside").symlink_to(outside)
    (folder / "tokenizer.json").symlink_to(folder / "inside" / "tokenizer.json")


def _pipe(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def _pipe_of_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def _folder_of_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


def _socket(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        # Names of sockets are short, and that of a temporary folder may not be.
        here = os.getcwd()
        os.chdir(folder)
        server.bind("tokenizer.json")
        os.chdir(here)


def _huge_tokenizer(folder: Path) -> None:
    with (folder / "tokenizer.json").open("ab") as file:
        file.truncate(1 << 30)


def _tokenizer(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    _rehash(folder, "tokenizer.json")


def _deep_tokenizer(folder: Path) -> None:
    _tokenizer(folder, b"[" * 200_000)


def _binary_tokenizer(folder: Path) -> None:
    _tokenizer(folder, bytes(range(256)))


def _key_twice(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.rstrip().removesuffix("}") + ', "vocab_size": 3}')


def _not_a_number(folder: Path) -> None:
    change_config(folder, unit_lengths={"phrase": [float("nan")]})


def _infinite(folder: Path) -> None:
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"step":', '"step": 1e999, "x":')
    )


def _not_utf8(folder: Path) -> None:
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes() + b"\xff")


def _object_of_yaml(folder: Path) -> None:
    (folder / "config.json").write_text("!!python/object/apply:pathlib.Path.touch [" + MARK + "]")


def _text_for_number(folder: Path) -> None:
    _changed_model(folder, width="wide")


def _negative_depth(folder: Path) -> None:
    _changed_model(folder, depth=-1)


def _deep_trunk(folder: Path) -> None:
    change_config(folder, trunk_config={"model_type": "bert", "num_hidden_layers": 10**9})


def _system_as_head(folder: Path) -> None:
    change_config(folder, head={"kind": "os:system", "command": f"touch {MARK}"})


def _system_as_planner(folder: Path) -> None:
    change_config(folder, planner={"kind": "os:system", "command": f"touch {MARK}"})


def _system_in_a_list(folder: Path) -> None:
    change_config(folder, corruption={"kind": "token_masking", "schedule": [{"kind": "os:system"}]})


def _other_tokens(folder: Path) -> None:
    change_config(folder, vocab_size=3)


def _script(folder: Path) -> None:
    change_config(folder, name="<script>alert(1)</script>", sequence_length="<img src=x onerror=alert(1)>")


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a newer format": (_newer, "format version 2, this hdiff reads up to 1; install hdiff 9.0.*its checkout"),
    "a version that is none": (_no_version, "format version '1; rm -rf /'"),
    "a model of transformers": (_of_transformers, "one of transformers .'bert'.; .* model.pretrained"),
    "a configuration cut off": (_cut_off, "is not JSON"),
    "an unknown key": (_unknown_key, "surprise.*download or export it again"),
    "another tokenizer": (_other_tokenizer, "tokenizer.json is not the tokenizer .* put the file back"),
    "other weights": (_other_weights, "is not the weights .* put the file back"),
    "pickled weights": (_pickle_beside, "pytorch_model.bin, a pickle.*safetensors only"),
    "a pickle called safetensors": (_pickle_inside, "a pickle under another name"),
    "no safetensors": (_not_tensors, "is no safetensors file"),
    "tensors of another shape": (_other_shape, "head.embedding.weight of shape"),
    "a file above the folder": (_parent_file, "names the files .*passwd"),
    "a file anywhere": (_absolute_file, "names the files .*passwd"),
    "a link out of the folder": (_link, "a link that leads out of the folder"),
    "a linked configuration": (_link_to_config, "a link that leads out of the folder"),
    "a configuration of a gigabyte": (_huge_config, "at most .* are read"),
    "nested without end": (_deep_json, "is not JSON"),
    "a width without weights": (_wide, "config.json asks for"),
    "a depth without weights": (_deep, "model.depth: Input should be less than or equal to"),
    "an absurd number": (_absurd, "num_components: 1000000000000000"),
    "a width beyond reason": (_wide_beyond_reason, "model.width: Input should be less than or equal to"),
    "a depth beyond reason": (_deep_beyond_reason, "model.depth: Input should be less than or equal to"),
    "a foreign trunk deep beyond reason": (_deep_trunk, "too few for the 1000000000 layers"),
    "a vocabulary beyond reason": (_vocabulary_beyond_reason, "config.json says 1000000000000"),
    "a header that claims terabytes": (_terabytes, "its tensors end at 4,398,046,511,104 of 0 bytes"),
    "terabytes of nothing": (_sparse_terabytes, "at most 137,438,953,472 are read"),
    "a shape that overflows": (_overflowing_shape, "in 4 bytes"),
    "a negative shape": (_negative_shape, "is no safetensors file .*shape"),
    "a shape of fractions": (_fractional_shape, "is no safetensors file .*shape"),
    "a header nested without end": (_deep_header, "is no safetensors file"),
    "a header that is a list": (_listed_header, "is no safetensors file"),
    "complex numbers": (_complex_weights, "has type 'C64'"),
    "whole numbers as weights": (_whole_weights, "head.embedding.weight has type 'I32'"),
    "no byte of weights": (_no_weights, "is no safetensors file"),
    "a pickle of torch called safetensors": (_zip_inside, "a pickle under another name"),
    "a link to itself": (_loop, "a link that leads to itself"),
    "a link to nothing": (_link_to_nothing, "a link to nothing"),
    "a link to a device": (_link_to_device, "leads out of the folder, to /dev/zero"),
    "a link through a linked folder": (_link_through_folder, "leads out of the folder"),
    "a pipe as configuration": (_pipe, "no file but a folder, a pipe or a device"),
    "a pipe as weights": (_pipe_of_weights, "no file but a folder, a pipe or a device"),
    "a folder as weights": (_folder_of_weights, "no file but a folder, a pipe or a device"),
    "a socket as tokenizer": (_socket, "no file but a folder, a pipe or a device"),
    "a tokenizer of a gigabyte": (_huge_tokenizer, "at most 268,435,456 are read"),
    "a tokenizer nested without end": (_deep_tokenizer, "cannot read the tokenizer"),
    "a tokenizer that is no text": (_binary_tokenizer, "cannot read the tokenizer"),
    "a key given twice": (_key_twice, "key 'vocab_size' is given twice"),
    "NaN": (_not_a_number, "NaN is not a number of JSON"),
    "a number without end": (_infinite, "step: "),
    "bytes that are no text": (_not_utf8, "is not JSON"),
    "an object of YAML": (_object_of_yaml, "is not JSON"),
    "text for a number": (_text_for_number, "model.width"),
    "a negative depth": (_negative_depth, "model.depth"),
    "a shell as head": (_system_as_head, "uses the class 'os:system'"),
    "a shell as planner": (_system_as_planner, "uses the class 'os:system'"),
    "a shell in a list": (_system_in_a_list, "uses the class 'os:system'"),
    "a vocabulary of another size": (_other_tokens, "config.json says 3"),
    "a script for a number": (_script, "sequence_length"),
    "a class of another package": (_foreign_class, "uses the class 'pathlib:Path.touch'.*components="),
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
