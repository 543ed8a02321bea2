"""The two training loops that throughput.py compares, with a clock at their parts.

Dimensions: B batch, L tokens, V vocabulary.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.factory import count_parameters
from hdiff.recipe import resolve
from hdiff.training.build import build_training
from hdiff.training.update import Updates

HEAD_WIDTH = 48
SPANS = {"kind": "span_masking", "segmentation": "mixture", "level": "phrase", "lengths": "corpus"}
SYSTEMS: dict[str, dict[str, Any]] = {
    "hdiff": {"corruption": {"kind": "token_masking"}, "head": {"kind": "product"}},
    "hdiff, spans": {"corruption": SPANS, "head": {"kind": "autoregressive"}},
    "plain, padded to the longest": {"pad": "longest"},
    "plain, padded to the row": {"pad": "row"},
    "plain, on packed rows": {"pad": "none"},
    "BertForMaskedLM, padded to the longest": {"pad": "longest", "is_bert": True},
}
"""Two recipes of hdiff, and the plain loop, also on hdiff's rows and with the model of transformers."""


@dataclass(frozen=True)
class Case:
    """What is the same for all systems that are compared.

    Attributes:
        width: Width of the trunk.
        depth: Layers.
        precision: `fp32` or `bf16` (autocast).
        is_compiled: Whether trunks are compiled.
    """

    width: int
    depth: int
    precision: str
    is_compiled: bool

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        return f"{self.width} x {self.depth}, {self.precision}{', compiled' if self.is_compiled else ''}"


@dataclass
class Parts:
    """Seconds by part of an update; empty and idle unless `is_on`.

    Attributes:
        device: Where the work is done.
        clock: `wall`, or `cpu` for the processor time of this process (one thread on a busy machine).
        is_on: Whether the parts are timed, not only whole updates.
        seconds: Seconds by part.
    """

    device: torch.device
    clock: str
    is_on: bool = False
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def run(*args: Any, **options: Any) -> Any:
            if not self.is_on:
                return work(*args, **options)
            began = self.now()
            result = work(*args, **options)
            self.seconds[part] += self.now() - began
            return result

        return run

    def now(self) -> float:
        """Seconds, when the device has nothing left to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.process_time() if self.clock == "cpu" else time.perf_counter()


class Hdiff(Updates):
    """The training's own update, with a clock at its parts."""

    def __init__(self, case: Case, system: str, arguments: argparse.Namespace) -> None:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)  # it keeps the precision of the case before
        recipe = resolve(
            {
                "name": "throughput",
                "output": str(arguments.out / "unused"),
                "data": {"path": str(arguments.data), "sequence_length": arguments.length},
                "model": {"width": case.width, "depth": case.depth, "num_heads": case.width // HEAD_WIDTH},
                "train": {
                    "steps": 10**6,
                    "batch_size": arguments.rows,
                    "mixed_precision": "bf16" if case.precision == "bf16" else "no",
                },
                **SYSTEMS[system],
            },
            where="throughput.py",
        )
        training = build_training(recipe)
        super().__init__(training)
        self.parts = Parts(training.accelerator.device, arguments.clock)
        self.done, self.real, self.positions = 0, 0, 0
        timed = self.parts.timed
        trunk = training.model.trunk
        if case.is_compiled:
            trunk.compile()
        corruption, loss, accelerator = training.corruption, training.loss, training.accelerator
        corruption.corrupt = timed("corruption", corruption.corrupt)  # type: ignore[method-assign]
        trunk.forward = timed("trunk", trunk.forward)  # type: ignore[method-assign]
        loss.forward = self._counted(timed("forward", loss.forward))
        accelerator.backward = timed("backward", accelerator.backward)

    def batches(self, step: int) -> Iterator[Any]:
        """Those of the training, with a clock."""
        batches = iter(super().batches(step))
        while (batch := self.parts.timed("data", lambda: next(batches, None))()) is not None:
            yield batch

    def _counted(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(batch: Batch, *rest: Any) -> Any:
            self.real += int(batch.token_mask.sum())
            self.positions += batch.token_mask.numel()
            return forward(batch, *rest)

        return run

    def update(self) -> None:
        """One update."""
        self.done += 1
        self.parts.timed("update", self)(self.done)

    @property
    def inner_parameters(self) -> int:
        """Parameters without the token table."""
        counts = count_parameters(self.training.model)
        return counts["total"] - counts["embedding"]


class PlainDenoiser(nn.Module):
    """A masked diffusion model made of torch.nn modules."""

    def __init__(self, vocab_size: int, case: Case, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size + 1, case.width)
        self.places = nn.Embedding(length, case.width)
        layer = nn.TransformerEncoderLayer(
            case.width,
            case.width // HEAD_WIDTH,
            4 * case.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.trunk = nn.TransformerEncoder(
            layer, case.depth, norm=nn.LayerNorm(case.width), enable_nested_tensor=False
        )
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x_t: Tensor, padding: Tensor | None) -> Tensor:
        """Scores of all tokens at all positions, (B, L) -> (B, L, V)."""
        hidden = self.tokens(x_t) + self.places.weight[: x_t.shape[1]]
        hidden = self.trunk(hidden, src_key_padding_mask=padding)
        return F.linear(hidden, self.tokens.weight[:-1], self.bias)


class BertDenoiser(nn.Module):
    """The same model of transformers, as it comes."""

    def __init__(self, vocab_size: int, case: Case, length: int) -> None:
        from transformers import BertConfig, BertForMaskedLM

        super().__init__()
        config = BertConfig(
            vocab_size=vocab_size + 1,
            hidden_size=case.width,
            num_hidden_layers=case.depth,
            num_attention_heads=case.width // HEAD_WIDTH,
            intermediate_size=4 * case.width,
            max_position_embeddings=length,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.model = BertForMaskedLM(config)
        self.trunk = self.model.bert
        embeddings = self.trunk.embeddings
        self.tokens, self.places = embeddings.word_embeddings, embeddings.position_embeddings

    def forward(self, x_t: Tensor, padding: Tensor | None) -> Tensor:
        """Scores of all tokens at all positions, (B, L) -> (B, L, V)."""
        mask = None if padding is None else (~padding).long()
        scores: Tensor = self.model(input_ids=x_t, attention_mask=mask).logits
        return scores[..., :-1]


class Plain:
    """The plain loop: MDLM's loss on padded rows."""

    def __init__(self, case: Case, system: str, arguments: argparse.Namespace) -> None:
        self.case, self.pad = case, SYSTEMS[system]["pad"]
        self.rows, self.length = arguments.rows, arguments.length
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        prepared = PreparedData.load(arguments.data)
        blocks = PackedBlocks.build(prepared, "train", sequence_length=self.length)
        if self.pad == "none":
            full = len(blocks) - 1
            self.pieces = list(blocks.batch(range(full)).input_ids)
        else:
            self.pieces = pieces(blocks.tokens, blocks.eos_id, self.length)
        self.eos_id, self.mask_id = blocks.eos_id, blocks.vocab_size
        torch.manual_seed(0)
        kind = BertDenoiser if SYSTEMS[system].get("is_bert") else PlainDenoiser
        self.model = kind(blocks.vocab_size, case, self.length).to(self.device)
        if case.is_compiled:
            self.model.trunk.compile()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.98))
        self.parts = Parts(self.device, arguments.clock)
        self.order: list[int] = []
        self.real, self.positions = 0, 0
        self.model.trunk.forward = self.parts.timed("trunk", self.model.trunk.forward)  # type: ignore[method-assign]
        self.inner_parameters = sum(p.numel() for p in self.model.parameters()) - sum(
            table.weight.numel() for table in (self.model.tokens, self.model.places)
        )

    def collate(self) -> tuple[Tensor, Tensor]:
        """Rows of one piece each and their padding: (B, L) both."""
        if len(self.order) < self.rows:
            self.order = torch.randperm(len(self.pieces)).tolist()
        chosen = [self.pieces[self.order.pop()] for _ in range(self.rows)]
        if self.pad == "row":
            chosen.append(torch.zeros(self.length, dtype=torch.long))
        lengths = torch.tensor([len(piece) for piece in chosen[: self.rows]])
        ids = nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=self.eos_id)[: self.rows]
        is_padding = torch.arange(ids.shape[1]) >= lengths[:, None]
        self.real += int(lengths.sum())
        self.positions += ids.numel()
        return ids.to(self.device), is_padding.to(self.device)

    def forward(self, ids: Tensor, is_padding: Tensor, is_masked: Tensor, t: Tensor) -> Tensor:
        """MDLM's bound in nats per token."""
        padding = None if self.pad == "none" else is_padding
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.case.precision == "bf16"):
            logits = self.model(ids.masked_fill(is_masked, self.mask_id), padding)
        nats = F.cross_entropy(logits.flatten(0, 1).float(), ids.flatten(), reduction="none").view_as(ids)
        return (nats * is_masked / t).sum() / (~is_padding).sum()

    def corrupt(self, is_padding: Tensor) -> tuple[Tensor, Tensor]:
        """Which tokens are hidden, (B, L), and the times, (B, 1)."""
        t = torch.rand(len(is_padding), 1, device=self.device).clamp(min=1e-3)
        return (torch.rand(is_padding.shape, device=self.device) < t) & ~is_padding, t

    def update(self) -> None:
        """One update."""
        self.parts.timed("update", self._update)()

    def _update(self) -> None:
        timed = self.parts.timed
        ids, is_padding = timed("data", self.collate)()
        is_masked, t = timed("corruption", self.corrupt)(is_padding)
        loss = timed("forward", self.forward)(ids, is_padding, is_masked, t)
        self.optimizer.zero_grad()
        timed("backward", loss.backward)()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        loss.item()


def pieces(tokens: np.ndarray[Any, Any], eos_id: int, length: int) -> list[Tensor]:
    """Documents with their end marks, cut into pieces of at most `length` tokens."""
    documents = np.split(tokens.astype(np.int64), np.flatnonzero(tokens == eos_id) + 1)
    return [
        piece for text in documents for piece in torch.split(torch.from_numpy(text), length) if len(piece)
    ]
