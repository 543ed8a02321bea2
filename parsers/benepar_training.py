"""Training of benepar parsers from gold trees, with its own architecture and loss.

The pip package of benepar holds model, loss and decoder; this is the loop around them: batches, schedule,
choice of the best epoch on development trees, and a state that survives being killed.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hdiff.errors import ParserError
from hdiff.structure import SpanTree

from .benepar_examples import Example
from .benepar_model import export, new_model, score_trees, write_aside
from .benepar_repairs import import_benepar
from .benepar_settings import TrainingSettings

STATE = "training_state.pt"
"""What a killed training resumes from."""

_BUCKET = 50
"""Batches whose sentences are sorted by length together, so that little is padding."""


def train(
    trees: Sequence[SpanTree],
    dev: Sequence[SpanTree],
    output: Path,
    settings: TrainingSettings,
    *,
    report: Callable[[dict[str, float]], None] = lambda line: None,
    save_every: float = 300.0,
) -> dict[str, float]:
    """Trains a parser and keeps the weights of the best epoch on the development trees.

    Args:
        trees: Gold trees of one sentence each.
        dev: Gold trees to choose the epoch by.
        output: Folder for the model; a training that was killed there resumes with the same numbers.
        settings: Sizes and schedule.
        report: Is called now and then with `step`, `steps`, `loss`, `seconds`, and at the end of an epoch
            with `epoch` and `f1`.
        save_every: Seconds between two saves of the state.

    Returns:
        Bracket scores of the best epoch on `dev`, as `BracketScore.to_dict`, and its `epoch`.

    Raises:
        ParserError: If there are no trees, or the folder holds the training of something else.
    """
    import torch

    import_benepar()
    examples = [Example(tree) for tree in trees]
    examples = [example for example in examples if len(example.words) <= settings.max_words]
    if not examples or not dev:
        raise ParserError("a training needs at least one training tree and one development tree")
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    model = new_model(examples, settings)
    if torch.cuda.is_available():
        model.cuda()
    batches_per_epoch = math.ceil(len(examples) / settings.batch_size)
    steps = batches_per_epoch * settings.epochs
    optimiser, scheduler = _optimiser(model, settings, steps)
    run = _Run(model, optimiser, scheduler, output / STATE, _identity(trees, dev, settings))
    run.resume()
    saved = time.monotonic()
    while run.step < steps:
        epoch, first = divmod(run.step, batches_per_epoch)
        for batch in _batches(examples, settings, epoch)[first:]:
            loss = _update(model, batch, settings, optimiser)
            scheduler.step()
            run.advance(loss)
            if run.step % 10 == 0:
                report(run.line(steps))
            if time.monotonic() - saved > save_every and run.step % batches_per_epoch:
                run.save()
                saved = time.monotonic()
        score = score_trees(model, dev)
        report({**run.line(steps), "epoch": epoch + 1, "f1": score["f1"]})
        if score["f1"] >= run.best.get("f1", -1.0):
            run.best = {**score, "epoch": epoch + 1}
            export(model, settings, output)
        run.save()
    return run.best


def _optimiser(model: Any, settings: TrainingSettings, steps: int) -> tuple[Any, Any]:
    import torch

    pretrained = list(model.pretrained_model.parameters()) if model.pretrained_model is not None else []
    known = {id(parameter) for parameter in pretrained}
    groups = [
        {
            "params": [parameter for parameter in model.parameters() if id(parameter) not in known],
            "lr": settings.learning_rate,
        },
        {"params": pretrained, "lr": settings.encoder_learning_rate},
    ]
    optimiser = torch.optim.AdamW(
        [group for group in groups if group["params"]], betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )

    warmup = max(1, min(settings.warmup_steps, steps // 10))

    def share(step: int) -> float:
        return min((step + 1) / warmup, max(0.0, (steps - step) / steps))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, share)


def _batches(examples: Sequence[Example], settings: TrainingSettings, epoch: int) -> list[list[Example]]:
    """The batches of an epoch, a function of seed and epoch alone."""
    generator = random.Random(f"{settings.seed}:{epoch}")
    order = list(examples)
    generator.shuffle(order)
    size = settings.batch_size
    batches = []
    for first in range(0, len(order), size * _BUCKET):
        near = sorted(order[first : first + size * _BUCKET], key=lambda example: len(example.words))
        batches += [near[start : start + size] for start in range(0, len(near), size)]
    generator.shuffle(batches)
    return batches


def _update(model: Any, batch: list[Example], settings: TrainingSettings, optimiser: Any) -> float:
    import torch

    model.train()
    optimiser.zero_grad()
    total = 0.0
    for _, subbatch in model.encode_and_collate_subbatches(batch, settings.subbatch_tokens):
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=settings.bf16):
            loss = model.compute_loss(subbatch)
        loss.backward()
        total += float(loss.detach())
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
    if math.isfinite(total) and bool(torch.isfinite(norm)):
        optimiser.step()
        return total
    raise ParserError(f"the loss became {total}; lower learning_rate and start again in another folder")


class _Run:
    """The state of a training that survives being killed."""

    def __init__(self, model: Any, optimiser: Any, scheduler: Any, path: Path, identity: str) -> None:
        self.model, self.optimiser, self.scheduler = model, optimiser, scheduler
        self.path, self.identity = path, identity
        self.step = 0
        self.loss = 0.0
        self.seconds = 0.0
        self.best: dict[str, float] = {}
        self._since = time.monotonic()

    def advance(self, loss: float) -> None:
        self.step += 1
        self.loss = loss if self.step == 1 else 0.98 * self.loss + 0.02 * loss

    def line(self, steps: int) -> dict[str, float]:
        spent = self.seconds + time.monotonic() - self._since
        return {"step": self.step, "steps": steps, "loss": self.loss, "seconds": spent}

    def save(self) -> None:
        import torch

        self.seconds += time.monotonic() - self._since
        self._since = time.monotonic()
        state = {
            "identity": self.identity,
            "step": self.step,
            "loss": self.loss,
            "seconds": self.seconds,
            "best": self.best,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": torch.get_rng_state(),
        }
        write_aside(self.path, state)

    def resume(self) -> None:
        import torch

        if not self.path.exists():
            return
        state = torch.load(self.path, weights_only=True, map_location="cpu")
        if state["identity"] != self.identity:
            raise ParserError(
                f"{self.path.parent} holds the training of other trees or settings; "
                "take another folder or delete it"
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["random"])
        self.step, self.loss, self.seconds = state["step"], state["loss"], state["seconds"]
        self.best = state["best"]


def _identity(trees: Sequence[SpanTree], dev: Sequence[SpanTree], settings: TrainingSettings) -> str:
    """What must be the same for a training to resume."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for tree in (*trees, *dev):
        digest.update(repr((tree.text, tree.spans)).encode())
    return digest.hexdigest()
