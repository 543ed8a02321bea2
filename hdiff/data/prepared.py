"""PreparedData: a data set that `hdiff prepare` finished, opened and checked."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hdiff.data.manifest import FORMAT_VERSION, SALIENCE_FILE, TOKEN_SALIENCE_FILE, read_manifest
from hdiff.data.sources.prompts import PromptFormat
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.files import file_sha256
from hdiff.structure import LEVELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hdiff.data.sources.arrow import ArrowRows
    from hdiff.parsers import Salience


def parser_spec(fingerprint: Mapping[str, Any]) -> str:
    """What `load_parser` makes of a recorded parser: `spacy:en_core_web_sm`, `random:plain`."""
    keys = ("name", "model", "inner_name", "inner_model")
    parts = {key: str(fingerprint[key]) for key in keys if fingerprint.get(key)}
    for prefix in ("", "inner_"):
        if options := fingerprint.get(f"{prefix}options"):
            parts[f"{prefix}name"] += "+" + options.replace(",", "+")
    return ":".join(parts.values())


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set.

    Attributes:
        path: Its folder.
        manifest: Source, parser, levels, labels, tokenizer, counts and hashes.
        tokenizer: The tokenizer its ids belong to.
    """

    path: Path
    manifest: dict[str, Any]
    tokenizer: Tokenizer

    @classmethod
    def load(cls, path: str | Path) -> PreparedData:
        """Opens a folder that `hdiff prepare` wrote; its splits are memory-mapped when asked for."""
        path = Path(path)
        manifest = read_manifest(path)
        if manifest.get("format_version") != FORMAT_VERSION:
            raise DataError(f"{path} has another format than this hdiff reads; prepare it again elsewhere")
        tokenizer = Tokenizer.load(path / "tokenizer.json")
        expected = manifest["tokenizer"]["sha256"]
        if tokenizer.sha256 != expected:
            raise DataError(
                f"{path / 'tokenizer.json'} is not the tokenizer the data set was made with "
                f"({tokenizer.sha256[:12]} instead of {expected[:12]}); put it back or prepare again"
            )
        return cls(path, manifest, tokenizer)

    @property
    def fingerprint(self) -> str:
        """One hash of everything a model sees: the splits and the tokenizer."""
        seen = [self.manifest["sha256"], self.manifest["tokenizer"]["sha256"], self.manifest["levels"]]
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()

    def command_with(self, level: str) -> str:
        """The command that prepares the same text with one more level."""
        spec = parser_spec(self.manifest["parser"])
        if spec.endswith("plain"):  # knows no clauses and phrases, nor does a control over its words
            spec = "spacy"
        levels = ",".join(kept for kept in LEVELS if kept == level or kept in self.manifest["levels"])
        words = ("hdiff", "prepare", str(self.manifest["source"]), "--parser", spec, "--levels", levels)
        return f"{shlex.join((*words, '--tokenizer', str(self.path)))} --out DATA"

    @property
    def prompts(self) -> PromptFormat | None:
        """Where prompts and answers of its documents are from; None for texts without prompts."""
        form = self.manifest.get("prompts")
        return None if form is None else PromptFormat.from_dict(form)

    @property
    def salience(self) -> Salience:
        """What scored its words."""
        from hdiff.parsers import salience_from_dict

        data = json.loads((self.path / SALIENCE_FILE).read_text(encoding="utf-8"))
        return salience_from_dict(data)

    @property
    def token_salience(self) -> NDArray[np.float32]:
        """Mean salience of each token id over the training split, float32 (V,)."""
        table: NDArray[np.float32] = np.load(self.path / TOKEN_SALIENCE_FILE, allow_pickle=False)
        return table

    def split(self, name: str) -> ArrowRows:
        """One split, `train` or `validation`, memory-mapped."""
        from hdiff.data.sources.arrow import ArrowRows

        if not (self.path / name).is_dir():
            raise DataError(f"{self.path} has no split '{name}'; it has {sorted(self.manifest['counts'])}")
        return ArrowRows.of_split(self.path / name)

    def verify(self) -> None:
        """Compares every data file with its hash."""
        for name, expected in self.manifest["sha256"].items():
            file = self.path / name
            if not _is_file_inside(file, self.path):
                raise DataError(f"{str(file)[:200]} is missing; prepare {self.path} again")
            if file_sha256(file) != expected:
                raise DataError(f"{file} has changed since it was prepared; prepare {self.path} again")


def _is_file_inside(file: Path, folder: Path) -> bool:
    """Whether a file that a manifest names exists, and in the folder."""
    try:
        return file.resolve().is_relative_to(folder.resolve()) and file.is_file()
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a NUL byte
        return False
