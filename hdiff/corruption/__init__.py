"""Corruptions: how text is noised. Torch only."""

from hdiff.corruption.base import Corrupted, Corruption
from hdiff.corruption.span_masking import SpanMasking
from hdiff.corruption.times import sample_times
from hdiff.corruption.token_masking import TokenMasking
from hdiff.corruption.unit_masking import UnitMasking

CORRUPTIONS: dict[str, type[Corruption]] = {
    "token_masking": TokenMasking,
    "span_masking": SpanMasking,
}

__all__ = [
    "CORRUPTIONS",
    "Corrupted",
    "Corruption",
    "SpanMasking",
    "TokenMasking",
    "UnitMasking",
    "sample_times",
]
