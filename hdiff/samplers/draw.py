"""draw: samples of any model with the sampler that belongs to its corruption. Torch only."""

from __future__ import annotations

from typing import Any

import torch

from hdiff.corruption import (
    BlockMasking,
    Cascade,
    Corruption,
    Gaussian,
    LearnedRates,
    RateMatched,
    UniformState,
    UnitMasking,
)
from hdiff.corruption.block_masking import number_of_blocks
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.block_denoiser import BlockDenoiser
from hdiff.models.denoiser import Denoiser
from hdiff.models.gaussian_denoiser import GaussianDenoiser
from hdiff.models.uniform_denoiser import UniformDenoiser
from hdiff.models.wrapped import unwrapped
from hdiff.samplers.ancestral import AncestralSampler
from hdiff.samplers.base import Sampler, Samples
from hdiff.samplers.blocks import BlockSampler
from hdiff.samplers.chain import chain_sample
from hdiff.samplers.coarse_to_fine import CoarseToFineSampler
from hdiff.samplers.gaussian import sample_gaussian
from hdiff.samplers.uniform_state import sample_uniform_state

STEPS = 16
"""Steps T if none are asked for, fewer where there is less to fill."""


def default_steps(corruption: Corruption, length: int) -> int:
    """Steps T of texts if none are asked for.

    Args:
        corruption: Corruption of the model.
        length: Tokens of each text.

    Returns:
        `STEPS`; fewer where there are fewer values to fill, more where there are more blocks, each of which
        takes a step at least.
    """
    if isinstance(corruption, BlockMasking):
        return max(STEPS, number_of_blocks(length, corruption.block_size))
    if isinstance(corruption, (UniformState, Gaussian)):
        return STEPS  # every step may change every token
    return min(STEPS, length * (1 + len(corruption.type_sizes)))


def plain_sampler(corruption: Corruption) -> dict[str, Any] | None:
    """The plain T-step sampler of a corruption, as a recipe names it; None where there is none."""
    if isinstance(corruption, UnitMasking):
        return {"kind": "ancestral"}
    if isinstance(corruption, BlockMasking):
        return {"kind": "blocks"}
    return {"kind": "coarse_to_fine"} if isinstance(corruption, Cascade) else None


def draw(
    model: Denoiser | BlockDenoiser | UniformDenoiser | GaussianDenoiser,
    corruption: Corruption,
    *,
    num_samples: int,
    length: int,
    num_steps: int,
    sampling: Sampling = AS_IT_IS,
    generator: torch.Generator | None = None,
) -> Samples:
    """Draws samples with the plain sampler of each family; `Sampler`s of masked units are used directly.

    Masked units are filled in T steps, blocks left to right and cascades level by level in T steps, replaced
    tokens and Gaussian noise are refined in T steps. Hidden speeds, and cascades with fewer steps than
    streams, are sampled unit by unit: T is not used, `nfe` says how many steps it took.

    Args:
        model: The model.
        corruption: Its corruption; made unconditional here.
        num_samples: Rows.
        length: Tokens per row.
        num_steps: Steps T.
        sampling: Temperature and truncation; hidden speeds know only the default, replacement and Gaussian
            noise only a temperature.
        generator: Source of randomness, on the model's device.

    Returns:
        The samples. Where every step changes every token, all tokens count as filled in the last one.

    Raises:
        DataError: If model and corruption do not belong together, or a number is out of range.
    """
    model, corruption = unwrapped(model), corruption.unconditional()
    size = {"num_samples": num_samples, "length": length}
    sampler: Sampler | None = None
    if isinstance(corruption, UnitMasking):
        sampler = AncestralSampler(num_steps, sampling=sampling)
    elif isinstance(corruption, Cascade) and num_steps > len(corruption.type_sizes):
        sampler = CoarseToFineSampler(num_steps, sampling=sampling)
    elif isinstance(corruption, BlockMasking):
        sampler = BlockSampler(num_steps, sampling=sampling)
    own = BlockDenoiser if isinstance(corruption, BlockMasking) else Denoiser
    if sampler is not None and isinstance(model, own):
        return sampler.sample(model, corruption, num_samples=num_samples, length=length, generator=generator)
    if isinstance(corruption, (Cascade, RateMatched, LearnedRates)) and isinstance(model, Denoiser):
        if not sampling.is_exact:
            raise DataError(
                f"{sampling}: {type(corruption).__name__} is sampled unit by unit at temperature 1 only"
            )
        chain = chain_sample(model, corruption, **size, generator=generator, device=_device(model))
        units = torch.arange(length).expand(num_samples, -1)
        return Samples(chain.tokens, chain.steps, units, nfe=chain.nfe, calls=_calls(chain.tokens, chain.nfe))
    if sampling != Sampling(temperature=sampling.temperature):
        raise DataError(
            f"top_k and top_p are for masked units; {type(corruption).__name__} has a temperature"
        )
    if isinstance(corruption, UniformState) and isinstance(model, UniformDenoiser):
        tokens, nfe = sample_uniform_state(
            model.log_probs,
            corruption,
            **size,
            num_steps=num_steps,
            generator=generator,
            device=_device(model),
            temperature=sampling.temperature,
        )
    elif isinstance(corruption, Gaussian) and isinstance(model, GaussianDenoiser):
        tokens, nfe = sample_gaussian(
            model,
            corruption,
            **size,
            num_steps=num_steps,
            generator=generator,
            temperature=sampling.temperature,
        )
    else:
        raise DataError(
            f"{type(model).__name__} does not belong to {type(corruption).__name__}; build the model for its "
            f"corruption (hdiff.factory.build_model)"
        )
    units = torch.arange(length).expand(num_samples, -1)
    return Samples(tokens, torch.full_like(tokens, nfe - 1), units, nfe=nfe, calls=_calls(tokens, nfe))


def _calls(tokens: torch.Tensor, nfe: int) -> torch.Tensor:
    return torch.full_like(tokens[:, 0], nfe)


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
