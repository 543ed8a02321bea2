"""Shipped: a model and a corpus of stories that come with the package as `builtin:NAME`. No torch."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from pathlib import Path

from hdiff.errors import CheckpointError

PREFIX = "builtin:"
FOLDER = Path(__file__).parent
MODELS = ("stories",)
"""Names of shipped models: folders here, of the kind that `hdiff export` writes."""

HELD_OUT = {"builtin:stories": "builtin:stories-text:validation"}
"""Text that a shipped model was not trained on."""

_END_OF_STORY = "<|endoftext|>"
_RECORD = "_record"


def model_folder(name: str | Path) -> Path:
    """The folder that `builtin:NAME` stands for; any other path as it is."""
    if not is_builtin(name):
        return Path(name)
    wanted = str(name).removeprefix(PREFIX)
    if wanted not in MODELS:
        known = ", ".join(f"{PREFIX}{model}" for model in MODELS)
        raise CheckpointError(f"there is no model '{str(name)[:80]}'; give a folder, or {known}")
    return FOLDER / wanted


def is_builtin(name: str | Path) -> bool:
    """Whether a name is that of something shipped."""
    return str(name).startswith(PREFIX)


def record_folder(name: str | Path) -> Path:
    """Folder with the record of the training of a shipped model: what a run keeps beside its checkpoints."""
    return Path(f"{model_folder(name)}{_RECORD}")


def model_name(folder: Path) -> str:
    """What a person types for a folder: the name of a shipped model, else its path."""
    model = folder.name.removesuffix(_RECORD)
    return f"{PREFIX}{model}" if folder.parent == FOLDER and model in MODELS else str(folder)


def twin_tour() -> Path:
    """The tour (`hdiff tour --json`) of the token-masking twin, whose weights are not shipped."""
    return FOLDER / "twin_tour.json"


def read_stories(split: str) -> Iterator[str]:
    """Stories of a split, in a fixed order."""
    text = bz2.decompress((FOLDER / "stories_text" / f"{split}.txt.bz2").read_bytes()).decode("utf-8")
    for story in text.split(_END_OF_STORY):
        if story.strip():
            yield story.strip()
