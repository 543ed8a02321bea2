"""Repairs that let benepar 0.2.0 (2021) run with the torch and transformers of today.

1. transformers 5 removed `build_inputs_with_special_tokens` from the fast tokenizers; benepar asks it where
   the special tokens go.
2. Checkpoints hold buffers that newer encoders no longer have (`position_ids` of BERT,
   `relative_attention_bias` of T5 decoders); benepar loads strictly.
3. torch warns of distributions without `arg_constraints`; those of torch_struct say nothing.
4. Wrong files raise whatever torch raises; here it is a ParserError that says what to do. torch.load
   unpickles weights only, so no code of a model file is run.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hdiff.errors import ParserError
from hdiff.plugins import install_command

OBSOLETE_KEYS = ("position_ids", "relative_attention_bias.weight")
"""Ends of the names of buffers that encoders no longer have."""


def import_benepar() -> Any:
    """benepar, with the missing tokenizer method.

    Returns:
        The module.

    Raises:
        ParserError: If it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import benepar
            import torch_struct
            import transformers
    except ImportError as error:
        raise ParserError(
            f"benepar cannot be imported ({error}), parser 'benepar' needs it; run:",
            install_command("benepar"),
        ) from error
    base = transformers.PreTrainedTokenizerBase
    if not hasattr(base, "build_inputs_with_special_tokens"):
        base.build_inputs_with_special_tokens = _with_special_tokens  # type: ignore[attr-defined]
    torch_struct.StructDistribution.arg_constraints = {}
    return benepar


def _with_special_tokens(tokenizer: Any, ids: list[int]) -> list[int]:
    """Ids between the special tokens that the tokenizer puts around a text."""
    encoded = list(tokenizer("a")["input_ids"])
    inside = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    starts = [at for at in range(len(encoded)) if encoded[at : at + len(inside)] == inside]
    if not inside or not starts:
        raise ParserError("the tokenizer of this benepar model does not keep its text together; take another")
    return [*encoded[: starts[0]], *ids, *encoded[starts[0] + len(inside) :]]


@contextmanager
def lenient_loading() -> Iterator[None]:
    """While it is open, modules load checkpoints with obsolete keys; other differences stay errors."""
    from torch import nn

    original = nn.Module.load_state_dict

    def load(module: nn.Module, state: Any, strict: bool = True, assign: bool = False) -> Any:
        known = module.state_dict().keys()
        kept = {key: value for key, value in state.items() if key in known or not key.endswith(OBSOLETE_KEYS)}
        return original(module, kept, strict=strict, assign=assign)

    nn.Module.load_state_dict = load  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.load_state_dict = original  # type: ignore[method-assign]


@contextmanager
def clear_errors(model: str) -> Iterator[None]:
    """Turns what goes wrong while loading a model into one sentence, and keeps transformers quiet.

    Args:
        model: What the user named.

    Raises:
        ParserError: For every error of the block.
    """
    import transformers

    messages: Any = transformers.utils.logging

    verbosity, has_bars = messages.get_verbosity(), messages.is_progress_bar_enabled()
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    try:
        yield
    except ParserError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        hint = "it does not exist" if isinstance(error, LookupError) and not Path(model).exists() else reason
        raise ParserError(
            f"benepar model '{model}' cannot be loaded: {hint}. Give a .pt file or a folder with "
            "benepar_model.bin, for example from",
            "hdiff parser train TREES --dev TREES --out FOLDER",
        ) from error
    finally:
        messages.set_verbosity(verbosity)
        if has_bars:
            messages.enable_progress_bar()
