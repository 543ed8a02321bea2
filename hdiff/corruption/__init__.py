"""Corruptions: how text is noised."""

from hdiff.corruption.base import Corruption
from hdiff.corruption.block_masking import BlockCorrupted, BlockMasking
from hdiff.corruption.cascade import Cascade, Stream
from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.gaussian import Gaussian
from hdiff.corruption.given import Free, corrupt_free
from hdiff.corruption.learned_rates import LearnedRates
from hdiff.corruption.masked_units import MaskedUnits
from hdiff.corruption.rate_matched import RateMatched
from hdiff.corruption.row_noise import RowNoise
from hdiff.corruption.soft_masking import SoftMasking
from hdiff.corruption.span_masking import SpanMasking
from hdiff.corruption.times import sample_times
from hdiff.corruption.token_masking import TokenMasking
from hdiff.corruption.token_rates import TokenRates
from hdiff.corruption.tree_cascade import TreeCascade
from hdiff.corruption.uniform_state import UniformState
from hdiff.corruption.unit_masking import UnitMasking

CORRUPTIONS: dict[str, type[Corruption]] = {
    "token_masking": TokenMasking,
    "span_masking": SpanMasking,
    "block_masking": BlockMasking,
    "tree_cascade": TreeCascade,
    "rate_matched": RateMatched,
    "learned_rates": LearnedRates,
    "soft_masking": SoftMasking,
    "uniform_state": UniformState,
    "gaussian": Gaussian,
}

__all__ = [
    "CORRUPTIONS",
    "BlockCorrupted",
    "BlockMasking",
    "Cascade",
    "Corrupted",
    "Corruption",
    "Free",
    "Gaussian",
    "LearnedRates",
    "MaskedUnits",
    "RateMatched",
    "RowNoise",
    "SoftMasking",
    "SpanMasking",
    "Stream",
    "TokenMasking",
    "TokenRates",
    "TreeCascade",
    "UniformState",
    "UnitMasking",
    "corrupt_free",
    "sample_times",
]
