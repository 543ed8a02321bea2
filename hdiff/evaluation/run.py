"""evaluate_run: what `hdiff eval` does with a run folder."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from hdiff.corruption import Corruption
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.prompt_rows import PromptRows
from hdiff.data.sources.builtin import PHRASES
from hdiff.errors import DataError
from hdiff.evaluation.bounds import (
    Estimate,
    draw_samples,
    evaluate_bound,
    evaluate_exact,
    evaluate_t_step,
    evaluation_rows,
    full_rows,
)
from hdiff.evaluation.judges import Judges
from hdiff.evaluation.learned_speeds import learned_speeds
from hdiff.evaluation.list_evaluation import evaluate_list_operations
from hdiff.evaluation.sampler_bound import evaluate_sampler
from hdiff.languages.list_operations import LIST_LENGTH
from hdiff.languages.phrase_bank import entropy_per_token, factorised_ceiling, valid_phrase_rate
from hdiff.runs.folder import RunFolder
from hdiff.samplers import Sampler
from hdiff.samplers.build import build_sampler
from hdiff.seeds import derive_seed
from hdiff.shipped import model_name

if TYPE_CHECKING:
    from hdiff.progress import Progress

PHRASE_BANK = "builtin:phrase_bank"
LIST_OPERATIONS = "builtin:list_operations"


def evaluate_run(
    run: RunFolder,
    *,
    steps: Sequence[int] | None = None,
    data: str | None = None,
    judge: str | None = None,
    sampler: Mapping[str, Any] | None = None,
    given_structure: bool = False,
    outside_judges: bool = False,
    samples: int | None = None,
    must_judge: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluates a run on the validation split of a prepared data set.

    Args:
        run: The run.
        steps: Step counts T; None takes the recipe's.
        data: Prepared data set with the same tokenizer; None takes the one trained on.
        judge: Run folder of an autoregressive model; None takes the recipe's, if it exists.
        sampler: `{kind: name, ...}`; None takes the recipe's, or the plain one of the corruption.
        given_structure: Evaluate with the parsed units the run was trained on. The figures are then
            bounds on -log p(x_0 | structure) and labelled so.
        outside_judges: Also score samples by an n-gram model of the training split and by link-grammar.
        samples: Texts to draw for each T; None takes the recipe's number.
        must_judge: Whether a judge without samples is an error; else runs that draw none have none judged.
        seed: Seed of masks, orders and samples.
        progress: Shows what happens.

    Returns:
        The object that `hdiff eval --json` prints; docs/evaluate.md lists its keys.

    Raises:
        DataError: If data or judge do not fit the run, or a judge is asked for and nothing is drawn.
    """
    if samples is not None:
        changed = run.recipe.evaluation.model_copy(update={"samples": samples})
        run = replace(run, recipe=run.recipe.model_copy(update={"evaluation": changed}))
    config = run.recipe.evaluation
    judging = "--judge" if judge is not None else "--outside-judges" if outside_judges else None
    judging = judging if must_judge else None
    prepared = PreparedData.load(data or run.recipe.data.path)
    if prepared.tokenizer.sha256 != run.tokenizer.sha256:
        name = model_name(run.path)
        raise DataError(
            f"{data or run.recipe.data.path} was prepared with another tokenizer than {name} was "
            f"trained with; prepare it anew:",
            f"hdiff prepare SOURCE --out DATA --tokenizer {shlex.quote(name)}",
        )
    if run.autoregressive is not None:
        if judging is not None:
            raise DataError(f"{judging} judges samples, and an autoregressive model draws none; leave it out")
        blocks = _blocks(run, prepared, ())
        exact = evaluate_exact(run.autoregressive, blocks, config)
        return {
            "step": run.step,
            "bound": _bound_entry("exact", exact, False, run, blocks.prompts),
            "t_step": {},
            "t_step_stderr": {},
            "quality": {},
        }
    trained_with = run.corruption
    corruption = trained_with if given_structure else trained_with.unconditional()
    spec = sampler or config.sampler
    levels = corruption.required_levels()
    blocks = _blocks(run, prepared, levels)
    asked = tuple(steps or config.steps)
    fewest = corruption.fewest_steps(run.recipe.data.sequence_length)
    if fewest is None and spec is not None:  # a sampler of masked units for a model whose own has no steps
        fewest = 1
    wanted = () if fewest is None else tuple(steps for steps in asked if steps >= fewest)
    spec = spec or corruption.plain_sampler()
    left_out = ", ".join(str(steps) for steps in asked if steps not in wanted)
    if left_out and fewest is not None and progress is not None:
        progress.message(f"left out: T = {left_out}; '{spec['kind']}' needs at least {fewest} steps")
    if judging is not None and not config.samples:
        raise DataError(f"{judging} judges samples, and evaluation.samples is 0; draw some:", "--samples 32")
    if judging is not None and not wanted:
        raise DataError(
            f"{judging} judges samples, and none are drawn with T = {left_out}; give other --steps"
        )
    if judging is not None and blocks.prompts is not None:
        raise DataError(f"{judging} judges samples, and answers to prompts are none; leave it out")
    judges = None
    if (
        config.samples and wanted and blocks.prompts is None
    ):  # before the work: a judge may be missing or not fit
        judges = Judges.load(run, judge or config.judge, prepared if outside_judges else None)
    samplers = {num_steps: build_sampler(spec, num_steps=num_steps) for num_steps in wanted}
    stages = _Stages(progress, total=1 + len(wanted) * (1 if judges is None else 2))
    bound = evaluate_bound(run.denoiser, blocks, corruption, config, seed=seed)
    stages.done("bound")
    result: dict[str, Any] = {
        "step": run.step,
        "bound": _bound_entry("nelbo", bound, corruption.conditional_on_structure, run, blocks.prompts),
        "t_step": {},
        "t_step_stderr": {},
        "quality": {},
        "sampler": spec if wanted else None,
        "sampler_is_exact": all(chosen.is_exact(run.denoiser, corruption) for chosen in samplers.values())
        and bool(wanted),
    }
    if (speeds := learned_speeds(run)) is not None:
        result["learned_speeds"] = speeds
    for num_steps, chosen in samplers.items():
        estimate = _t_step(run, blocks, corruption, chosen, num_steps, seed)
        if estimate is not None:
            result["t_step"][str(num_steps)] = estimate.nats_per_token
            result["t_step_stderr"][str(num_steps)] = estimate.stderr
        stages.done(f"L_{num_steps}")
    one_step = result["t_step"].get("1")
    if one_step is not None and spec == corruption.plain_sampler():
        # Of one network and its own units: what drawing all at once loses against drawing them one by one.
        result["total_correlation_nats_per_token"] = one_step - bound.nats_per_token
    if (unigram := unigram_nats(run, prepared, blocks)) is not None:
        result["unigram_nats_per_token"] = unigram
    if judges is not None:
        result.update(_quality(run, blocks, prepared, samplers, judges, seed, stages))
    return result


def unigram_nats(run: RunFolder, prepared: PreparedData, blocks: PackedBlocks) -> float | None:
    """Nats per token of the scored rows under token frequencies of the training split, or None."""
    try:
        train = PackedBlocks.build(prepared, "train", **run.recipe.data.packing())
    except DataError:
        return None
    counts = torch.bincount(
        torch.as_tensor(train.tokens).flatten().long(), minlength=run.tokenizer.vocab_size
    )
    log_probs = ((counts + 1.0) / (counts + 1.0).sum()).double().log()
    batch = blocks.batch(evaluation_rows(blocks, run.recipe.evaluation))
    return float(-log_probs[batch.input_ids[batch.token_mask]].mean())


def _t_step(
    run: RunFolder,
    blocks: PackedBlocks,
    corruption: Corruption,
    sampler: Sampler,
    num_steps: int,
    seed: int,
) -> Estimate | None:
    """The bound of a sampler; None where it has none."""
    config = run.recipe.evaluation
    units = sampler.t_step_units(corruption)
    if units is not None:
        return evaluate_t_step(run.denoiser, blocks, units, config, num_steps=num_steps, seed=seed)
    if not sampler.has_bound:
        return None
    return evaluate_sampler(run.denoiser, blocks, corruption, config, sampler=sampler, seed=seed)[0]


def _quality(
    run: RunFolder,
    blocks: PackedBlocks,
    prepared: PreparedData,
    samplers: Mapping[int, Sampler],
    judges: Judges,
    seed: int,
    stages: _Stages,
) -> dict[str, Any]:
    config = run.recipe.evaluation
    is_phrase_bank = str(prepared.manifest["source"]).startswith(PHRASE_BANK)
    result: dict[str, Any] = {"quality": {}}
    if is_phrase_bank:
        result.update(
            {"phrase_valid": {}, "phrase_ceiling": {}, "entropy_nats_per_token": entropy_per_token(PHRASES)}
        )
    for num_steps, sampler in samplers.items():
        samples, seconds = draw_samples(
            run.denoiser,
            run.corruption,
            sampler=sampler,
            num_samples=config.samples,
            length=run.recipe.data.sequence_length,
            seed=derive_seed(seed, "sample", num_steps),
        )
        figures = judges.figures(samples.tokens)
        costs = {"nfe": samples.calls, "head_passes": samples.passes}
        means = {name: float(counted.double().mean()) for name, counted in costs.items()}
        result["quality"][str(num_steps)] = {**figures, "seconds_per_sample": seconds, **means}
        if is_phrase_bank:
            texts = [" ".join(run.tokenizer.pieces(row)) for row in samples.tokens.tolist()]
            length = run.recipe.data.sequence_length
            result["phrase_valid"][str(num_steps)] = valid_phrase_rate(texts, PHRASES)
            result["phrase_ceiling"][str(num_steps)] = factorised_ceiling(PHRASES, length, num_steps)
        stages.done(f"samples at T = {num_steps}")
    is_list = str(prepared.manifest["source"]).startswith(LIST_OPERATIONS)
    if is_list and run.corruption.masked_units() is not None:  # there T counts steps of the answer alone
        result["list_operations"] = evaluate_list_operations(
            run,
            sampler_of=samplers.__getitem__,
            steps=[steps for steps in samplers if steps <= LIST_LENGTH],
            num=config.samples,
            seed=seed,
        )
    rows = evaluation_rows(blocks, config.model_copy(update={"blocks": config.samples}))
    if full := full_rows(blocks, rows):
        result["reference"] = judges.figures(blocks.batch(full).input_ids)
    return result


def _bound_entry(
    kind: str, estimate: Any, conditional: bool, run: RunFolder, prompts: PromptRows | None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "nats_per_token": estimate.nats_per_token,
        "stderr": estimate.stderr,
        "structure_nats_per_token": estimate.structure,
        "tokens": estimate.tokens,
        "conditional_on_structure": conditional,
        **({} if prompts is None else {"given": "prompt"}),
        "uniform_nats_per_token": math.log(run.tokenizer.vocab_size),
    }


def _blocks(run: RunFolder, prepared: PreparedData, levels: Sequence[str]) -> PackedBlocks:
    block_size = None if run.autoregressive is not None else run.corruption.block_size
    packing = run.recipe.packing(block_size=block_size)
    return PackedBlocks.build(prepared, "validation", levels=levels, **packing)


class _Stages:
    """Counts the parts of an evaluation on a progress display."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress = progress
        self.total = total
        self.count = 0

    def done(self, note: str) -> None:
        self.count += 1
        if self.progress is not None:
            self.progress.update(self.count, self.total, note)
