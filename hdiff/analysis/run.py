"""analyse_run: loss per level and label, and calibration, of a run on its own held-out text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from hdiff.analysis.groups import groupings
from hdiff.analysis.losses import TokenLosses, loss_tables
from hdiff.analysis.predictions import (
    Predictions,
    boundary_predictions,
    calibrate_all,
    label_predictions,
    span_predictions,
    token_predictions,
)
from hdiff.analysis.states import TIMES, TOKENS_PER_BATCH, State, states
from hdiff.analysis.token_loss import token_nats
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.errors import DataError
from hdiff.evaluation.bounds import evaluation_rows
from hdiff.factory import required_levels
from hdiff.models.autoregressive import Autoregressive
from hdiff.parsers.buckets import Buckets
from hdiff.runs.folder import RunFolder
from hdiff.seeds import derive_seed

FORMAT = 1
"""Changes whenever analysis.json means something else."""

NUM_TOKENS = 4096
"""Tokens of held-out text that are analysed, in whole rows."""

DEFAULT_BUCKETS = 4
"""Classes of salience where the recipe has none."""

CALIBRATED = ("tokens", "spans", "boundary", "label")


def analyse_run(run: RunFolder, *, weights: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Predicts held-out rows, corrupted as in training: content of `analysis.json` (docs/evaluate.md)."""
    prepared = PreparedData.load(run.recipe.data.path)
    if prepared.tokenizer.sha256 != run.tokenizer.sha256:
        raise DataError(
            f"{run.recipe.data.path} was prepared with another tokenizer than {run.path} was trained with; "
            f"prepare it anew:",
            f"hdiff prepare SOURCE --out DATA --tokenizer {shlex.quote(str(run.path / 'tokenizer.json'))}",
        )
    is_exact = run.autoregressive is not None
    levels = () if is_exact else required_levels(run.corruption, run.model)
    packing = run.recipe.packing(block_size=None if is_exact else run.corruption.block_size)
    blocks = PackedBlocks.build(prepared, "validation", levels=levels, **packing)
    wanted = max(1, NUM_TOKENS // blocks.sequence_length)
    rows = evaluation_rows(blocks, run.recipe.evaluation.model_copy(update={"blocks": wanted}))
    buckets = blocks.buckets or Buckets.of_histogram(prepared.manifest["salience_histogram"], DEFAULT_BUCKETS)
    seen = _Seen(run, blocks, rows)
    seen.look(torch.Generator(seen.device).manual_seed(derive_seed(seed, "analysis")))
    return {
        "format": FORMAT,
        "weights": weights,
        "step": run.step,
        "data": str(run.recipe.data.path),
        "seed": seed,
        "rows": len(rows),
        "tokens": int(blocks.batch(rows).num_tokens),
        "times": None if is_exact else list(TIMES),
        "predicted": _what_is_predicted(run),
        "conditional_on_structure": not is_exact and run.corruption.conditional_on_structure,
        "loss": loss_tables(
            TokenLosses.joined(seen.losses), groupings(prepared, blocks, rows, buckets), len(rows)
        ),
        "calibration": seen.calibration(),
    }


def is_current(analysis: Mapping[str, Any] | None, weights: str | None) -> bool:
    """Whether an analysis was made of these weights, in the format of this version."""
    return analysis is not None and analysis.get("format") == FORMAT and analysis.get("weights") == weights


def _what_is_predicted(run: RunFolder) -> str:
    """Which tokens count, for people."""
    if run.autoregressive is not None:
        return "every token, given those before it"
    return run.corruption.predicted


class _Seen:
    """Collects what a model says of all held-out rows."""

    def __init__(self, run: RunFolder, blocks: PackedBlocks, rows: list[int]) -> None:
        self.run, self.blocks, self.rows = run, blocks, rows
        self.device = run.model.head.embedding.weight.device
        self.losses: list[TokenLosses] = []
        self.predictions: dict[str, list[Predictions]] = {name: [] for name in CALIBRATED}

    @torch.no_grad()
    def look(self, generator: torch.Generator) -> None:
        """Runs the model."""
        if self.run.autoregressive is not None:
            self._read_on(self.run.autoregressive)
            return
        for state in states(
            self.run.corruption, self.blocks, self.rows, generator=generator, device=self.device
        ):
            if len(state.targets):
                self._predict(state)

    def calibration(self) -> dict[str, Any]:
        """Calibration by what was predicted; null where a model does not predict it."""
        curves = {name: calibrate_all(parts) for name, parts in self.predictions.items()}
        planner = getattr(self.run.model, "planner", None)
        entries = {name: None if each is None else asdict(each) for name, each in curves.items()}
        return {**entries, "planner_level": None if planner is None else planner.level}

    def _predict(self, state: State) -> None:
        model: Any = self.run.denoiser
        targets = state.targets
        if not hasattr(model, "read"):  # every token is predicted, and no trunk output stands for hidden ones
            log_probs = model(state.corrupted).log_probs
            self._keep(state, -log_probs.gather(1, targets[:, None]).squeeze(1))
            return
        hidden, packed, support = model.read(state.corrupted)
        state = state.reading(hidden)
        self._keep(state, token_nats(model.head, packed, targets, state.corrupted.spans, support=support))
        keep = self.predictions
        keep["tokens"].append(token_predictions(model.head, state, packed, support, targets=targets))
        if bool((state.corrupted.spans.length > 1).any()):
            keep["spans"].append(span_predictions(model.head, state, packed, support, targets=targets))
        planner = getattr(model, "planner", None)
        if planner is not None:
            plan, level = planner(hidden), planner.level
            keep["boundary"].append(boundary_predictions(plan, state, level=level))
            if level in state.batch.labels:
                keep["label"].append(label_predictions(plan, state, level=level))

    def _keep(self, state: State, nats: Tensor) -> None:
        self.losses.append(TokenLosses.of_state(state, nats))

    def _read_on(self, model: Autoregressive) -> None:
        at_once = max(1, TOKENS_PER_BATCH // self.blocks.sequence_length)
        for first in range(0, len(self.rows), at_once):
            batch = self.blocks.batch(self.rows[first : first + at_once]).to(self.device)
            nats = -model(batch).double().cpu()
            row, column = batch.token_mask.cpu().nonzero(as_tuple=True)
            ones = torch.ones_like(row)
            self.losses.append(TokenLosses(nats[row, column], row + first, column, ones.double(), ones))
