"""ForeignModel: a masked language model that transformers loads; only this file imports transformers.

Nothing that a checkpoint brings is run: no code of its own, no pickles. Dimensions: B rows, L tokens,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from hdiff.data.tokenizer import Tokenizer
from hdiff.diagnosis.masked_model import Ends, MaskedSubject
from hdiff.errors import CPU_ALLOCATOR, CheckpointError, DataError, UserError
from hdiff.plugins import install_command

if TYPE_CHECKING:
    from transformers import PretrainedConfig

PREFIX = "hf:"
LONGEST = 2048
"""Tokens of a row where neither model nor tokenizer names a limit."""
_SAME = 1e-6


@final
@dataclass(frozen=True)
class ForeignModel:
    """A model of transformers whose scores at a position are about that position, or the one after it.

    Attributes:
        name: What it was loaded by.
        network: The model, in evaluation mode.
        vocab_size: Vocabulary V of its scores, the mask included.
        mask_id: Id of its mask.
        shifted: Whether scores at a position are about the next one, as in Dream.
    """

    name: str
    network: nn.Module
    vocab_size: int
    mask_id: int
    shifted: bool = False

    @torch.no_grad()
    def log_probs(self, x_t: Tensor, token_mask: Tensor) -> Tensor:
        """As `MaskedModel.log_probs`; the mask has no probability."""
        device = next(self.network.parameters()).device
        with _faults_of(self.name, "cannot read"):
            output = self.network(input_ids=x_t.to(device), attention_mask=token_mask.long().to(device))
            scores: Tensor = output.logits.float().clone()  # (B, L, V)
        if scores.shape[:-1] != x_t.shape:
            raise CheckpointError(
                f"{self.name} gives scores of shape {tuple(scores.shape)} for tokens of shape "
                f"{tuple(x_t.shape)}; diagnose a model that has a score for every token at every place"
            )
        if self.shifted:
            scores = torch.cat([scores[:, :1], scores[:, :-1]], 1)
        scores[..., self.mask_id] = -torch.inf
        log_probs = scores.log_softmax(-1).cpu()
        if log_probs.isnan().any():
            raise CheckpointError(
                f"{self.name} gives scores that are no numbers; train it again, or save it in float32"
            )
        return log_probs


def load_foreign(name: str, *, shifted: bool = False) -> MaskedSubject:
    """A masked language model of transformers, `hf:PATH` or `hf:NAME`, on the GPU if there is one."""
    try:
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise DataError(f"{name} needs transformers; run:", install_command("transformers")) from error
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with _faults_of(name, "cannot be loaded"):
        return _load(name, shifted=shifted)


def _load(name: str, *, shifted: bool) -> MaskedSubject:
    from transformers import AutoConfig, AutoTokenizer

    place = name.removeprefix(PREFIX)
    config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    reader = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    mask_id = _mask_id(name, config, reader)
    tokenizer = _tokenizer(name, reader)
    network = _network(name, place, config)
    model = ForeignModel(name, network, _vocab_size(network, mask_id), mask_id, shifted)
    if mask_id >= model.vocab_size:
        raise CheckpointError(
            f"{name} has mask id {mask_id} and scores for {model.vocab_size} tokens; resize its embeddings "
            f"to its tokenizer and train it"
        )
    if tokenizer.vocab_size > model.vocab_size:
        raise CheckpointError(
            f"{name} has a tokenizer of {tokenizer.vocab_size} tokens and scores for {model.vocab_size}; "
            f"resize its embeddings to its tokenizer and train it"
        )
    _check_both_sides(name, model)
    ends = _ends(reader)
    return MaskedSubject(name, model, tokenizer, _longest(network, config, reader), ends, ends)


@contextmanager
def _faults_of(name: str, what: str) -> Iterator[None]:
    """Says of anything that a stranger's model raises that it is the model's; memory is the machine's."""
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if CPU_ALLOCATOR in str(error):
            raise
        lines = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{name} {what}: {lines[:300]}; {_remedy(lines)}") from error


def _remedy(reason: str) -> str:
    if "trust_remote_code" in reason or "custom code" in reason:
        return (
            "it brings code of its own, which is never run: convert its weights to a class of transformers "
            "(docs/evaluate.md)"
        )
    if "safetensors" in reason or ".bin" in reason:
        return (
            "only safetensors are read, never pickles: load it where you trust it and save it anew with "
            "save_pretrained(DIR, safe_serialization=True)"
        )
    if "connect" in reason or "offline" in reason.lower() or "huggingface.co" in reason:
        return (
            "give a folder that holds it, or connect to huggingface.co once, so that it is kept in the cache"
        )
    return "give a folder as save_pretrained writes it: config.json, tokenizer.json, model.safetensors"


def _mask_id(name: str, config: PretrainedConfig, reader: Any) -> int:
    for mask_id in (reader.mask_token_id, getattr(config, "mask_token_id", None)):
        if mask_id is not None:
            return int(mask_id)
    raise CheckpointError(
        f"{name} ({config.model_type}) has no mask token, neither in its tokenizer nor as mask_token_id in "
        f"its config.json; diagnose a model trained to fill masks, or name its mask there"
    )


def _tokenizer(name: str, reader: Any) -> Tokenizer:
    """A copy of the tokenizer that neither pads nor cuts and reads no special tokens out of text."""
    import tokenizers

    backend = getattr(reader, "backend_tokenizer", None)
    if backend is None:
        raise CheckpointError(
            f"{name} has a tokenizer without tokenizer.json ({type(reader).__name__}); convert it to a fast "
            f"one (transformers.PreTrainedTokenizerFast) and save it beside the model"
        )
    copy = tokenizers.Tokenizer.from_str(backend.to_str())
    end = reader.eos_token_id if reader.eos_token_id is not None else reader.sep_token_id
    return Tokenizer.of(copy, end_id=-1 if end is None else int(end))


def _network(name: str, place: str, config: PretrainedConfig) -> nn.Module:
    """The weights in the class that fits: a masked model, else a decoder, else whatever has logits."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
    )

    chosen: Any = AutoModel
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        chosen = AutoModelForMaskedLM
    elif type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        chosen = AutoModelForCausalLM
    network, report = chosen.from_pretrained(
        place,
        config=config,
        trust_remote_code=False,
        use_safetensors=True,
        dtype="auto",
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{name} lacks weights of {type(network).__name__} ({', '.join(missing[:3])}), which would be "
            f"random; give a checkpoint saved with its language model head"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    evaluated: nn.Module = network.to(device).eval()
    return evaluated


@torch.no_grad()
def _vocab_size(network: nn.Module, mask_id: int) -> int:
    device = next(network.parameters()).device
    try:
        output = network(input_ids=torch.tensor([[mask_id, mask_id]], device=device))
    except IndexError as error:
        raise CheckpointError(
            f"the mask id {mask_id} is outside of the model's token table; resize its embeddings to its "
            f"tokenizer and train it"
        ) from error
    if getattr(output, "logits", None) is None:
        raise CheckpointError(
            f"{type(network).__name__} gives no scores of tokens; give a checkpoint saved with its language "
            f"model head"
        )
    return int(output.logits.shape[-1])


def _check_both_sides(name: str, model: ForeignModel) -> None:
    """Refuses a model whose predictions do not change with the text to the right."""
    other = 0 if model.mask_id else 1
    rows = torch.full((2, 6), model.mask_id)
    rows[0, -1] = other
    first, second = model.log_probs(rows, torch.ones_like(rows, dtype=torch.bool))[:, :3]
    if torch.allclose(first.exp(), second.exp(), rtol=0, atol=_SAME * float(first.exp().max())):
        raise CheckpointError(
            f"{name} reads only the text to the left, so that it cannot fill masks; diagnose a bidirectional "
            f'model (a decoder trained as one needs "is_causal": false in its config.json)'
        )


def _ends(reader: Any) -> Ends:
    """Special tokens that its tokenizer puts around a text."""
    with_ends = list(reader("a")["input_ids"])
    alone = list(reader("a", add_special_tokens=False)["input_ids"])
    for start in range(len(with_ends) - len(alone) + 1):
        if with_ends[start : start + len(alone)] == alone:
            return tuple(with_ends[:start]), tuple(with_ends[start + len(alone) :])
    return (), ()


def _longest(network: nn.Module, config: PretrainedConfig, reader: Any) -> int:
    """Tokens of the longest row: the least of what tokenizer, config and table of positions allow."""
    limits = [LONGEST]
    if reader.model_max_length < 10**9:  # transformers writes 10^30 for none
        limits.append(int(reader.model_max_length))
    if getattr(config, "max_position_embeddings", None):
        limits.append(int(config.max_position_embeddings))
    for path, module in network.named_modules():
        table = getattr(module, "weight", None)
        if isinstance(table, Tensor) and path.endswith("position_embeddings"):
            # RoBERTa counts positions from the one after padding.
            padding = getattr(module, "padding_idx", None)
            limits.append(len(table) - (0 if padding is None else padding + 1))
    return min(limits)
