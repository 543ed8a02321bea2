"""Heads: distributions over the tokens of a span. Torch only."""

from hdiff.heads.autoregressive import AutoregressiveHead
from hdiff.heads.base import Head
from hdiff.heads.product import ProductHead
from hdiff.heads.sampling import AS_IT_IS, GREEDY, Sampling

HEADS: dict[str, type[Head]] = {
    "product": ProductHead,
    "autoregressive": AutoregressiveHead,
}

__all__ = ["AS_IT_IS", "GREEDY", "HEADS", "AutoregressiveHead", "Head", "ProductHead", "Sampling"]
