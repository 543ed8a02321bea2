"""sample_run: free samples of a run folder, with the plain sampler of its family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hdiff.factory import text_sampler
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.pages.trajectory import trajectory
from hdiff.runs.folder import RunFolder
from hdiff.samplers import hidden_rows

if TYPE_CHECKING:
    from hdiff.parsers.base import Parser


def sample_run(
    run: RunFolder,
    *,
    num_samples: int,
    num_steps: int,
    seed: int = 0,
    sampling: Sampling = AS_IT_IS,
    length: int | None = None,
    parser: Parser | None = None,
) -> dict[str, Any]:
    """Samples text and records step by step what was filled.

    Args:
        run: The run.
        num_samples: How many.
        num_steps: Steps T.
        seed: Seed.
        sampling: Temperature and truncation.
        length: Tokens per sample; None takes the recipe's sequence length.
        parser: Parses the finished text to colour each filled span by its level; None colours by
            word only.

    Returns:
        `title`, `num_steps`, `step` (updates of the weights), `nfe`, `head_passes`, `seed` and `samples`:
        text and pieces {text, step, unit, level}.
    """
    length = run.recipe.data.sequence_length if length is None else length
    generator = torch.Generator().manual_seed(seed)
    corruption = run.corruption.unconditional()
    sampler = text_sampler(None, corruption, num_steps=num_steps, default=num_steps, sampling=sampling)
    rows = hidden_rows(run.denoiser, num_samples, length)
    samples = sampler.sample(run.denoiser, corruption, rows, generator=generator)
    num_steps = getattr(sampler, "num_steps", samples.nfe)
    record = trajectory(
        samples, run.tokenizer, parser=parser, title=run.recipe.name, num_steps=num_steps, seed=seed
    )
    return {**record, "step": run.step}
