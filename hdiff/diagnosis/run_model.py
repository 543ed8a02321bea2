"""RunModel: a run of hdiff as a masked model.

Dimensions: B rows, L tokens, D width, V vocabulary, N pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor

from hdiff.diagnosis.masked_model import MaskedSubject
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.models.denoiser import Denoiser
from hdiff.models.output import padding_mask
from hdiff.packed_spans import PackedSpans
from hdiff.runs.folder import RunFolder
from hdiff.shipped import model_name


@final
@dataclass(frozen=True)
class RunModel:
    """A denoiser of masked tokens; a token on its own is a span of one token.

    Attributes:
        denoiser: The denoiser, in evaluation mode, without types.
    """

    denoiser: Denoiser

    @property
    def vocab_size(self) -> int:
        """Vocabulary V, without the mask."""
        return self.denoiser.vocab_size

    @property
    def mask_id(self) -> int:
        """V: the mask is none of the values predicted."""
        return self.denoiser.mask_id

    @torch.no_grad()
    def log_probs(self, x_t: Tensor, token_mask: Tensor) -> Tensor:
        """As `MaskedModel.log_probs`."""
        return self.log_probs_at(x_t, token_mask, range(x_t.shape[1]))

    @torch.no_grad()
    def log_probs_at(self, x_t: Tensor, token_mask: Tensor, places: Sequence[int]) -> Tensor:
        """As `log_probs`, at some places of every row, in rising order: others are not scored; (B, M, V)."""
        hidden = self.denoiser.hidden(x_t.to(self._device), padding_mask(token_mask.to(self._device)))
        units = torch.arange(x_t.shape[1], device=self._device).expand_as(x_t)
        asked = torch.zeros_like(units, dtype=torch.bool)
        asked[:, list(places)] = True
        log_probs = self.denoiser.head.token_log_probs(*PackedSpans.from_units(units, asked).read(hidden))
        return log_probs.view(len(x_t), len(places), -1).cpu()

    @torch.no_grad()
    def pair_log_probs(self, x_t: Tensor, places: Tensor, pairs: Tensor) -> Tensor:
        """As `JointModel.pair_log_probs`."""
        rows = torch.arange(len(x_t))
        hidden = self.denoiser.hidden(x_t.to(self._device))
        both = torch.stack([hidden[rows, places], hidden[rows, places + 1]], 1)  # (B, 2, D)
        count = pairs.shape[1]
        if getattr(self.denoiser.head, "sees_row", False):  # its rows hold one pair at a time
            return self._row_by_row(hidden, places, pairs)
        packed = both[:, None].expand(-1, count, -1, -1).reshape(-1, both.shape[-1])  # (B * N * 2, D)
        units = torch.arange(len(x_t) * count).repeat_interleave(2)[None].to(self._device)
        spans = PackedSpans.from_units(units, torch.ones_like(units, dtype=torch.bool))
        scores = self.denoiser.head.log_prob(packed, pairs.flatten().to(self._device), spans)
        return scores.view(len(x_t), count).cpu()

    def _row_by_row(self, hidden: Tensor, places: Tensor, pairs: Tensor) -> Tensor:
        """Scores of heads that see the row, (B, N): each first token once, in a row of its own."""
        head = self.denoiser.head
        assert isinstance(head, AutoregressiveHead), "no other head sees the row"
        column = torch.arange(hidden.shape[1], device=hidden.device)
        scores = []
        for own, place, wanted in zip(hidden, places.tolist(), pairs.to(hidden.device), strict=True):
            firsts, which = wanted[:, 0].unique(return_inverse=True)  # (A,), (N,)
            is_pair = (column == place) | (column == place + 1)
            units = (is_pair.long().cumsum(0).clamp(max=1) + (column > place + 1)).expand(len(firsts), -1)
            spans = PackedSpans.from_units(units, is_pair.expand_as(units))
            packed, spans = spans.read(own.expand(len(firsts), -1, -1))
            before = firsts.repeat_interleave(2)  # (2 A,)
            table = head.next_log_probs(packed, before, spans).view(len(firsts), 2, -1)
            scores.append(table[which, 0, wanted[:, 0]] + table[which, 1, wanted[:, 1]])
        return torch.stack(scores).cpu()

    @property
    def _device(self) -> torch.device:
        return self.denoiser.head.embedding.weight.device


def subject_of_run(run: RunFolder) -> MaskedSubject:
    """A run as the subject of a diagnosis; rows are cut out of running text, as in training."""
    denoiser, kind = run.denoiser, run.recipe.corruption["kind"]
    if run.corruption.network != "denoiser":
        raise DataError(
            f"{run.path} was trained with corruption '{kind}', whose model fills no masks from text on both "
            f"sides; diagnose a run of token_masking, span_masking or rate_matched"
        )
    if run.corruption.type_sizes:
        raise DataError(
            f"{run.path} was trained with corruption '{kind}' and predicts a token only after its type is "
            f"generated, so that no single pass has a marginal of it; diagnose a run of token_masking, "
            f"span_masking or rate_matched"
        )
    model, ends = RunModel(cast(Denoiser, denoiser)), (run.tokenizer.eos_id,)
    return MaskedSubject(
        name=model_name(run.path),
        model=model,
        tokenizer=run.tokenizer,
        longest=run.recipe.data.sequence_length,
        sentence_ends=(ends, ends),
        joint=None if isinstance(denoiser.head, ProductHead) else model,
        step=run.step,
    )
