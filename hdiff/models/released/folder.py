"""CheckpointFolder: what lies in a folder of weights, asked of its configuration and its headers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hdiff.errors import CheckpointError

CONFIG_FILE = "config.json"
ADAPTER_CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
UNQUANTISED = ("F64", "F32", "F16", "BF16")
"""Types of weights that were not quantised."""

_LFS = b"version https://git-lfs"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file, by its header.

    Attributes:
        file: The file.
        dtype: Type as safetensors name it, such as `BF16`.
        shape: Shape.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder with config.json and safetensors.

    Attributes:
        path: The folder.
        config: Contents of config.json.
    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> CheckpointFolder:
        """Reads the configuration, and refuses what can be no trunk whatever its network is."""
        path = Path(path)
        file = path / CONFIG_FILE
        if not file.is_file():
            if (path / ADAPTER_CONFIG_FILE).is_file():
                raise CheckpointError(
                    f"{path} holds an adapter alone ({ADAPTER_CONFIG_FILE}), not the model that it changes; "
                    "merge it into its model (peft: merge_and_unload) and give the folder of the result"
                )
            raise CheckpointError(
                f"model.pretrained is '{path}', which is no folder with a config.json; download a "
                "checkpoint:",
                "hf download NAME --local-dir FOLDER",
            )
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{file} is not JSON ({error}); download it again") from error
        if not isinstance(config, dict):
            raise CheckpointError(f"{file} is no object of keys and values; download it again")
        if config.get("format") == "hdiff":
            raise CheckpointError(
                f"{path} is a model of hdiff, and a trunk starts from one of others; give a folder as its "
                "authors released it, or resume the run folder of the model"
            )
        if config.get("quantization_config"):
            method = dict(config["quantization_config"]).get("quant_method", "quantised")
            raise CheckpointError(
                f"{path} is quantised ({method}), and its weights cannot be read as numbers; give the "
                "checkpoint that it was made from"
            )
        return cls(path, config)

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """Tensors by name, from the headers alone."""
        stored: dict[str, StoredTensor] = {}
        for file in self._files():
            if _begins_with(file, _LFS):
                raise CheckpointError(
                    f"{file} is a pointer of Git LFS, not the weights; download the file itself"
                )
            try:
                with safe_open(file, framework="pt") as opened:
                    for name in opened.keys():  # noqa: SIM118, it is no dict
                        part = opened.get_slice(name)
                        stored[name] = StoredTensor(file, str(part.get_dtype()), tuple(part.get_shape()))
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{file} is damaged ({error}); download it again") from error
        for name, tensor in stored.items():
            if tensor.dtype not in UNQUANTISED and "weight" in name.rpartition(".")[2]:
                raise CheckpointError(
                    f"{tensor.file} holds {name} as {tensor.dtype}, so its weights are quantised; give the "
                    "checkpoint that it was made from"
                )
        return stored

    @cached_property
    def digest(self) -> str:
        """sha256 over names, types, shapes, and the first and last row of every tensor: other weights "
        "differ."""
        digest = hashlib.sha256()
        by_file: dict[Path, list[str]] = {}
        for name in sorted(self.tensors):
            by_file.setdefault(self.tensors[name].file, []).append(name)
        for file, names in sorted(by_file.items()):
            with safe_open(file, framework="pt") as opened:
                for name in names:
                    tensor = self.tensors[name]
                    digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
                    rows = opened.get_slice(name)
                    count = tensor.shape[0] if tensor.shape else 0
                    for part in (rows[:1], rows[count - 1 :]) if count else (opened.get_tensor(name),):
                        digest.update(part.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def read(self, names: Iterable[str], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Tensors by name, in a type."""
        tensors = {}
        for name in names:
            with safe_open(self.tensors[name].file, framework="pt") as opened:
                tensors[name] = opened.get_tensor(name).to(dtype)
        return tensors

    def _files(self) -> list[Path]:
        index = self.path / INDEX_FILE
        if index.is_file():
            try:
                names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
                files = [self.path / Path(name).name for name in names]
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(f"{index} is damaged ({error!r}); download it again") from error
        else:
            whole = self.path / WEIGHTS_FILE
            files = [whole] if whole.is_file() else sorted(self.path.glob("*.safetensors"))
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise CheckpointError(
                f"{self.path} lacks {missing[0]}, one of its {len(files)} files of weights; download it too"
            )
        if not files:
            pickles = sorted(file.name for pattern in _PICKLES for file in self.path.glob(pattern))
            held = f"pickles ({pickles[0]}), which can run code," if pickles else "no weights"
            raise CheckpointError(
                f"{self.path} holds {held} and no safetensors; weights are read without pickles and remote "
                f"code, so give a folder of a model with {WEIGHTS_FILE}"
            )
        return files


def _begins_with(file: Path, start: bytes) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(start)) == start
