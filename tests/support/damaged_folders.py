"""Damage to the folder of a shared model: files cut off, exchanged, linked, or made to harm."""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from safetensors.torch import load_file, save_file
from shared_models import change_config

MARK = "was-here"


def of_transformers(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def cut_off(folder: Path) -> None:
    file = folder / "config.json"
    file.write_bytes(file.read_bytes()[:100])


def renamed_token(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace("<eos>", "<EOS>"))


def other_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def pickle_beside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


class _Harm:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(MARK),)


def _rehash(folder: Path, name: str) -> None:
    """Makes config.json agree with a file, as an attacker would."""
    from hdiff.files import file_sha256

    sha256 = {**json.loads((folder / "config.json").read_text())["sha256"], name: file_sha256(folder / name)}
    change_config(folder, sha256=sha256)


def pickle_inside(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(_Harm()))
    _rehash(folder, "model.safetensors")


def not_tensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    _rehash(folder, "model.safetensors")


def other_shape(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["head.embedding.weight"] = tensors["head.embedding.weight"][:-1].contiguous()
    save_file(tensors, file)
    _rehash(folder, "model.safetensors")


def link(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    (folder / "model.safetensors").rename(outside)
    (folder / "model.safetensors").symlink_to(outside)


def link_to_config(folder: Path) -> None:
    outside = folder.parent / "outside.json"
    (folder / "config.json").rename(outside)
    (folder / "config.json").symlink_to(outside)


def huge_config(folder: Path) -> None:
    with (folder / "config.json").open("ab") as file:
        file.truncate(1 << 30)  # sparse


def deep_json(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 200_000)


def changed_model(folder: Path, **changes: object) -> None:
    change_config(folder, model={**json.loads((folder / "config.json").read_text())["model"], **changes})


def one_tensor(dtype: str, shape: list[object], offsets: list[int], size: int = 0) -> Callable[[Path], None]:
    """Weights of one tensor with this header, and so many bytes."""
    header = {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}
    return partial(headed_weights, header=header, data=bytes(size))


def headed_weights(folder: Path, header: object, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    _rehash(folder, "model.safetensors")


def sparse_terabytes(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.truncate(1 << 42)


def whole_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["head.embedding.weight"] = tensors["head.embedding.weight"].int()
    save_file(tensors, file)
    _rehash(folder, "model.safetensors")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    _rehash(folder, "model.safetensors")


def zip_inside(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:  # what torch.save writes
        archive.writestr("data.pkl", pickle.dumps(_Harm()))
    _rehash(folder, "model.safetensors")


def loop(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder / "tokenizer.json")


def link_to_nothing(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder / "nothing")


def link_to_device(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("/dev/zero")


def link_through_folder(folder: Path) -> None:
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    (folder / "tokenizer.json").rename(outside / "tokenizer.json")
    (folder / "inside").symlink_to(outside)
    (folder / "tokenizer.json").symlink_to(folder / "inside" / "tokenizer.json")


def pipe(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def pipe_of_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def folder_of_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


def listening_socket(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        # Names of sockets are short, and that of a temporary folder may not be.
        here = os.getcwd()
        os.chdir(folder)
        server.bind("tokenizer.json")
        os.chdir(here)


def huge_tokenizer(folder: Path) -> None:
    with (folder / "tokenizer.json").open("ab") as file:
        file.truncate(1 << 30)


def other_tokenizer(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    _rehash(folder, "tokenizer.json")


def key_twice(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.rstrip().removesuffix("}") + ', "vocab_size": 3}')


def infinite(folder: Path) -> None:
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"step":', '"step": 1e999, "x":')
    )


def not_utf8(folder: Path) -> None:
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes() + b"\xff")


def object_of_yaml(folder: Path) -> None:
    (folder / "config.json").write_text("!!python/object/apply:pathlib.Path.touch [" + MARK + "]")
