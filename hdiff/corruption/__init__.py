"""Corruptions: how text is noised. Torch only."""

from hdiff.corruption.base import Corrupted, Corruption
from hdiff.corruption.cascade import Cascade, Stream
from hdiff.corruption.gaussian import Gaussian
from hdiff.corruption.rate_matched import RateMatched
from hdiff.corruption.soft_masking import SoftMasking
from hdiff.corruption.span_masking import SpanMasking
from hdiff.corruption.times import sample_times
from hdiff.corruption.token_masking import TokenMasking
from hdiff.corruption.tree_cascade import TreeCascade
from hdiff.corruption.uniform_state import UniformState
from hdiff.corruption.unit_masking import UnitMasking

CORRUPTIONS: dict[str, type[Corruption]] = {
    "token_masking": TokenMasking,
    "span_masking": SpanMasking,
    "tree_cascade": TreeCascade,
    "rate_matched": RateMatched,
    "soft_masking": SoftMasking,
    "uniform_state": UniformState,
    "gaussian": Gaussian,
}

__all__ = [
    "CORRUPTIONS",
    "Cascade",
    "Corrupted",
    "Corruption",
    "Gaussian",
    "RateMatched",
    "SoftMasking",
    "SpanMasking",
    "Stream",
    "TokenMasking",
    "TreeCascade",
    "UniformState",
    "UnitMasking",
    "sample_times",
]
