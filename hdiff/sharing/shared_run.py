"""load_model: a run folder, or a shared model in the shape of one, for commands that take either."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hdiff.runs.folder import RECORD_FILE, RunFolder
from hdiff.sharing.folder import CONFIG_FILE
from hdiff.sharing.pretrained import PretrainedModel
from hdiff.shipped import model_folder


def is_shared(path: Path) -> bool:
    """Whether a folder is a shared model rather than a run."""
    return (path / CONFIG_FILE).is_file() and not (path / RECORD_FILE).is_file()


def load_model(path: str | Path, *, components: Sequence[str] = ()) -> RunFolder:
    """Loads a run, or a shared model as a run that knows neither its data set nor its parser."""
    path = model_folder(path)
    if not is_shared(path):
        return RunFolder.load(path)
    pretrained = PretrainedModel.from_pretrained(path, components=components)
    description = pretrained.description
    record = {
        "unit_lengths": description.unit_lengths,
        "token_classes": description.token_classes,
        "data": {"labels": description.labels, "parser": {}, "prompts": description.prompts},
        "head_classes": description.head_classes,
    }
    return RunFolder(
        path=path,
        recipe=description.recipe,
        record=record,
        tokenizer=pretrained.tokenizer,
        step=description.step,
        model=pretrained.model,
    )
