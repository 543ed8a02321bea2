"""draw: samples of any model with the sampler that belongs to its corruption. Torch only."""

from __future__ import annotations

import torch

from hdiff.corruption import Cascade, Corruption, Gaussian, RateMatched, UniformState, UnitMasking
from hdiff.errors import DataError
from hdiff.models.denoiser import Denoiser
from hdiff.models.gaussian_denoiser import GaussianDenoiser
from hdiff.models.uniform_denoiser import UniformDenoiser
from hdiff.samplers.ancestral import AncestralSampler
from hdiff.samplers.base import Samples
from hdiff.samplers.chain import chain_sample
from hdiff.samplers.gaussian import sample_gaussian
from hdiff.samplers.uniform_state import sample_uniform_state


def draw(
    model: Denoiser | UniformDenoiser | GaussianDenoiser,
    corruption: Corruption,
    *,
    num_samples: int,
    length: int,
    num_steps: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Samples:
    """Draws samples.

    Masked units are filled in T steps, replaced tokens and Gaussian noise are refined in T steps. Cascades
    and hidden speeds are sampled unit by unit, as their bound scores them: T is not used, `nfe` says how many
    steps it took.

    Args:
        model: The model.
        corruption: Its corruption; made unconditional here.
        num_samples: Rows.
        length: Tokens per row.
        num_steps: Steps T.
        temperature: Divides the logits; cascades and hidden speeds know only 1.
        generator: Source of randomness, on the model's device.

    Returns:
        The samples. Where every step changes every token, all tokens count as filled in the last one.

    Raises:
        DataError: If model and corruption do not belong together, or a number is out of range.
    """
    corruption = corruption.unconditional()
    size = {"num_samples": num_samples, "length": length}
    if isinstance(corruption, UnitMasking) and isinstance(model, Denoiser):
        sampler = AncestralSampler(num_steps, temperature=temperature)
        return sampler.sample(model, corruption, **size, generator=generator)
    if isinstance(corruption, (Cascade, RateMatched)) and isinstance(model, Denoiser):
        if temperature != 1.0:
            raise DataError(f"temperature is {temperature}; {type(corruption).__name__} is sampled at 1 only")
        chain = chain_sample(model, corruption, **size, generator=generator, device=_device(model))
        units = torch.arange(length).expand(num_samples, -1)
        return Samples(tokens=chain.tokens, steps=chain.steps, units=units, nfe=chain.nfe)
    if isinstance(corruption, UniformState) and isinstance(model, UniformDenoiser):
        tokens, nfe = sample_uniform_state(
            model.log_probs,
            corruption,
            **size,
            num_steps=num_steps,
            generator=generator,
            device=_device(model),
            temperature=temperature,
        )
    elif isinstance(corruption, Gaussian) and isinstance(model, GaussianDenoiser):
        tokens, nfe = sample_gaussian(
            model, corruption, **size, num_steps=num_steps, generator=generator, temperature=temperature
        )
    else:
        raise DataError(
            f"{type(model).__name__} does not belong to {type(corruption).__name__}; build the model for its "
            f"corruption (hdiff.factory.build_model)"
        )
    units = torch.arange(length).expand(num_samples, -1)
    return Samples(tokens=tokens, steps=torch.full_like(tokens, nfe - 1), units=units, nfe=nfe)


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
