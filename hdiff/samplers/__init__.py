"""Samplers: how hidden text is filled in, and the bound of each way."""

from hdiff.samplers.ancestral import AncestralSampler
from hdiff.samplers.base import FillsMasks, OnStep, Sampler, hidden_rows
from hdiff.samplers.blocks import BlockSampler
from hdiff.samplers.chain import ChainSampler
from hdiff.samplers.choice import Choice, View
from hdiff.samplers.coarse_to_fine import CoarseToFineSampler
from hdiff.samplers.confidence import ConfidenceSampler
from hdiff.samplers.dependency import DependencySampler
from hdiff.samplers.entropy_bounded import EntropyBoundedSampler
from hdiff.samplers.filling import MaskedSampler
from hdiff.samplers.gaussian import GaussianSampler
from hdiff.samplers.planned import PlannedSampler
from hdiff.samplers.remasking import RemaskingSampler
from hdiff.samplers.samples import Samples, Score
from hdiff.samplers.uniform_state import ReplacementSampler

SAMPLERS: dict[str, type[Sampler]] = {
    "ancestral": AncestralSampler,
    "blocks": BlockSampler,
    "chain": ChainSampler,
    "coarse_to_fine": CoarseToFineSampler,
    "confidence": ConfidenceSampler,
    "dependency": DependencySampler,
    "entropy_bounded": EntropyBoundedSampler,
    "gaussian": GaussianSampler,
    "planned": PlannedSampler,
    "remasking": RemaskingSampler,
    "replacement": ReplacementSampler,
}

__all__ = [
    "SAMPLERS",
    "AncestralSampler",
    "BlockSampler",
    "ChainSampler",
    "Choice",
    "CoarseToFineSampler",
    "ConfidenceSampler",
    "DependencySampler",
    "EntropyBoundedSampler",
    "FillsMasks",
    "GaussianSampler",
    "MaskedSampler",
    "OnStep",
    "PlannedSampler",
    "RemaskingSampler",
    "ReplacementSampler",
    "Sampler",
    "Samples",
    "Score",
    "View",
    "hidden_rows",
]
