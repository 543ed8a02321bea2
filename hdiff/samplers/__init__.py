"""Samplers: how masked text is filled in. Torch only."""

from hdiff.samplers.ancestral import AncestralSampler
from hdiff.samplers.base import Sampler, Samples

__all__ = ["AncestralSampler", "Sampler", "Samples"]
