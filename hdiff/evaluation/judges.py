"""Judges: what scores the samples of a run, loaded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError
from hdiff.evaluation.bounds import check_same_vocabulary, quality
from hdiff.evaluation.outside_judges import NgramJudge, link_grammar_rate
from hdiff.models.autoregressive import Autoregressive
from hdiff.runs.folder import RunFolder

NGRAM_TOKENS = 500_000
"""Training tokens the n-gram judge counts."""


@final
@dataclass(frozen=True)
class Judges:
    """Everything that scores samples of a run.

    Attributes:
        tokenizer: Turns tokens into text.
        judge: Autoregressive model over the same vocabulary; None leaves its figure null.
        ngram: n-gram model of the training split; None leaves out both outside judges.
    """

    tokenizer: Tokenizer
    judge: Autoregressive | None
    ngram: NgramJudge | None

    @classmethod
    def load(cls, run: RunFolder, judge: str | None, prepared: PreparedData | None) -> Judges:
        """Loads the judges of a run; `prepared` None leaves the outside judges out."""
        ngram = None
        if prepared is not None:
            blocks = PackedBlocks.build(prepared, "train", **run.recipe.packing("train"))
            length = run.recipe.data.sequence_length
            rows = blocks.tokens[: NGRAM_TOKENS // length * length].tolist()
            rows = [rows[first : first + length] for first in range(0, len(rows), length)]
            ngram = NgramJudge.fit(rows, vocab_size=run.tokenizer.vocab_size)
        return cls(run.tokenizer, _load_judge(run, judge), ngram)

    def figures(self, tokens: Tensor) -> dict[str, Any]:
        """Figures of texts of equal length, long (B, L), as `quality` and the outside judges give them."""
        values = quality(tokens, self.judge)
        if self.ngram is not None:
            rows = tokens.tolist()
            values["ngram_nll"] = self.ngram.nats_per_token(rows)
            values["link_grammar_rate"] = link_grammar_rate([self.tokenizer.decode(row) for row in rows])
        return values


def _load_judge(run: RunFolder, path: str | None) -> Autoregressive | None:
    if path is None:
        return None
    judge = RunFolder.load(path)
    if judge.autoregressive is None:
        raise CheckpointError(
            f"{path} holds a {judge.recipe.model.kind}; a judge is a run of recipes/judge.yaml"
        )
    check_same_vocabulary(run.tokenizer.sha256, judge.tokenizer.sha256)
    return judge.autoregressive
