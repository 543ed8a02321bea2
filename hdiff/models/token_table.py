"""TokenTable: what a checkpoint knows of tokens, for the tables of a head.

Dimensions: D width, V vocabulary.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hdiff.data.tokenizer import FILE_NAME, Tokenizer
from hdiff.errors import CheckpointError, RecipeError
from hdiff.heads.base import Head


@dataclass(frozen=True)
class TokenTable:
    """Rows of a checkpoint's tables.

    Attributes:
        rows: Input vectors of the vocabulary and of the hidden token, float (V + 1, D).
        bias: Output bias of the vocabulary, float (V,); None if it has none.
        output: Output vectors of the vocabulary, float (V, D), where they are not the input's; else None.
        mask_id: Id of the checkpoint's mask, whose vector the hidden token starts as; None: the mean of all.
        tokenizer_sha256: Digest of its tokenizer.
    """

    rows: Tensor
    bias: Tensor | None
    output: Tensor | None
    mask_id: int | None
    tokenizer_sha256: str

    @classmethod
    def of(cls, network: Any, tokenizer: Tokenizer, path: str) -> TokenTable:
        """Takes the rows of the tokenizer's vocabulary out of the tables of a network."""
        table = network.get_input_embeddings().weight.detach()
        size = tokenizer.vocab_size
        if size > len(table):
            raise CheckpointError(
                f"{path} has a tokenizer of {size:,} tokens and a table of {len(table):,}; download it again"
            )
        mask_id = mask_token(network.config, tokenizer)
        if mask_id is not None and mask_id >= len(table):
            raise CheckpointError(
                f"{path} has mask id {mask_id:,} and a table of {len(table):,} tokens; resize its embeddings "
                "to its tokenizer and train it"
            )
        mask = table[:size].mean(0) if mask_id is None else table[mask_id]
        output = network.get_output_embeddings()
        bias = output_bias(network)
        is_tied = output is None or output.weight.data_ptr() == table.data_ptr()
        return cls(
            torch.cat([table[:size], mask[None]]),
            None if bias is None else bias.detach()[:size].clone(),
            None if is_tied else output.weight.detach()[:size].clone(),
            mask_id,
            tokenizer.sha256,
        )

    def check_tokenizer(self, path: str, vocab_size: int, data_path: str) -> None:
        """Refuses a tokenizer that is not the data set's: rows would belong to other tokens."""
        file = Path(data_path) / FILE_NAME
        is_same = not file.is_file() or Tokenizer.load(file).sha256 == self.tokenizer_sha256
        if len(self.rows) - 1 != vocab_size or not is_same:
            raise RecipeError(
                f"the data set {data_path} ({vocab_size:,} tokens) has another tokenizer than the checkpoint "
                f"{path} ({len(self.rows) - 1:,}); prepare it anew:",
                f"hdiff prepare SOURCE --out DATA --tokenizer {shlex.quote(str(path))}",
            )

    @torch.no_grad()
    def copy_to(self, head: Head) -> None:
        """Starts the tables of a head from these rows, with an output table where the checkpoint has one."""
        head.embedding.weight.copy_(self.rows)
        if self.output is not None:
            head.untie()
            assert head.output_embedding is not None, "it was made just now"
            head.output_embedding.copy_(self.output)
        if self.bias is not None:
            head.output_bias.copy_(self.bias)


def mask_token(config: Any, tokenizer: Tokenizer) -> int | None:
    """Id of the token that hides others: what config.json names, else the tokenizer's; None without."""
    named = getattr(config, "mask_token_id", None)
    return int(named) if isinstance(named, int) else tokenizer.facts.mask_id


def output_bias(network: Any) -> Tensor | None:
    """What a network of transformers adds to the scores of its output table.

    Args:
        network: The network.

    Returns:
        Its own tensor, float (rows of the table,); None if it has none.
    """
    output = network.get_output_embeddings()
    if output is None or output.bias is not None:
        return None if output is None else output.bias
    bias = getattr(around_output(network), "bias", None)  # ESM adds it behind the table
    return bias if isinstance(bias, nn.Parameter) else None


def around_output(network: Any) -> Any:
    """The part of a network in which its output table lies; None where that is the network itself."""
    output = network.get_output_embeddings()
    place = next((name for name, module in network.named_modules() if module is output), "")
    parent = place.rpartition(".")[0]
    return network.get_submodule(parent) if output is not None and parent else None
