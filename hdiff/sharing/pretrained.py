"""PretrainedModel: a model to share, saved and loaded as one folder without its training."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hdiff.corruption import Corruption
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError
from hdiff.factory import DiffusionModel, build_corruption, build_model
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.runs.folder import RECORD_FILE, RunFolder
from hdiff.sharing import folder as files
from hdiff.sharing.description import (
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ModelDescription,
    SharedParser,
    loading_arguments,
    parse_description,
)
from hdiff.sharing.hub import find_folder, push_folder


@dataclass(frozen=True)
class PretrainedModel:
    """A trained network with what it takes to use it: tokenizer and corruption, no data, no optimizer.

    Attributes:
        description: What builds it.
        tokenizer: Its tokenizer.
        model: The network in evaluation mode.
        corruption: What it was trained with.
    """

    description: ModelDescription
    tokenizer: Tokenizer
    model: DiffusionModel | Autoregressive
    corruption: Corruption

    @classmethod
    def of_run(cls, run: RunFolder) -> PretrainedModel:
        """The model of a run, with averaged weights if its recipe keeps them.

        Args:
            run: The run.

        Returns:
            The model.
        """
        recipe, record = run.recipe, run.record
        trunk_config = getattr(run.model.trunk, "config_values", None)
        pretrained = recipe.model.pretrained
        # Where the first weights lay on the author's machine is nobody's business; their name is.
        name = None if pretrained is None else Path(pretrained).name
        packing = {k: v for k, v in recipe.data.packing().items() if k != "sequence_length"}
        if (borders := record["data"].get("salience_borders")) is not None:
            packing["salience_buckets"] = borders  # nobody can count them again without the text
        description = ModelDescription(
            name=recipe.name,
            step=run.step,
            vocab_size=run.tokenizer.vocab_size,
            sequence_length=recipe.data.sequence_length,
            packing=packing,
            model=recipe.model.model_copy(update={"pretrained": name}),
            trunk_config=trunk_config,
            head=recipe.head,
            type_head=recipe.type_head,
            planner=recipe.planner,
            length_head=recipe.length_head,
            prompts=record["data"].get("prompts"),
            corruption=recipe.corruption,
            evaluation=recipe.evaluation.model_copy(update={"judge": None}),
            unit_lengths=record["unit_lengths"],
            token_classes=record["token_classes"],
            head_classes=record.get("head_classes", []),
            labels=record["data"].get("labels"),
            parser=SharedParser.of_record(record["data"].get("parser") or {}),
        )
        return cls(description, run.tokenizer, run.model, run.corruption)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        cache_dir: Path | None = None,
        components: Sequence[str] = (),
    ) -> PretrainedModel:
        """Loads a shared model, a run, or a repository of the hub. No pickle is read, no remote code runs.

        Args:
            name: A folder of `save_pretrained` or `hdiff export`, a run folder, `builtin:NAME`, or
                `user/model`.
            revision: Branch, tag or commit of a repository.
            cache_dir: Where downloads are kept; None takes the place of huggingface_hub.
            components: Classes of your own that the model may name, `module:Class`.

        Returns:
            The model.

        Raises:
            CheckpointError: If there is none, it is damaged, of a newer version, or not safe to load.
        """
        folder = find_folder(name, files=files.FILES, revision=revision, cache_dir=cache_dir)
        if (folder / RECORD_FILE).is_file() and not (folder / files.CONFIG_FILE).is_file():
            files.check_kinds(folder, components)
            return cls.of_run(RunFolder.load(folder))
        text = files.checked_file(folder, files.CONFIG_FILE).read_text(encoding="utf-8", errors="replace")
        description = parse_description(text, where=str(folder), components=components)
        files.check_hashes(folder, description.sha256)
        tokenizer = Tokenizer.load(folder / TOKENIZER_FILE)
        if tokenizer.vocab_size != description.vocab_size:
            raise CheckpointError(
                f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, config.json says "
                f"{description.vocab_size}; download or export the model again"
            )
        corruption = _corruption(description)
        model = _load_weights(folder / WEIGHTS_FILE, description, corruption)
        return cls(description, tokenizer, model.eval(), corruption.of_model(model))

    @property
    def autoregressive(self) -> Autoregressive | None:
        """The model if it is an autoregressive one."""
        return as_autoregressive(self.model)

    @property
    def denoiser(self) -> DiffusionModel:
        """The model if it is a diffusion model.

        Raises:
            CheckpointError: If it is an autoregressive one.
        """
        if self.autoregressive is not None:
            raise CheckpointError(
                f"'{self.description.name}' is an autoregressive model, which scores text and does not "
                f"generate; give one of model.kind: denoiser"
            )
        return cast(DiffusionModel, self.model)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        card: str | None = None,
        weights: Mapping[str, Tensor] | None = None,
        beside_others: bool = False,
    ) -> Path:
        """Writes weights, configuration and tokenizer, and a model card.

        Args:
            folder: An empty or new folder, or one of an earlier call.
            card: Contents of README.md; None writes the name and how to load it. `hdiff export` writes a
                full one.
            weights: Weights in place of the model's own, by their names there.
            beside_others: Whether the folder may hold files of others, which are left alone.

        Returns:
            The folder.

        Raises:
            CheckpointError: If the folder holds something else, or the disk is full.
        """
        folder = Path(folder)
        if weights is None:
            weights = self.model.state_dict()
        tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        contents = {
            WEIGHTS_FILE: save(tensors, metadata={"format": "pt"}),
            TOKENIZER_FILE: self.tokenizer.backend.to_str(pretty=True).encode(),
        }
        sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        description = self.description.model_copy(update={"sha256": sha256})
        contents[files.CONFIG_FILE] = description.to_json().encode()
        contents[files.CARD_FILE] = (card or self._short_card()).encode()
        files.write_folder(folder, contents, beside_others=beside_others)
        return folder

    def push_to_hub(self, repository: str, *, private: bool = False, card: str | None = None) -> str:
        """Uploads the model to a hub, with the token that `hf auth login` keeps.

        Args:
            repository: `user/model`.
            private: Whether a new repository is private.
            card: As in `save_pretrained`.

        Returns:
            Address of the commit.

        Raises:
            CheckpointError: If the name is malformed or the hub refuses.
        """
        with tempfile.TemporaryDirectory() as aside:
            folder = self.save_pretrained(Path(aside) / "model", card=card)
            return push_folder(folder, repository, files=files.FILES, private=private)

    def _short_card(self) -> str:
        arguments = loading_arguments(self.description, "...")
        return (
            f"---\nlibrary_name: hdiff\n---\n# {self.description.name}\n\nA diffusion language model. Load "
            f"it with `hdiff.sharing.PretrainedModel.from_pretrained({arguments})`.\n"
        )


def _corruption(description: ModelDescription) -> Corruption:
    def unit_lengths(level: str) -> list[float]:
        if level not in description.unit_lengths:
            raise CheckpointError(
                f"config.json of '{description.name}' has no unit lengths of level '{level}'; export it again"
            )
        return description.unit_lengths[level]

    return build_corruption(
        description.corruption,
        mask_id=description.vocab_size,
        unit_lengths=unit_lengths,
        token_classes=lambda _: description.token_classes,
    )


class _WithoutDraws(TorchFunctionMode):
    """Skips random initial values: those of meta tensors are nothing, and drawing them loads a compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


_LAYER_KEYS = ("num_layers", "num_hidden_layers", "n_layers", "n_layer", "encoder_layers", "depth")


def _most_layers(description: ModelDescription) -> int:
    """Most layers that a part of the network is said to have, whatever its configuration calls them."""
    parts = (description.head, description.type_head, description.planner, description.trunk_config)
    given = [item for part in parts if part for item in part.items()]
    numbers = [value for key, value in given if key in _LAYER_KEYS and isinstance(value, int)]
    return max([description.model.depth, *numbers])


def _load_weights(
    path: Path, description: ModelDescription, corruption: Corruption
) -> DiffusionModel | Autoregressive:
    """Builds the network only after the file is known to hold exactly its tensors."""
    found = files.tensor_shapes(path)
    layers = _most_layers(description)
    if layers > len(found):
        raise CheckpointError(
            f"{path} holds {len(found)} tensors, too few for the {layers} layers of config.json; download or "
            f"export the model again"
        )
    given = (description.recipe, description.vocab_size, corruption)
    options: dict[str, Any] = {
        "trunk_config": description.trunk_config,
        "head_classes": description.head_classes,
    }
    with torch.device("meta"), _WithoutDraws():  # no memory is taken for sizes that no file backs
        empty = build_model(*given, **options)
    expected = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path} has {name} of shape {found.get(name)}, config.json asks for {expected.get(name)}; "
                f"download or export the model again"
            )
    with torch.device("cpu"):  # whatever the caller's default is
        model = build_model(*given, **options)
    model.load_state_dict(load_file(path))
    return model
