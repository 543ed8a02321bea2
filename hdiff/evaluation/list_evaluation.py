"""List evaluation: a trained run fills hidden answers of list operations, and exactly right ones are counted.

Dimensions: B rows, L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hdiff.corruption import Corruption
from hdiff.data.batch import Batch
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.factory import DiffusionModel
from hdiff.languages.list_operations import (
    LIST_LENGTH,
    OPERATIONS,
    PROMPT_LENGTH,
    ROW_LENGTH,
    ListTask,
    draw_tasks,
    entropy_per_token,
    factorised_ceiling,
    factorised_floor,
    is_valid,
)
from hdiff.models.wrapped import unwrapped
from hdiff.runs.folder import RunFolder
from hdiff.samplers import Sampler
from hdiff.seeds import derive_seed


def evaluate_list_operations(
    run: RunFolder,
    *,
    sampler_of: Callable[[int], Sampler],
    steps: Sequence[int] = (1, 2, 4),
    num: int = 256,
    seed: int = 0,
) -> dict[str, Any]:
    """Fills the answers of random prompts with a run of recipes/list_operations*.yaml.

    Prompts are drawn as in training, so what is measured is whether the tokens of an answer agree, not
    whether the model has never seen a list.

    Args:
        run: The run.
        sampler_of: The sampler for a number of steps T over the answer, for example `AncestralSampler`.
        steps: Step counts T.
        num: Prompts per operation.
        seed: Seed of prompts, orders and draws.

    Returns:
        As `evaluate_answers`.

    Raises:
        DataError: If the run was trained on other text or by a corruption without masked units.
    """
    denoiser, corruption = run.denoiser, run.corruption.unconditional()
    if corruption.masked_units() is None:
        raise DataError(
            f"{run.path} was trained with {type(corruption).__name__}; answers are filled by models of "
            f"masked units, such as recipes/list_operations.yaml"
        )
    return evaluate_answers(
        denoiser, corruption, run.tokenizer, sampler_of=sampler_of, steps=steps, num=num, seed=seed
    )


def evaluate_answers(
    denoiser: DiffusionModel,
    corruption: Corruption,
    tokenizer: Tokenizer,
    *,
    sampler_of: Callable[[int], Sampler],
    steps: Sequence[int] = (1, 2, 4),
    num: int = 256,
    seed: int = 0,
) -> dict[str, Any]:
    """Fills the answers of random prompts.

    A share of valid answers can be bought by giving up some of the right ones, `nats_per_token` cannot:
    the bound of the same sampler on the true answers, never below `entropy` and, for a factorised
    denoiser, never below `floor` but for chance.

    Args:
        denoiser: The model.
        corruption: Says what the units are.
        tokenizer: One token per word of the language.
        sampler_of: The sampler for a number of steps T over the answer.
        steps: Step counts T.
        num: Prompts per operation.
        seed: Seed of prompts, orders and draws.

    Returns:
        `valid`, `nats_per_token` (None where the sampler has no bound), `ceiling` and `floor` (exact, of
        factorised denoisers with `AncestralSampler`): operation -> T as text -> figure. `entropy`:
        operation -> nats per token. `nfe`: T as text -> trunk evaluations of the row that took most.

    Raises:
        DataError: If the tokenizer does not have the words of the language, or a number is below 1.
    """
    denoiser = unwrapped(denoiser)
    if num < 1:
        raise DataError(f"num is {num}; give at least 1 prompt per operation")
    result: dict[str, Any] = {
        key: {operation: {} for operation in OPERATIONS}
        for key in ("valid", "nats_per_token", "ceiling", "floor")
    }
    result["entropy"] = {operation: entropy_per_token(operation) for operation in OPERATIONS}
    result["nfe"] = {str(num_steps): 0 for num_steps in steps}
    device = denoiser.head.embedding.weight.device
    is_answer = torch.arange(ROW_LENGTH, device=device) >= PROMPT_LENGTH  # (L,)
    for operation in OPERATIONS:
        tasks = list(draw_tasks(num, seed=derive_seed(seed, "prompts", operation), operation=operation))
        batch = Batch.of(_rows(tasks, tokenizer).to(device))
        is_hidden = is_answer.expand_as(batch.input_ids)
        text = batch.input_ids.masked_fill(is_hidden, denoiser.mask_id)
        for num_steps in steps:
            key, sampler = str(num_steps), sampler_of(num_steps)
            noise = derive_seed(seed, "answers", operation, num_steps)
            generator = torch.Generator(device).manual_seed(noise)
            samples = sampler.sample(denoiser, corruption, text, generator=generator)
            result["valid"][operation][key] = _valid_share(tasks, samples.tokens, tokenizer)
            result["nfe"][key] = max(result["nfe"][key], samples.nfe)
            result["ceiling"][operation][key] = factorised_ceiling(operation, num_steps)
            result["floor"][operation][key] = factorised_floor(operation, num_steps)
            nats = None
            if sampler.has_bound:
                score = sampler.score(denoiser, corruption, batch, is_hidden=is_hidden, generator=generator)
                nats = float(score.nats.mean()) / LIST_LENGTH
            result["nats_per_token"][operation][key] = nats
    return result


def _rows(tasks: Sequence[ListTask], tokenizer: Tokenizer) -> Tensor:
    """Token ids of tasks, long (B, L)."""
    rows = []
    for task in tasks:
        ids, _ = tokenizer.encode(task.text)
        if tokenizer.decode(ids).split() != task.text.split() or len(ids) != ROW_LENGTH:
            raise DataError(
                f"the tokenizer reads '{task.text.splitlines()[0]}' as '{tokenizer.decode(ids)}'; use a run "
                f"trained on builtin:list_operations, prepared with --tokenizer words"
            )
        rows.append(ids)
    return torch.tensor(rows)


def _valid_share(tasks: Sequence[ListTask], tokens: Tensor, tokenizer: Tokenizer) -> float:
    answers = [tokenizer.decode(row).split() for row in tokens[:, PROMPT_LENGTH:].tolist()]
    pairs = zip(tasks, answers, strict=True)
    return sum(is_valid(task.operation, task.items, answer) for task, answer in pairs) / len(tasks)
