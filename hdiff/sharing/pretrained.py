"""PretrainedModel: a model to share, saved and loaded as one folder without its training."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from safetensors.torch import save
from torch import Tensor

from hdiff.corruption import Corruption
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.models.trainable import (
    merge_adapters,
    trained_tensors,
    trunk_digest,
)
from hdiff.runs.folder import RECORD_FILE, RunFolder
from hdiff.sharing import folder as files
from hdiff.sharing.adapter import Adapter
from hdiff.sharing.description import (
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ModelDescription,
    loading_arguments,
    parse_description,
)
from hdiff.sharing.hub import find_folder, push_folder
from hdiff.sharing.loading import corruption_of, load_weights
from hdiff.sharing.shared_parser import SharedParser


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
        """The model of a run, with averaged weights if its recipe keeps them."""
        recipe, record = run.recipe, run.record
        trunk_config = getattr(run.model.trunk, "config_values", None)
        pretrained = recipe.model.pretrained
        # Where the first weights lay on the author's machine is nobody's business; their name is.
        name = None if pretrained is None else Path(pretrained).name
        packing = {k: v for k, v in recipe.data.packing().items() if k != "sequence_length"}
        digest = trunk_digest(run.model)
        adapter = None
        if digest is not None:
            kept = {key: getattr(recipe.train, key) for key in ("trainable", "lora", "trains_table")}
            adapter = Adapter(**kept, trunk_sha256=digest)
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
            adapter=adapter,
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
        base: str | Path | None = None,
    ) -> PretrainedModel:
        """Loads a shared model, a run, or a repository of the hub. No pickle is read, no remote code runs.

        Args:
            name: A folder of `save_pretrained` or `hdiff export`, a run folder, `builtin:NAME`, or
                `user/model`.
            revision: Branch, tag or commit of a repository.
            cache_dir: Where downloads are kept; None takes the place of huggingface_hub.
            components: Classes of your own that the model may name, `module:Class`.
            base: Folder of the released checkpoint that is the trunk, where the folder holds an adapter.

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
        corruption = corruption_of(description)
        model = load_weights(folder / WEIGHTS_FILE, description, corruption, base)
        return cls(description, tokenizer, model.eval(), corruption.of_model(model))

    def merged(self) -> PretrainedModel:
        """The same model with its trunk in it, changed in place: adapters are added to its weights."""
        if self.description.adapter is None:
            return self
        trunk: Any = self.model.trunk
        trunk.keep_weights_in("float32")  # what is added may be less than a shorter type can hold
        merge_adapters(self.model)
        head = self.model.head
        own = {**trunk.origin, "untied": head.output_embedding is not None}
        trunk.config_values = {**trunk.config_values, "hdiff": own}
        update = {
            "adapter": None,
            "trunk_config": trunk.config_values,
            "model": self.description.model.model_copy(update={"weights": "float32"}),
        }
        return replace(self, description=self.description.model_copy(update=update))

    @property
    def autoregressive(self) -> Autoregressive | None:
        """The model if it is an autoregressive one."""
        return as_autoregressive(self.model)

    @property
    def denoiser(self) -> DiffusionModel:
        """The model if it is a diffusion model."""
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
            weights = trained_tensors(self.model)
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
