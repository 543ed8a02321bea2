"""controlled_samples: what `hdiff sample` does with a run folder, a sampler and what is asked of the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from hdiff.control.candidates import Controlled, check_masked_units, check_steps
from hdiff.control.keywords import Keywords, with_keywords
from hdiff.control.pattern import Gap, Pattern, infill
from hdiff.control.request import Request
from hdiff.control.rewrite import rewriting_pattern
from hdiff.control.skeleton import Skeleton, follow_skeleton, num_values, skeleton_types
from hdiff.control.verification import skeleton_checker
from hdiff.corruption.base import DEFAULT_STEPS
from hdiff.errors import CheckpointError, DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.pages.trajectory import trajectory
from hdiff.runs.folder import RunFolder
from hdiff.samplers import Sampler, hidden_rows
from hdiff.samplers.build import text_sampler

if TYPE_CHECKING:
    from hdiff.parsers.base import Parser

SamplerOf = Callable[[int], Sampler]
"""The sampler for a number of values to fill."""

LONGEST = 64
"""Rows of the model that a sample may be long; more is a mistake that would not end."""


def controlled_samples(
    run: RunFolder,
    request: Request,
    *,
    num_samples: int,
    num_steps: int | None = None,
    seed: int = 0,
    sampling: Sampling = AS_IT_IS,
    sampler: Mapping[str, Any] | None = None,
    parser: Parser | None = None,
) -> dict[str, Any]:
    """Samples text, under a control if one is asked for, and records step by step what was filled.

    Args:
        run: The run.
        request: What is asked of the text.
        num_samples: How many.
        num_steps: Steps T; None takes `Corruption.default_steps`.
        seed: Seed.
        sampling: Temperature and truncation.
        sampler: `{kind: name, ...}` of `hdiff.samplers.SAMPLERS`; None takes that of the recipe (free samples
            only) or the plain one.
        parser: Parses the finished texts to colour each filled span by its level, and tells which of several
            tries has a skeleton.

    Returns:
        `title`, `num_steps`, `step` (updates of the weights), `process` (how its sampler writes, where there
        is something to say), `nfe`, `head_passes`, `seed` and `samples`:
        text and pieces {text, step, unit, level}, also a `score` (nats per token) where gaps were scored.

    Raises:
        DataError: If options do not belong together, to the model, or to the length of the text.
    """
    request.check()
    if num_samples < 1:
        raise DataError(f"{num_samples} samples; draw at least 1")
    if request.control is None and sampler is None:
        sampler = run.recipe.evaluation.sampler
    is_plain = request.control is None and sampler is None
    if not is_plain and run.corruption.masked_units() is None and not run.corruption.type_sizes:
        raise CheckpointError(
            f"{run.path} is of corruption '{run.recipe.corruption['kind']}', which has one sampler and takes "
            f"no given text; train a model of masked units or a cascade"
        )
    generator = torch.Generator().manual_seed(seed)
    about = {"seed": seed, "parser": parser, "title": run.recipe.name}
    if request.control is None:
        return _free(run, request.length, sampler, num_samples, num_steps, sampling, generator, about)
    made: list[Sampler] = []

    def sampler_of(num_values: int) -> Sampler:
        default = min(DEFAULT_STEPS, num_values)
        made.append(_sampler(run, sampler, num_steps=num_steps, default=default, sampling=sampling))
        return made[0]

    drawn = _asked(run, request, sampler_of, num_samples, generator, parser)
    return _record(drawn, run, made[0], about)


def _free(
    run: RunFolder,
    length: int | None,
    spec: Mapping[str, Any] | None,
    num_samples: int,
    num_steps: int | None,
    sampling: Sampling,
    generator: torch.Generator,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Rows of the sampler alone, as they are."""
    length = run.recipe.data.sequence_length if length is None else length
    if length < 1:
        raise DataError(f"samples of {length} tokens; give at least 1")
    if length > (most_tokens := LONGEST * run.recipe.data.sequence_length):
        raise DataError(
            f"samples of {length:,} tokens, {LONGEST} rows of the model are {most_tokens:,}; give at most",
            f"--length {most_tokens}",
        )
    corruption = run.corruption.unconditional()
    default = corruption.default_steps(length)
    if num_steps is None and spec is None:
        num_steps = default
    sampler = _sampler(run, spec, num_steps=num_steps, default=default, sampling=sampling)
    most = corruption.most_steps(length)
    if most is not None:
        check_steps(sampler, most)
    hidden = hidden_rows(run.denoiser, num_samples, length)
    samples = sampler.sample(run.denoiser, corruption, hidden, generator=generator)
    steps = getattr(sampler, "num_steps", None) or samples.nfe
    record = trajectory(samples, run.tokenizer, num_steps=steps, **about)
    return {**record, "step": run.step, "process": sampler.process}


def _asked(
    run: RunFolder,
    request: Request,
    sampler_of: SamplerOf,
    num_samples: int,
    generator: torch.Generator,
    parser: Parser | None,
) -> Controlled:
    given = (run.denoiser, run.corruption, run.tokenizer)
    size: dict[str, Any] = {
        "num_samples": num_samples,
        "longest": run.recipe.data.sequence_length,
        "generator": generator,
    }
    if request.skeleton is not None:
        skeleton = Skeleton.parse(request.skeleton)
        labels = run.record["data"].get("labels")
        if labels is None:
            raise CheckpointError(f"{run.path} does not know the names of its labels; train it again")
        skeleton_types(skeleton, run.corruption, labels)  # before a sampler is chosen for the wrong model
        if request.tries is not None:
            if parser is None:
                raise DataError(
                    "--tries with --skeleton needs the parser of the data set; get it as this says:",
                    "hdiff doctor",
                )
            size.update(tries=request.tries, accept=skeleton_checker(parser, skeleton))
        sampler = sampler_of(num_values(skeleton, run.corruption))
        return follow_skeleton(*given, sampler, skeleton, labels=labels, **size)
    check_masked_units(run.corruption)
    if request.keywords is not None:
        assert request.length is not None, "check() has seen to it"
        keywords = Keywords.of(request.keywords.split(","), request.length, run.tokenizer)
        if request.tries is not None:
            size["tries"] = request.tries
        sampler = sampler_of(keywords.fewest_hidden)
        return with_keywords(*given, sampler, keywords, **size)
    if request.infill is not None:
        pattern = Pattern.parse(request.infill, run.tokenizer)
    else:
        assert request.rewrite is not None, "check() has seen to it"
        assert request.phrase is not None, "check() has seen to it"
        gap = None if request.phrase_length is None else _gap(request.phrase_length)
        levels = run.corruption.flag_levels
        pattern = rewriting_pattern(request.rewrite, request.phrase, run.tokenizer, gap=gap, levels=levels)
    return infill(*given, sampler_of(pattern.fewest_hidden), pattern, **size)


def _gap(text: str) -> Gap:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip())
    if match is None:
        raise DataError(f"--phrase-length is '{text}'; give a number of tokens, 3, or a range, 2-5")
    return Gap(int(match[1]), int(match[2] or match[1]))


def _sampler(
    run: RunFolder, spec: Mapping[str, Any] | None, *, num_steps: int | None, default: int, sampling: Sampling
) -> Sampler:
    """The sampler asked for, with its steps: T, where the class takes it."""
    corruption = run.corruption.unconditional()
    return text_sampler(spec, corruption, num_steps=num_steps, default=default, sampling=sampling)


def _record(drawn: Controlled, run: RunFolder, sampler: Sampler, about: Mapping[str, Any]) -> dict[str, Any]:
    nfe = max(one.nfe for one in drawn.samples)
    num_steps = getattr(sampler, "num_steps", None) or nfe
    recorded = []
    for one, score, pieces in zip(drawn.samples, drawn.scores, drawn.pieces, strict=True):
        (sample,) = trajectory(one, run.tokenizer, [pieces], num_steps=num_steps, **about)["samples"]
        recorded.append(sample if score is None else {**sample, "score": score})
    return {
        "title": about["title"],
        "num_steps": num_steps,
        "seed": about["seed"],
        "step": run.step,
        "process": sampler.process,
        "nfe": nfe,
        "head_passes": max(int(one.passes.max()) for one in drawn.samples),
        "samples": recorded,
    }
