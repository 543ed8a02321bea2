"""Heads: distributions over the tokens of a span. Torch only."""

from hdiff.heads.autoregressive import AutoregressiveHead
from hdiff.heads.base import Head, sample_categorical
from hdiff.heads.product import ProductHead

HEADS: dict[str, type[Head]] = {
    "product": ProductHead,
    "autoregressive": AutoregressiveHead,
}

__all__ = ["HEADS", "AutoregressiveHead", "Head", "ProductHead", "sample_categorical"]
