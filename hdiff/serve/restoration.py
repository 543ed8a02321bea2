"""Restoration: texts as the run's sampler fills them in, every step kept. Dimensions: B texts, L tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hdiff.control.candidates import (
    Controlled,
    check_rows,
    check_steps,
    controlled,
    fill_best,
    one_by_one,
)
from hdiff.control.request import Request
from hdiff.control.samples import controlled_samples
from hdiff.corruption import Corruption
from hdiff.corruption.base import DEFAULT_STEPS
from hdiff.errors import DataError
from hdiff.heads.sampling import Sampling
from hdiff.pages.trajectory import trajectory
from hdiff.samplers import Sampler
from hdiff.samplers.build import text_sampler
from hdiff.samplers.coarse_to_fine import CoarseToFineSampler
from hdiff.serve.abilities import refusals
from hdiff.serve.refinement import refined
from hdiff.serve.requests import ControlRequest, DrawRequest, RestoreRequest
from hdiff.serve.sentence import Sentence
from hdiff.serve.served_run import ServedRun
from hdiff.serve.states import state_at


def restore(request: RestoreRequest, run: ServedRun) -> dict[str, Any]:
    """Fills in what time t hides of a sentence, or writes fresh texts; returns what `_answer` shows."""
    begun = time.perf_counter()
    model = run.folder.denoiser  # refuses an autoregressive model
    if request.text is not None:
        record = _of_sentence(request, run)
    else:
        length = request.length or run.recipe.data.sequence_length
        if length > run.recipe.data.sequence_length:
            raise DataError(
                f"a text of {length} tokens, the rows of this model have {run.recipe.data.sequence_length}; "
                f"ask for fewer"
            )
        if run.corruption.most_steps(length) is None:  # every step may change every token
            record = refined(request, run, model, length)
        else:
            record = _controlled(request, run, Request(length=length))
    return _answer(record, request, time.perf_counter() - begun)


def control(request: ControlRequest, run: ServedRun) -> dict[str, Any]:
    """Writes texts under a control, as `hdiff sample` does; returns what `_answer` shows."""
    begun = time.perf_counter()
    record = _controlled(request, run, request.request())
    return _answer(record, request, time.perf_counter() - begun)


def _controlled(request: DrawRequest, run: ServedRun, asked: Request) -> dict[str, Any]:
    return controlled_samples(
        run.folder,
        asked,
        num_samples=request.samples,
        num_steps=request.steps,
        seed=request.seed,
        sampling=Sampling(temperature=request.temperature),
        parser=run.parser,
    )


def _of_sentence(request: RestoreRequest, run: ServedRun) -> dict[str, Any]:
    """The state of the sentence at time t, as the page of corruption shows it, filled in again."""
    refusal = refusals(run)["sentence"]
    if refusal is not None:
        raise DataError(refusal)
    assert request.text is not None, "the caller has checked it"
    sentence = Sentence.of(request.text, run)
    corruption, notes = sentence.corruption(run)
    if corruption is None:
        raise DataError(" ".join(notes))
    if corruption.masked_units() is not None:
        check_rows(request.samples, len(sentence.ids), run.recipe.data.sequence_length)
    state = state_at(corruption, sentence.batch(run), request.t, request.seed)
    num_hidden = int(state.is_masked.sum())
    if not num_hidden:
        raise DataError(f"at t = {request.t:g} no token of the sentence is hidden; choose a larger t")
    generator = torch.Generator().manual_seed(request.seed)
    if corruption.masked_units() is not None:
        drawn = _fill(request, run, corruption, state.x_t, generator)
    else:
        drawn = _fill_types(request, run, corruption, state.x_t, state.types_t, generator)
    about: dict[str, Any] = {"title": "", "num_steps": max(one.nfe for one in drawn.samples), "seed": 0}
    samples = []
    for one, score, pieces in zip(drawn.samples, drawn.scores, drawn.pieces, strict=True):
        (sample,) = trajectory(one, run.tokenizer, [pieces], parser=run.parser, **about)["samples"]
        samples.append(sample if score is None else {**sample, "score": score})
    passes = max(int(one.passes.max()) for one in drawn.samples)
    return {
        "nfe": about["num_steps"],
        "head_passes": passes,
        "samples": samples,
        "original": "".join(sentence.pieces),
    }


def _fill(
    request: RestoreRequest, run: ServedRun, corruption: Corruption, x_t: Tensor, generator: torch.Generator
) -> Controlled:
    eos, model = run.tokenizer.eos_id, run.folder.denoiser
    row = [eos, *x_t[0].tolist(), eos]
    num_hidden = row.count(model.mask_id)
    sampler = _sampler(request, run, corruption, num_hidden)
    rows = torch.tensor([row] * request.samples)
    return fill_best(model, corruption, run.tokenizer, sampler, [rows], generator=generator)


def _sampler(request: RestoreRequest, run: ServedRun, corruption: Corruption, num_hidden: int) -> Sampler:
    """The sampler of the recipe, or the plain one, as for fresh texts."""
    spec = run.recipe.evaluation.sampler
    return text_sampler(
        # A short sentence has units of its own, which are to be watched one after the other.
        None if spec is not None and "lengths" in spec else spec,
        corruption,
        num_steps=request.steps,
        default=min(DEFAULT_STEPS, num_hidden),
        sampling=Sampling(temperature=request.temperature),
    )


def _fill_types(
    request: RestoreRequest,
    run: ServedRun,
    corruption: Corruption,
    x_t: Tensor,
    types_t: Tensor | None,
    generator: torch.Generator,
) -> Controlled:
    """A cascade goes on from the types that its state still shows."""
    model = run.folder.denoiser
    assert types_t is not None, "cascades have types"
    num_values = int((x_t == model.mask_id).sum()) + int(
        (types_t == torch.tensor(corruption.type_sizes)).sum()
    )
    steps = min(DEFAULT_STEPS, num_values) if request.steps is None else request.steps
    sampler = CoarseToFineSampler(steps, sampling=Sampling(temperature=request.temperature))
    check_steps(sampler, num_values)
    samples = sampler.banning(run.tokenizer.facts.never_text).sample(
        model,
        corruption,
        x_t.expand(request.samples, -1),
        types=types_t.expand(request.samples, -1, -1),
        generator=generator,
    )
    ends = replace(
        samples,
        tokens=_with_ends(samples.tokens),
        steps=_with_ends(samples.steps),
        units=_with_ends(samples.units),
    )
    return controlled(run.tokenizer, one_by_one(ends), [None] * request.samples)


def _with_ends(values: Tensor) -> Tensor:
    """One more column on both sides, which `controlled` takes off."""
    end = torch.zeros_like(values[:, :1])
    return torch.cat([end, values, end], 1)


def _answer(record: Mapping[str, Any], request: DrawRequest, seconds: float) -> dict[str, Any]:
    """What the page shows of a drawing.

    Returns:
        `samples`, each with `text`, `score` (nats per token of what was filled, or None) and `pieces`:
        `level`, `unit`, `given`, and `states`, a list of `[step, text]`, the text None while it is hidden;
        `num_steps`, `nfe`, `head_passes`, `seconds`, `seed`, `is_refined` (every step may change every
        token), `original`.
    """
    samples = [
        {
            "text": sample["text"],
            "score": sample.get("score"),
            "pieces": [_piece(piece) for piece in sample["pieces"]],
        }
        for sample in record["samples"]
    ]
    last = [piece["states"][-1][0] for sample in samples for piece in sample["pieces"]]
    return {
        "samples": samples,
        "num_steps": max([1, *last]),
        "nfe": record["nfe"],
        "head_passes": record["head_passes"],
        "seconds": seconds,
        "seed": request.seed,
        "is_refined": record.get("is_refined", False),
        "original": record.get("original"),
    }


def _piece(piece: Mapping[str, Any]) -> dict[str, Any]:
    text, step = piece.get("text"), piece.get("step")
    states = piece.get("states") or ([[0, text]] if not step else [[0, None], [step, text]])
    is_given = step == 0
    return {"level": piece["level"], "unit": piece["unit"], "given": is_given, "states": states}
