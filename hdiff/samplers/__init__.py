"""Samplers: how hidden text is filled in, and the bound of each way. Torch only."""

from hdiff.samplers.ancestral import AncestralSampler
from hdiff.samplers.base import FillsMasks, Sampler, Samples, Score
from hdiff.samplers.blocks import BlockSampler
from hdiff.samplers.coarse_to_fine import CoarseToFineSampler
from hdiff.samplers.confidence import ConfidenceSampler
from hdiff.samplers.entropy_bounded import EntropyBoundedSampler
from hdiff.samplers.filling import Choice, MaskedSampler, View
from hdiff.samplers.planned import PlannedSampler
from hdiff.samplers.remasking import RemaskingSampler

SAMPLERS: dict[str, type[Sampler]] = {
    "ancestral": AncestralSampler,
    "blocks": BlockSampler,
    "coarse_to_fine": CoarseToFineSampler,
    "confidence": ConfidenceSampler,
    "entropy_bounded": EntropyBoundedSampler,
    "planned": PlannedSampler,
    "remasking": RemaskingSampler,
}

__all__ = [
    "SAMPLERS",
    "AncestralSampler",
    "BlockSampler",
    "Choice",
    "CoarseToFineSampler",
    "ConfidenceSampler",
    "EntropyBoundedSampler",
    "FillsMasks",
    "MaskedSampler",
    "PlannedSampler",
    "RemaskingSampler",
    "Sampler",
    "Samples",
    "Score",
    "View",
]
