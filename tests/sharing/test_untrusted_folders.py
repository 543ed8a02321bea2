"""Folders that are no model, damaged, or made to harm are refused with a remedy, before anything is built."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from shared_models import change_config

from hdiff.cli import run as hdiff
from hdiff.errors import CheckpointError
from hdiff.sharing import PretrainedModel

MARK = "was here"


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
    from hdiff.data.durable_files import file_sha256

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


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a newer format": (_newer, "format version 2, this hdiff reads up to 1; install hdiff 9.0"),
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
    "a depth without weights": (_deep, "too few for the 1000000 layers"),
    "an absurd number": (_absurd, "num_components: 1000000000000000"),
    "a class of another package": (_foreign_class, "uses the class 'pathlib:Path.touch'.*components="),
}


@pytest.mark.parametrize("case", list(CASES))
def test_it_is_refused_with_a_remedy(
    case: str, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    damage, expected = CASES[case]
    damage(copied)
    with pytest.raises(CheckpointError, match=expected):
        PretrainedModel.from_pretrained(copied)
    assert not (tmp_path / MARK).exists(), "code of the folder ran"


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
