"""HeldOut: the text a model is diagnosed on, and the unigram distribution it is compared with.

Dimensions: N tokens of the text, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.builtin import read_builtin
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.runs.folder import RunFolder
from hdiff.shipped import PREFIX, is_builtin

UNIFORM_SHARE = 1e-3
"""Share of the uniform distribution in the unigram one, so that a token the text lacks has finite cost."""


@dataclass(frozen=True)
class HeldOut:
    """Text as one stream of tokens.

    Attributes:
        tokens: The text, int (N,).
        counts: How often each token occurs in the reference text, float (V,).
        block: Rows begin at multiples of this many tokens, as in training; 0: wherever they fit.
        source: What text and reference are, for the reader.
    """

    tokens: NDArray[np.int64]
    counts: NDArray[np.float64]
    block: int
    source: str

    @classmethod
    def of_run(cls, run: RunFolder) -> HeldOut:
        """The validation split of the data a run was trained on; the training split is the reference."""
        prepared = PreparedData.load(run.recipe.data.path)
        if prepared.tokenizer.sha256 != run.tokenizer.sha256:
            raise DataError(
                f"{run.recipe.data.path} has another tokenizer than {run.path} was trained with; give "
                f"held-out text:",
                "--text FILE",
            )
        data = run.recipe.data
        train, validation = (
            PackedBlocks.build(
                prepared, split, sequence_length=data.sequence_length, separator=data.separator
            )
            for split in ("train", "validation")
        )
        return cls(
            validation.tokens.astype(np.int64),
            np.bincount(train.tokens, minlength=train.vocab_size).astype(np.float64),
            data.sequence_length,
            "validation split; unigram distribution of the training split",
        )

    @classmethod
    def of_file(cls, path: Path | str, tokenizer: Tokenizer, vocab_size: int) -> HeldOut:
        """A UTF-8 text file or a built-in corpus, which is its own reference."""
        try:
            text = _built_in(str(path)) if is_builtin(path) else Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {path} ({error}); give a file of UTF-8 text") from error
        tokens = np.asarray(tokenizer.encode(text)[0], dtype=np.int64)
        if not len(tokens):
            raise DataError(f"{path} holds no token; give a file of held-out text")
        counts = np.bincount(tokens, minlength=vocab_size).astype(np.float64)
        return cls(tokens, counts, 0, f"{Path(path).name}; unigram distribution of the same file")

    def rows(self, length: int, count: int) -> list[list[int]]:
        """Pieces of the text that do not overlap, spread evenly over it; fewer if it is too short."""
        block = self.block or length
        assert length <= block, "a row of a run is at most as long as in training"
        available = len(self.tokens) // block
        if available < 2:
            raise DataError(
                f"the text has {len(self.tokens):,} tokens, at least two pieces of {block} are needed; give "
                f"more text"
            )
        chosen = min(count, available)
        starts = [place * available // chosen * block for place in range(chosen)]
        return [self.tokens[start : start + length].tolist() for start in starts]

    def unigram(self) -> Tensor:
        """log p of each token in the reference text, with a share of 0.001 uniform: nats, float64 (V,)."""
        shares = torch.from_numpy(self.counts / self.counts.sum())
        return ((1 - UNIFORM_SHARE) * shares + UNIFORM_SHARE / len(shares)).log()


def _built_in(name: str) -> str:
    """The documents of a built-in corpus as one text."""
    return "\n\n".join(read_builtin(name.removeprefix(PREFIX)))
