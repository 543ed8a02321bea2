"""Heads: distributions over the tokens of a span."""

from hdiff.heads.autoregressive import AutoregressiveHead
from hdiff.heads.base import Head
from hdiff.heads.crf import CRFHead
from hdiff.heads.mixture import MixtureHead
from hdiff.heads.product import ProductHead
from hdiff.heads.sampling import AS_IT_IS, GREEDY, Sampling

HEADS: dict[str, type[Head]] = {
    "product": ProductHead,
    "autoregressive": AutoregressiveHead,
    "mixture": MixtureHead,
    "crf": CRFHead,
}

__all__ = [
    "AS_IT_IS",
    "CRFHead",
    "GREEDY",
    "HEADS",
    "AutoregressiveHead",
    "Head",
    "MixtureHead",
    "ProductHead",
    "Sampling",
]
