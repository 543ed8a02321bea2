"""ModelDescription: config.json of a shared model, what builds network and corruption."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from hdiff import __version__
from hdiff.components import LARGEST_ARGUMENT
from hdiff.config import DataConfig, EvaluationConfig, ModelConfig, Recipe
from hdiff.config.section import Arguments, Component, Section
from hdiff.config.train import TrainConfig
from hdiff.errors import CheckpointError, nearest
from hdiff.plugins import is_plugin, plugin_names
from hdiff.sharing.adapter import Adapter
from hdiff.sharing.shared_parser import SharedParser

FORMAT_VERSION = 1
"""Version of the folder that this hdiff writes, and the newest that it reads."""

MODEL_TYPE = "hdiff"
"""Name of hdiff's models in transformers, which looks for it in config.json."""

WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
HASHED_FILES = (WEIGHTS_FILE, TOKENIZER_FILE)
"""Files whose SHA-256 config.json holds; there are no others to name."""

NAMING_KEYS = ("kind", "schedule")
"""Keys under which a text names a class: a schedule without arguments is its name alone."""

NOT_SHARED = "not shared"
"""Stands for the folders of the recipe, which stay with its author."""


class ModelDescription(Section):
    """Contents of config.json.

    Attributes:
        format: Always `hdiff`.
        model_type: Always `hdiff`, for the Auto classes of transformers.
        format_version: Version of the folder.
        hdiff_version: hdiff that wrote it.
        name: Name of the model.
        step: Updates its weights have seen.
        vocab_size: Vocabulary V of the tokenizer.
        sequence_length: Tokens of the rows it was trained on.
        packing: How else those rows were made, keys of the recipe's section `data`.
        model: Trunk, as in a recipe.
        trunk_config: Configuration of a pretrained encoder that is the trunk; None for hdiff's own.
        head: `{kind: name, ...}`, as in a recipe.
        type_head: The same for the types that a corruption generates.
        planner: Arguments of the planner; None if there is none.
        length_head: Arguments of the length head; None if there is none.
        prompts: How prompts are written (`hdiff.data.sources.prompts`); None of a model of plain texts.
        corruption: `{kind: name, ...}`, as in a recipe.
        evaluation: What `hdiff eval` measures by default, and with which sampler.
        unit_lengths: Distribution of unit lengths in the training split, for `lengths: corpus`.
        token_classes: Class of each token id, for lexical `soft_masking`; of several levels one table each.
        head_classes: Class of each token id by which the head factors its output, one table per level.
        labels: Numbers of the labels of each level, for skeletons.
        parser: Parser of the training text; None if it is one of the author's.
        adapter: What the weights are without their trunk; None if the trunk is among them.
        sha256: SHA-256 of the files beside it.
    """

    # pydantic would keep names that begin with model_ for itself.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: Literal["hdiff"] = "hdiff"
    model_type: Literal["hdiff"] = "hdiff"
    format_version: int = FORMAT_VERSION
    hdiff_version: str = __version__
    name: str
    step: int = Field(0, ge=0)
    vocab_size: int = Field(ge=1)
    sequence_length: int = Field(ge=2)
    packing: dict[str, Any] = Field(default_factory=dict)
    model: ModelConfig
    trunk_config: dict[str, Any] | None = None
    head: Component
    type_head: Component = Field(default_factory=lambda: {"kind": "product"})
    planner: Arguments | None = None
    length_head: Arguments | None = None
    prompts: dict[str, Any] | None = None
    corruption: Component
    evaluation: EvaluationConfig = EvaluationConfig()
    unit_lengths: dict[str, list[float]] = Field(default_factory=dict)
    token_classes: list[int] | list[list[int]] = Field(default_factory=list)
    head_classes: list[list[int]] = Field(default_factory=list)
    labels: dict[str, dict[str, int]] | None = None
    parser: SharedParser | None = None
    adapter: Adapter | None = None
    sha256: dict[str, str] = Field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """A recipe of the same network; its data set and output folder are not at hand."""
        return Recipe(
            name=self.name,
            output=NOT_SHARED,
            data=DataConfig(**{**self.packing, "path": NOT_SHARED, "sequence_length": self.sequence_length}),
            model=self.model,
            head=self.head,
            type_head=self.type_head,
            planner=self.planner,
            length_head=self.length_head,
            corruption=self.corruption,
            evaluation=self.evaluation,
            train=TrainConfig() if self.adapter is None else self.adapter.training,
        )

    def to_json(self) -> str:
        """Contents of config.json."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def parse_description(text: str, *, where: str, components: Sequence[str] = ()) -> ModelDescription:
    """Reads config.json.

    Args:
        text: Contents.
        where: The folder, for errors.
        components: Classes of the user's, `module:Class` or names of plugins, that the model may name. Any
            other would let a downloaded file choose which code of this machine runs.

    Returns:
        The description.

    Raises:
        CheckpointError: If it is no hdiff model, of a newer version, damaged, or names another class.
    """
    description = read_description(text, where=where)
    _check_components(description, where, components)
    return description


def read_description(text: str, *, where: str) -> ModelDescription:
    """Reads config.json for those who build nothing of it: classes of others may be named in it."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{where}/config.json is not JSON ({error}); download or export it again"
        ) from error
    if not isinstance(values, dict) or values.get("format") != "hdiff":
        kind = values.get("model_type") if isinstance(values, dict) else None
        other = f" but one of transformers ('{kind}'); to train from it set model.pretrained" if kind else ""
        raise CheckpointError(
            f"{where} is no hdiff model{other}; make one from a run:", "hdiff export RUN FOLDER"
        )
    version = values.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{where} has format version {version!r}, this hdiff reads up to {FORMAT_VERSION}; install hdiff "
            f"{values.get('hdiff_version')}, which wrote it, or a newer one, from its checkout: pip install ."
        )
    try:
        description = ModelDescription.model_validate(values)
        packed_by = description.recipe.data.packing()  # its sections have types of their own
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{where}/config.json: {key}: {first['msg']}; download or export it again"
        ) from error
    if unknown := sorted(set(description.packing) - set(packed_by)):
        raise CheckpointError(
            f"{where}/config.json: packing has the key '{unknown[0]}' (known: {', '.join(packed_by)}); "
            f"download or export it again"
        )
    if set(description.sha256) != set(HASHED_FILES):
        raise CheckpointError(
            f"{where}/config.json names the files {sorted(description.sha256)}, expected "
            f"{sorted(HASHED_FILES)}; download or export it again"
        )
    return description


def classes_of_others(description: ModelDescription) -> list[str]:
    """Classes that are not part of hdiff, each once, as loading must name them."""
    kinds = [str(value) for key, value in _leaves(_sections(description)) if key in NAMING_KEYS]
    return list(dict.fromkeys(kind for kind in kinds if _is_of_others(kind)))


def loading_arguments(description: ModelDescription, name: str) -> str:
    """Arguments of `from_pretrained`: the folder, and classes of other packages to name."""
    others = ", ".join(json.dumps(kind) for kind in classes_of_others(description))
    return f'"{name}", components=[{others}]' if others else f'"{name}"'


def _sections(description: ModelDescription) -> list[Any]:
    sections = [description.head, description.type_head, description.planner, description.corruption]
    sections += [description.length_head]
    sections += [description.packing, description.model.model_dump(), description.evaluation.model_dump()]
    return sections


def _check_components(description: ModelDescription, where: str, components: Sequence[str]) -> None:
    for kind in classes_of_others(description):
        if kind not in components:
            raise CheckpointError(
                f"{where} uses the class '{kind}', which is not part of hdiff; if you trust it, load with "
                f"components=['{kind}'], on the command line with",
                f"--component {shlex.quote(kind)}",
            )
    for key, value in _leaves(_sections(description)):
        if isinstance(value, int) and abs(value) > LARGEST_ARGUMENT:
            raise CheckpointError(
                f"{where}/config.json has {key}: {value}, more than {LARGEST_ARGUMENT}; it is damaged, "
                f"download or export it again"
            )
    _check_names(description, where)


def _check_names(description: ModelDescription, where: str) -> None:
    """Refuses names that nobody offers here, which are most likely those of a package that is missing."""
    families = _families()
    named = {"head": description.head, "type_head": description.type_head}
    named |= {"corruption": description.corruption, "sampler": description.evaluation.sampler or {}}
    for purpose, spec in named.items():
        kind, family = spec.get("kind"), families[purpose.removeprefix("type_")]
        if not isinstance(kind, str) or ":" in kind or kind in family:
            continue  # asking for plugins reads the facts of every package that is installed
        if kind not in plugin_names(purpose):
            raise CheckpointError(
                f"{where} uses the {purpose} '{kind[:80]}', which neither hdiff nor an installed package "
                f"offers{nearest(kind[:80], family)}; install the package that offers it"
            )


def _is_of_others(kind: str) -> bool:
    """Whether a kind is a class of others, by its path or as a plugin; hdiff's own names stay its own."""
    return ":" in kind or (kind not in set().union(*_families().values()) and is_plugin(kind))


def _families() -> dict[str, Mapping[str, type]]:
    from hdiff.corruption import CORRUPTIONS
    from hdiff.heads import HEADS
    from hdiff.samplers import SAMPLERS
    from hdiff.schedules import SCHEDULES

    return {"corruption": CORRUPTIONS, "head": HEADS, "sampler": SAMPLERS, "schedule": SCHEDULES}


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All values that hold no others, with the key they stand under."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value
