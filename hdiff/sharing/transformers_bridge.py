"""register: shared models under the Auto classes of transformers.

    from hdiff.sharing.transformers_bridge import register

    register()
    AutoModelForMaskedLM.from_pretrained("shared/quickstart")

Importing this file registers nothing. Remote code stays off: the classes are those of the installed
package, and the folder is read as `PretrainedModel` reads it.

Dimensions: B batch, L tokens, V vocabulary.
"""

# Its base classes are typed in part, and name their arguments differently from call to call.
# mypy: disable-error-code="no-untyped-call,override"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import MaskedLMOutput

from hdiff.errors import CheckpointError, DataError
from hdiff.models.denoiser import Denoiser
from hdiff.models.output import padding_mask
from hdiff.packed_spans import PackedSpans
from hdiff.sharing.description import MODEL_TYPE
from hdiff.sharing.pretrained import PretrainedModel
from hdiff.sharing.transformers_tokenizer import HdiffTokenizer

IGNORED_LABEL = -100

_OF_AUTO_CLASSES = ("adapter_kwargs", "trust_remote_code", "use_safetensors", "weights_only", "_from_auto")
"""What Auto classes pass on and changes nothing here: weights are safetensors, no code is read."""


def register() -> None:
    """Makes `AutoConfig`, `AutoTokenizer` and `AutoModelForMaskedLM` know hdiff; again is harmless."""
    AutoConfig.register(MODEL_TYPE, HdiffConfig, exist_ok=True)
    AutoTokenizer.register(HdiffConfig, tokenizer_class=HdiffTokenizer, exist_ok=True)
    AutoModelForMaskedLM.register(HdiffConfig, HdiffForMaskedLM, exist_ok=True)


@final
class HdiffConfig(PreTrainedConfig):
    """config.json of a shared model, with the names that transformers has for its sizes.

    Args:
        description: Contents of config.json; None for an empty configuration, which builds no model.
        **options: See `PreTrainedConfig`.
    """

    model_type = MODEL_TYPE

    def __init__(self, description: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.description = dict(description or {})
        model = self.description.get("model", {})
        self.vocab_size = self.description.get("vocab_size")
        self.mask_id = self.vocab_size  # transformers wants mask_token_id < vocab_size
        self.max_position_embeddings = self.description.get("sequence_length")
        self.hidden_size = model.get("width")
        self.num_hidden_layers = model.get("depth")
        self.num_attention_heads = model.get("num_heads")
        super().__init__(**options)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **options: Any) -> Any:
        """As `PreTrainedConfig.from_dict`; options go on to the model, which checks them."""
        wants_unused = options.pop("return_unused_kwargs", False)
        name = config_dict.get("_name_or_path", options.pop("name_or_path", ""))
        description = {key: value for key, value in config_dict.items() if not key.startswith("_")}
        config = cls(description, name_or_path=name)
        return (config, options) if wants_unused else config

    def to_dict(self) -> dict[str, Any]:
        """Contents of config.json."""
        return dict(self.description)

    def to_diff_dict(self) -> dict[str, Any]:
        """The same: there are no values that could be left out."""
        return self.to_dict()


@final
class HdiffForMaskedLM(PreTrainedModel):
    """A shared model as a masked language model: what each token is, given the visible ones.

    Args:
        config: Configuration of a folder.
        pretrained: The model.

    Raises:
        CheckpointError: If there is no model, as with `from_config`, or it fills no masks from both sides.
    """

    config_class = HdiffConfig
    base_model_prefix = "denoiser"
    main_input_name = "input_ids"

    def __init__(self, config: HdiffConfig, pretrained: PretrainedModel | None = None) -> None:
        super().__init__(config)
        if pretrained is None:
            raise CheckpointError(
                "a configuration alone has no tokenizer to build an hdiff model for; load a folder with "
                "from_pretrained, or train one:",
                "hdiff train RECIPE",
            )
        self.denoiser = _masked_denoiser(pretrained)
        self.pretrained = pretrained
        self.post_init()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        config: HdiffConfig | None = None,
        revision: str | None = None,
        cache_dir: Path | None = None,
        components: Sequence[str] = (),
        dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> HdiffForMaskedLM:
        """Loads a folder as `PretrainedModel.from_pretrained` does: hashes are checked, no pickle is read.

        Args:
            pretrained_model_name_or_path: A folder of `hdiff export`, or a repository of the hub.
            config: Ignored but for its class: sizes are those of the weights.
            revision: Branch, tag or commit of a repository.
            cache_dir: Where downloads are kept.
            components: Classes of your own that the model may name, `module:Class`.
            dtype: Type of the weights; None and `auto` keep theirs.
            **options: What Auto classes pass on; anything else is refused.

        Returns:
            The model in evaluation mode.

        Raises:
            CheckpointError: If the folder is none, or its model fills no masks from text on both sides.
            DataError: If an option is not known here.
        """
        unknown = [name for name, value in options.items() if value and name not in _OF_AUTO_CLASSES]
        if unknown:
            raise DataError(
                f"hdiff models take no {', '.join(unknown)}; leave it out and change the loaded model"
            )
        if Path(pretrained_model_name_or_path).is_dir():  # transformers resolves "main" for folders too
            revision = None
        pretrained = PretrainedModel.from_pretrained(
            pretrained_model_name_or_path, revision=revision, cache_dir=cache_dir, components=components
        )
        values = pretrained.description.model_dump(mode="json")
        model = cls(HdiffConfig(values, name_or_path=str(pretrained_model_name_or_path)), pretrained)
        if dtype not in (None, "auto"):
            nn.Module.to(model, getattr(torch, dtype) if isinstance(dtype, str) else dtype)
        model.train(False)
        return model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **_options: Any,
    ) -> MaskedLMOutput:
        """Marginals of single tokens.

        The logits of a place are log p of the token there as a span of its own, given the visible tokens
        (`Head.token_log_probs`). Of a joint head they are these marginals and not its joint: two tokens drawn
        from them together can contradict each other, and their sum is no log-likelihood of a text.

        Args:
            input_ids: Tokens, `config.mask_id` where hidden, long (B, L).
            attention_mask: 1 at real tokens, 0 at padding behind them, (B, L); None if all are real.
            labels: True tokens where they count, -100 elsewhere, long (B, L).

        Returns:
            `logits`, normalised, in nats, float (B, L, V); of no use where the token is visible. `loss`, mean
            cross-entropy of the labelled places in nats per token: not a bound on -log p of the text, which
            needs the weights of the corruption (`hdiff.objectives.nelbo`).

        Raises:
            DataError: If padding is not behind the text.
        """
        token_mask = torch.ones_like(input_ids, dtype=torch.bool)
        if attention_mask is not None:
            token_mask = attention_mask.bool()
            if bool((token_mask[:, 1:] & ~token_mask[:, :-1]).any()):
                raise DataError("padding stands before text; set tokenizer.padding_side = 'right'")
        hidden = self.denoiser.hidden(input_ids, padding_mask(token_mask))
        logits = self.denoiser.head.token_log_probs(*PackedSpans.every_token(hidden))
        logits = logits.view(*input_ids.shape, -1)
        loss = None
        if labels is not None:
            loss = F.nll_loss(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED_LABEL)
        return MaskedLMOutput(loss=loss, logits=logits)

    def save_pretrained(
        self, save_directory: str | Path, *, state_dict: Mapping[str, Tensor] | None = None, **_options: Any
    ) -> None:
        """Writes a folder that hdiff and the Auto classes load; other files in it are left alone."""
        prefix = f"{self.base_model_prefix}."
        weights = state_dict and {name.removeprefix(prefix): value for name, value in state_dict.items()}
        self.pretrained.save_pretrained(save_directory, weights=weights, beside_others=True)

    def get_input_embeddings(self) -> nn.Module:
        """The token table, row V of which is the mask."""
        return self.denoiser.head.embedding

    def resize_token_embeddings(self, *_arguments: Any, **_options: Any) -> nn.Embedding:
        """Refused: the table belongs to the tokenizer that the model was trained with."""
        raise CheckpointError(
            "the token table of an hdiff model keeps its size, its mask is the row behind the vocabulary; "
            "prepare with the tokenizer you want and train:",
            "hdiff prepare SOURCE --out DATA --tokenizer FILE",
        )

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the parts of hdiff draw their own weights."""


def _masked_denoiser(pretrained: PretrainedModel) -> Denoiser:
    name, kind = pretrained.description.name, pretrained.description.corruption["kind"]
    if pretrained.autoregressive is not None:
        raise CheckpointError(
            f"'{name}' is an autoregressive model, which predicts from left to right and fills no masks; "
            f"score text with hdiff.sharing.PretrainedModel, or give a model of model.kind: denoiser"
        )
    if pretrained.corruption.network != "denoiser" or pretrained.corruption.type_sizes:
        raise CheckpointError(
            f"'{name}' was trained with corruption '{kind}', whose model gives no marginals of masked tokens "
            f"from one pass over the text; use hdiff.sharing.pipeline.TextDiffusionPipeline, or give a model "
            f"of token_masking, span_masking, rate_matched or learned_rates"
        )
    return cast(Denoiser, pretrained.model)
